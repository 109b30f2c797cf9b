"""The header of one DICOM slice: what is needed of it, what is refused. No value of it gets into a message or note.

Names, numbers and UIDs of a header belong to a patient, and file names are often made of them. So messages name a
slice by its place in the folder, and what pydicom says about values is not passed on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import DecodeError, InputError
from nst_nd.io.logs import captured

MARK, MARK_AT = b"DICM", 128
DIRECTORY = "1.2.840.10008.1.3.10"
# transfer syntaxes whose pixels are not compressed, by the byte order of these
NATIVE: dict[str, Literal["<", ">"]] = {
    "1.2.840.10008.1.2": "<",
    "1.2.840.10008.1.2.1": "<",
    "1.2.840.10008.1.2.1.99": "<",
    "1.2.840.10008.1.2.2": ">",
}
_WIDTHS = (8, 16, 32)
# of a compressed slice nobody knows the size before it is decoded
_LONGEST_COMPRESSED = 16384
_UNIT = 1e-3


@dataclass(frozen=True, eq=False)
class PixelFormat:
    """Stored integers: bits in the file, bits used of them, signed or not; [rows, columns] of a slice."""

    allocated: int
    stored: int
    signed: bool
    rows: int
    columns: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """In which they are held here."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.allocated // 8}")

    @property
    def slice_bytes(self) -> int:
        """Of one slice."""
        return self.rows * self.columns * self.allocated // 8


@dataclass(frozen=True, eq=False)
class Slice:
    """One file without its pixels.

    place: the words for it in messages. series: what it belongs to, never shown. position: LPS, mm, of the middle of
    the first voxel. directions: [2, 3] unit vectors, along which the column index and the row index grow. spacing:
    mm along these. thickness: mm, where the header has one. slope, inter: real = slope * stored + inter.
    """

    path: Path = field(repr=False)
    place: str
    header: Any = field(repr=False)
    series: str = field(repr=False)
    modality: str
    hounsfield: bool
    pixels: PixelFormat
    position: NDArray[np.float64] = field(repr=False)
    directions: NDArray[np.float64] = field(repr=False)
    spacing: tuple[float, float]
    thickness: float | None
    slope: float
    inter: float
    padding: int | None


def library() -> Any:
    """pydicom, imported now. Raises InputError where it is not installed."""
    try:
        import pydicom
    except ImportError as error:
        raise InputError('DICOM needs the package pydicom; install it with: pip install "nst_nd[dicom]"') from error
    return pydicom


def is_dicom(head: bytes) -> bool:
    """Whether a file that starts so is of DICOM part 10."""
    return head[MARK_AT : MARK_AT + len(MARK)] == MARK


def dataset_of(path: Path, place: str) -> tuple[Any, bool]:
    """The whole dataset, and whether pydicom objected to something in it. Raises DecodeError where it is broken."""
    pydicom = library()
    with captured("pydicom") as said:
        try:
            dataset = pydicom.dcmread(path)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            # its words may hold values of the header
            raise DecodeError(f"{place} is a broken or truncated DICOM file ({type(error).__name__})") from None
    return dataset, bool(said)


def is_directory(dataset: Any) -> bool:
    """Whether it is a DICOMDIR, the table of contents of a disc."""
    return str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) == DIRECTORY


def parse(dataset: Any, path: Path, place: str) -> Slice:
    """Check a dataset and take its pixels out of it.

    Raises DecodeError (truncated, no image) and InputError (a kind of image that is not read, no usable geometry).
    """
    with captured("pydicom"):
        view = _View(dataset, place)
        pixels = _pixel_format(view)
        _refuse_other_images(view)
        position, directions, spacing = _geometry(view)
        slope, inter = (view.number(key, default) for key, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0)))
        if slope == 0:
            raise InputError(f"RescaleSlope of {place} is 0; every voxel would be the same")
        modality = view.text("Modality") or "unknown"
        rescaled = all(view.value(key) not in (None, "") for key in ("RescaleSlope", "RescaleIntercept"))
        # the standard: rescaled CT is in HU unless a type says otherwise
        hounsfield = modality == "CT" and rescaled and view.text("RescaleType") in ("", "HU")
        padding = view.value("PixelPaddingValue")
        thickness = view.length("SpacingBetweenSlices") or view.length("SliceThickness")
        series = view.text("SeriesInstanceUID")
    del dataset.PixelData
    padding = int(padding) if isinstance(padding, int) else None
    return Slice(
        path, place, dataset, series, modality, hounsfield, pixels, position, directions, spacing, thickness,
        slope, inter, padding,
    )  # fmt: skip


class _View:
    """Reads values out of a dataset; where one cannot be read, the error names its keyword alone."""

    def __init__(self, dataset: Any, place: str) -> None:
        self.dataset, self.place = dataset, place

    def value(self, keyword: str) -> Any:
        try:
            return self.dataset.get(keyword)
        except Exception:
            raise DecodeError(f"{keyword} of {self.place} cannot be read; the file is broken") from None

    def text(self, keyword: str) -> str:
        return str(self.value(keyword) or "").strip().upper()

    def whole(self, keyword: str, default: int | None = None) -> int:
        value = self.value(keyword)
        value = default if value is None else value
        if not isinstance(value, int):
            raise DecodeError(f"{keyword} of {self.place} is missing or no number; the file is broken")
        return int(value)

    def number(self, keyword: str, default: float) -> float:
        value = self.value(keyword)
        number = self._floats(keyword, [default if value is None or value == "" else value])
        return float(number[0])

    def length(self, keyword: str) -> float | None:
        """Of a value that stands for a distance; None where it is missing or none."""
        try:
            number = abs(self.number(keyword, 0.0))
        except InputError:
            return None
        return number or None

    def vector(self, keyword: str, count: int) -> NDArray[np.float64]:
        value = self.value(keyword)
        if value is None or isinstance(value, str | float) or len(value) != count:
            raise InputError(
                f"{self.place} has no {keyword} of {count} numbers, so where it lies is not known\n"
                "give a series of slices with positions (a scan, not a photograph or a report)"
            )
        return self._floats(keyword, list(value))

    def _floats(self, keyword: str, values: list[Any]) -> NDArray[np.float64]:
        try:
            numbers = np.array([float(v) for v in values])
        except (TypeError, ValueError):
            raise InputError(f"{keyword} of {self.place} is no number; repair the header first") from None
        if not np.isfinite(numbers).all():
            raise InputError(f"{keyword} of {self.place} is NaN or infinite; repair the header first")
        return numbers


def _pixel_format(view: _View) -> PixelFormat:
    """What the pixels are, held against what is there of them, so that nothing is allocated for a header that lies."""
    if "PixelData" not in view.dataset:
        raise DecodeError(f"{view.place} holds no pixels: it is truncated, or not an image; take it out")
    rows, columns = view.whole("Rows"), view.whole("Columns")
    allocated = view.whole("BitsAllocated")
    stored = view.whole("BitsStored", allocated)
    if allocated not in _WIDTHS or not 1 <= stored <= allocated:
        raise InputError(f"{view.place} stores {stored} of {allocated} bits a voxel; allowed: of 8, 16 or 32")
    if view.whole("HighBit", stored - 1) != stored - 1:
        raise InputError(f"HighBit of {view.place} is not BitsStored - 1; such values are not read")
    signed = view.whole("PixelRepresentation", 0) == 1
    if not rows or not columns:
        raise DecodeError(f"{view.place} claims {rows} rows and {columns} columns; it is broken")
    syntax = view.dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise DecodeError(f"{view.place} does not say how it is encoded (no TransferSyntaxUID); it is broken")
    pixels = PixelFormat(allocated, stored, signed, rows, columns)
    there = len(view.dataset.PixelData)
    if syntax in NATIVE and there < pixels.slice_bytes and view.text("SamplesPerPixel") in ("", "1"):
        raise DecodeError(
            f"{view.place} is truncated: {there} of {pixels.slice_bytes} bytes of {rows} rows x {columns} columns"
        )
    if syntax not in NATIVE and max(rows, columns) > _LONGEST_COMPRESSED:
        raise InputError(f"{view.place} claims {rows} rows x {columns} columns; allowed: {_LONGEST_COMPRESSED}")
    return pixels


def _refuse_other_images(view: _View) -> None:
    place = view.place
    photometric, samples = view.text("PhotometricInterpretation"), view.whole("SamplesPerPixel", 1)
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2", ""):
        raise InputError(f"{place} is a colour image ({photometric or samples}); allowed: MONOCHROME2")
    if photometric == "MONOCHROME1":
        raise InputError(f"{place} is MONOCHROME1 (white is low); allowed: MONOCHROME2. Convert it first")
    if view.whole("NumberOfFrames", 1) != 1:
        raise InputError(f"{place} holds several frames (enhanced DICOM); allowed: one slice a file. Split it first")
    if view.value("ModalityLUTSequence"):
        raise InputError(f"{place} has a table of values (ModalityLUTSequence); allowed: RescaleSlope and -Intercept")
    kinds = view.value("ImageType") or ()
    if view.text("Modality") == "CT" and "LOCALIZER" in ([kinds] if isinstance(kinds, str) else list(kinds)):
        raise InputError(f"{place} is a scout (LOCALIZER), not a slice; take it out of the folder")


def _geometry(view: _View) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[float, float]]:
    """Position, directions and spacing, as in Slice."""
    position = view.vector("ImagePositionPatient", 3)
    directions = view.vector("ImageOrientationPatient", 6).reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1).max() > _UNIT or abs(directions[0] @ directions[1]) > _UNIT:
        raise InputError(f"ImageOrientationPatient of {view.place} is not two unit vectors at a right angle")
    # the header gives the distance of rows first: that is along the row index
    along_rows, along_columns = view.vector("PixelSpacing", 2)
    if min(along_rows, along_columns) <= 0:
        raise InputError(f"PixelSpacing of {view.place} is not above zero; repair the header first")
    return position, directions / lengths[:, None], (float(along_columns), float(along_rows))
