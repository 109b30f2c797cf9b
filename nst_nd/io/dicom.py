"""DICOM: a folder of slices as a volume, and a folder of slices derived from one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

from nst_nd.errors import ConfigError, DecodeError, InputError, NstError
from nst_nd.io import dicom_geometry, dicom_pixels, dicom_waveform, dicom_write
from nst_nd.io.codec import FOLDER_HOLDS, FOLDER_SUFFIX, ReadOptions
from nst_nd.io.dicom_header import MARK, MARK_AT, Slice, dataset_of, is_dicom, is_directory, library, parse
from nst_nd.io.dicom_write import DicomSource
from nst_nd.sample import Kind, Sample


class DicomCodec:
    """Series of single-frame CT slices, and of other planar modalities as arbitrary intensities.

    Read from a folder (or one file, a volume of one slice); written as a folder with the suffix .dicom, and only what
    was read from DICOM, as a series derived from that.
    """

    name: ClassVar[str] = "DICOM"
    suffixes: ClassVar[tuple[str, ...]] = (FOLDER_SUFFIX,)
    kinds: ClassVar[tuple[Kind, ...]] = ("volume",)
    plain: ClassVar[tuple[str, ...]] = (FOLDER_HOLDS,)

    def sniff(self, head: bytes) -> bool:
        """By the mark behind the preamble."""
        return is_dicom(head)

    def read(self, path: Path, options: ReadOptions) -> Sample:
        """[1, i: column, j: row, k: slice along the normal], rescaled; spacing in mm, affine in mm RAS.

        A file with waveforms is an ECG instead, see dicom_waveform.

        HU for rescaled CT, "arbitrary" for anything else. float32 where that holds every value exactly, else float64.
        Raises DecodeError (broken, truncated) and InputError (several series, uneven, tilted, colour, ...).
        """
        del options
        return _guarded(path, glance=False)

    def glance(self, path: Path, options: ReadOptions) -> Sample:
        """See Glancing. All headers are read, for the order of the slices."""
        del options
        return _guarded(path, glance=True)

    def check(self, sample: Sample, path: Path) -> None:  # noqa: ARG002
        """ConfigError unless the sample came from DICOM."""
        if not isinstance(sample.source, DicomSource):
            raise ConfigError(
                f"a folder {FOLDER_SUFFIX} is derived from a DICOM series, and this was not read from one\n"
                "write it in another format, such as .nii.gz"
            )

    def write(self, sample: Sample, path: Path) -> list[str]:
        """A folder of slices in the bits and scaling of the source, as a further series of its study.

        Values are rounded to the nearest and clipped, with a note; voxels that did not change stay as stored.
        Raises ConfigError (not from DICOM) and InputError (another size than the source).
        """
        self.check(sample, path)
        dicom_write.check_fits(sample.data.shape, sample.grid.affine, sample.source)
        return dicom_write.write(sample.data, sample.source, path)


def _guarded(path: Path, *, glance: bool) -> Sample:
    """Whatever pydicom raises, turned into an error that holds nothing of a header."""
    library()
    try:
        return _read(path, glance=glance)
    except (NstError, PermissionError, MemoryError):
        raise
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or type(error).__name__}") from None
    except Exception as error:
        # neither its words nor those of an OSError are for showing: they may hold values of a header, or a UID
        raise DecodeError(f"is a broken or truncated DICOM file ({type(error).__name__})") from None


def _read(path: Path, *, glance: bool) -> Sample:
    """The waveforms of a file that has some, else a series of slices, or the one in its middle."""
    if not path.is_dir() and _has_mark(path):
        dataset, _ = dataset_of(path, "it")
        if dicom_waveform.has_waveform(dataset):
            return dicom_waveform.sample_of(dataset)
    return _series(path, glance=glance)


def _series(path: Path, *, glance: bool) -> Sample:
    notes: list[str] = []
    slices = _from_folder(path, notes) if path.is_dir() else _from_file(path, notes)
    dicom_geometry.check_alike(slices)
    ordered, grid, said = dicom_geometry.arranged(slices)
    if glance:
        middle = len(ordered) // 2
        ordered, grid = ordered[middle : middle + 1], grid.at_plane(middle)
    stored, more = dicom_pixels.read(ordered)
    assert grid.affine is not None
    source = DicomSource(tuple(ordered), stored, grid.affine)
    data = dicom_pixels.to_real(stored, *source.scaling())
    hounsfield = ordered[0].hounsfield
    if not hounsfield:
        notes.append(f"not rescaled CT (modality {ordered[0].modality}): intensities are arbitrary, not HU")
    units = "HU" if hounsfield else "arbitrary"
    return Sample(data, "volume", units, grid, (), source, tuple(notes + said + more))


def _from_file(path: Path, notes: list[str]) -> list[Slice]:
    with path.open("rb") as file:
        if not is_dicom(file.read(MARK_AT + len(MARK))):
            raise DecodeError("has no DICOM mark; it is broken, truncated or something else")
    dataset, odd = dataset_of(path, "it")
    if is_directory(dataset):
        raise InputError("is a DICOMDIR, which holds no image; give the folder of one series")
    _note_odd(int(odd), notes)
    return [parse(dataset, path, "it")]


def _from_folder(folder: Path, notes: list[str]) -> list[Slice]:
    """Every slice in the folder itself, not below it."""
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    files = [entry for entry in entries if entry.is_file()]
    skipped: Counter[str] = Counter(subfolder=len(entries) - len(files))
    slices, odd = [], 0
    for number, file in enumerate(files, 1):
        # by number: names of such files are often UIDs or names
        place = f"file {number} of {len(files)} by name"
        if not _has_mark(file):
            if file.suffix.lower() == FOLDER_HOLDS:
                raise DecodeError(f"{place} has the suffix {FOLDER_HOLDS} but no DICOM mark; it is broken or truncated")
            skipped["file that is not DICOM"] += 1
            continue
        dataset, objected = dataset_of(file, place)
        if is_directory(dataset):
            skipped["DICOMDIR"] += 1
            continue
        odd += objected
        slices.append(parse(dataset, file, place))
    if not slices:
        below = "; it has subfolders: give the one of a series" if skipped["subfolder"] else ""
        raise InputError(f"is a folder without DICOM slices{below}. Give a file, or a folder of one DICOM series")
    notes += [f"left out: {count} x {what}" for what, count in skipped.items() if count]
    _note_odd(odd, notes)
    return slices


def _has_mark(file: Path) -> bool:
    with file.open("rb") as opened:
        return is_dicom(opened.read(MARK_AT + len(MARK)))


def _note_odd(count: int, notes: list[str]) -> None:
    if count:
        notes.append(f"{count} headers are not as the standard wants them; what was needed of them could be read")
