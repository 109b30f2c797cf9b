"""A DICOM series derived from another: the headers of the source with new pixels, new identities and where from.

What belongs to the patient and the study stays as it is: the result is a further series of the same study. It is as
confidential as its source.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd import __version__
from nst_nd.errors import InputError
from nst_nd.io import dicom_pixels
from nst_nd.io.codec import FOLDER_HOLDS
from nst_nd.io.dicom_header import Slice, library
from nst_nd.io.logs import captured
from nst_nd.io.quantise import limits
from nst_nd.sample import Data

_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_SERIES_OFFSET = 1000
_LARGEST_IS = 2**31 - 1
_LONGEST = {"SeriesDescription": 64, "DerivationDescription": 1024}
# about the old pixels, the old file or its making; MACParameters and signatures vouch for what is not there any more
_STALE = (
    "InstanceCreationDate", "InstanceCreationTime", "InstanceCreatorUID", "IconImageSequence",
    "MACParametersSequence", "DigitalSignaturesSequence", "DataSetTrailingPadding",
)  # fmt: skip
_EXTREMES = ("SmallestImagePixelValue", "LargestImagePixelValue")
_EXTREMES_OF_SERIES = ("SmallestPixelValueInSeries", "LargestPixelValueInSeries")


@dataclass(frozen=True, eq=False)
class DicomSource:
    """A series in the order of the volume: headers, and the integers [k, row, column] that unchanged voxels keep.

    affine: of the grid that was read.
    """

    slices: tuple[Slice, ...] = field(repr=False)
    stored: NDArray[Any] = field(repr=False)
    affine: NDArray[np.float64] = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the volume, [i, j, k]."""
        return tuple(reversed(self.stored.shape))

    @property
    def whole_numbers(self) -> bool:
        """Whether the scanner gave whole numbers: slopes of 1 and whole intercepts, as CT has them."""
        slopes, inters = self.scaling()
        return bool(np.all(slopes == 1.0) and np.all(inters == np.rint(inters)))

    def scaling(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Slope and intercept of each slice."""
        return np.array([one.slope for one in self.slices]), np.array([one.inter for one in self.slices])


@dataclass(frozen=True, eq=False)
class _Series:
    """What all files of the new series share."""

    entropy: str
    uid: str
    lowest: int
    highest: int
    clipped: int


def write(data: Data, source: DicomSource, folder: Path) -> list[str]:
    """Make the folder with one file a slice, 0001.dcm and on in the order of k; returns what was clipped.

    data: [1, i, j, k] of the source's shape, in its unit. The same data and source give the same bytes.
    Raises InputError where a header of the source cannot be written.
    """
    series = _surveyed(data, source)
    folder.mkdir()
    digits = max(4, len(str(len(source.slices))))
    planes = dicom_pixels.to_stored(data, source.slices[0].pixels, *source.scaling(), source.stored)
    for number, (one, (plane, _)) in enumerate(zip(source.slices, planes, strict=True), 1):
        with captured("pydicom"):
            try:
                _write_file(_derived(one, plane, series), folder / f"{number:0{digits}}{FOLDER_HOLDS}")
            except (OSError, MemoryError):
                raise
            except Exception as error:
                # its words may hold values of the header
                raise InputError(f"the header of {one.place} cannot be written ({type(error).__name__})") from None
    low, high = limits(source.stored.dtype, source.slices[0].pixels.stored)
    if not series.clipped:
        return []
    return [f"{series.clipped} of {data.size} samples were clipped to {low}..{high} as stored"]


def _surveyed(data: Data, source: DicomSource) -> _Series:
    """One pass over all voxels: the identity of the series follows from them and from the source's."""
    digest = hashlib.sha256()
    low, high, clipped = [], [], 0
    for plane, beyond in dicom_pixels.to_stored(data, source.slices[0].pixels, *source.scaling(), source.stored):
        digest.update(plane.tobytes())
        low.append(int(plane.min()))
        high.append(int(plane.max()))
        clipped += beyond
    for one in source.slices:
        digest.update(f"{one.series} {one.header.get('SOPInstanceUID', '')}\n".encode())
    entropy = f"nst_nd {digest.hexdigest()}"
    return _Series(entropy, _uid(entropy, "series"), min(low), max(high), clipped)


def _uid(entropy: str, what: str) -> str:
    library()
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=[entropy, what]))


def _derived(one: Slice, plane: NDArray[Any], series: _Series) -> Any:
    """The dataset of one file."""
    new = copy.deepcopy(one.header)
    _forget(new)
    _tell_origin(new, one.header)
    new.SeriesInstanceUID = series.uid
    # the same for the same source slice, whatever the order
    new.SOPInstanceUID = _uid(series.entropy, str(one.header.get("SOPInstanceUID", one.place)))
    number = one.header.get("SeriesNumber")
    fits = isinstance(number, int) and number <= _LARGEST_IS - _SERIES_OFFSET
    new.SeriesNumber = _SERIES_OFFSET + (int(number) if fits and number is not None else 0)
    kind = "SS" if one.pixels.signed else "US"
    extremes = (*zip(_EXTREMES, (int(plane.min()), int(plane.max())), strict=True),
                *zip(_EXTREMES_OF_SERIES, (series.lowest, series.highest), strict=True))  # fmt: skip
    for keyword, value in extremes:
        if keyword in new:
            del new[keyword]
            if one.pixels.stored <= 16:
                _add(new, keyword, kind, value)
    new.BitsStored, new.HighBit = one.pixels.stored, one.pixels.stored - 1
    wire = plane.astype(plane.dtype.newbyteorder("<")).tobytes()
    _add(new, "PixelData", "OB" if one.pixels.allocated == 8 else "OW", wire + b"\0" * (len(wire) % 2))
    return new


def _add(dataset: Any, keyword: str, kind: str, value: Any) -> None:
    from pydicom.datadict import tag_for_keyword

    dataset.add_new(tag_for_keyword(keyword), kind, value)


def _forget(new: Any) -> None:
    """Drop what is not true of the new pixels: among it overlays that were kept in unused bits of the old ones."""
    for keyword in _STALE:
        if keyword in new:
            del new[keyword]
    embedded = {
        tag.group
        for tag in list(new.keys())
        if 0x6000 <= tag.group <= 0x60FF and (tag.group, 0x3000) not in new and tag.group % 2 == 0
    }
    for tag in [tag for tag in list(new.keys()) if tag.group in embedded]:
        del new[tag]


def _tell_origin(new: Any, old: Any) -> None:
    from pydicom.dataset import Dataset

    kinds = old.get("ImageType") or ()
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    new.ImageType = ["DERIVED", "SECONDARY", *(kinds[2:] or ["OTHER"])]
    told = f"style transfer by nst_nd {__version__}, for research, not for diagnosis"
    if "ConvolutionKernel" in old:
        told += "; ConvolutionKernel is that of the source, its noise and sharpness may differ"
    _append(new, old, "DerivationDescription", "; ", told)
    _append(new, old, "SeriesDescription", " ", "nst_nd derived")
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    item = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        setattr(item, f"Referenced{keyword}", old.get(keyword, ""))
    item.PurposeOfReferenceCodeSequence = [purpose]
    new.SourceImageSequence = [item]


def _append(new: Any, old: Any, keyword: str, between: str, words: str) -> None:
    """Words behind what stands there, of which the end gives way where it would be too long."""
    room = _LONGEST[keyword] - len(between) - len(words)
    before = str(old.get(keyword) or "").strip()[:room]
    setattr(new, keyword, f"{before}{between}{words}" if before else words)


def _write_file(dataset: Any, path: Path) -> None:
    pydicom = library()
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE)
    dataset.file_meta, dataset.preamble = meta, None
    if int(pydicom.__version__.split(".")[0]) < 3:
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
        pydicom.dcmwrite(path, dataset, write_like_original=False)
    else:
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def check_fits(shape: Sequence[int], affine: NDArray[np.float64] | None, source: DicomSource) -> None:
    """InputError unless a volume [1, i, j, k] has the source's shape and place."""
    if tuple(shape) != (1, *source.shape):
        raise InputError(
            f"a volume of shape {tuple(shape)} cannot be written under headers of {(1, *source.shape)}\n"
            "write it as .nii.gz, or keep the size of the series"
        )
    if affine is not None and not np.array_equal(affine, source.affine):
        raise InputError("the volume lies elsewhere than its source series; write it as .nii.gz")
