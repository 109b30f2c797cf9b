"""What PNG, JPEG and TIFF share: pixels to a Sample and back, alpha and orientation beside them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import DecodeError, InputError
from nst_nd.io.quantise import as_data, to_floats, to_integers
from nst_nd.sample import Grid, Sample

MAX_PIXELS = 2**28
_ORIENTATION_TAG = 0x0112
COLOURS = {1: ("gray",), 3: ("red", "green", "blue")}


@dataclass(frozen=True, eq=False)
class ImageSource:
    """What an image file says besides its colours.

    dtype: of the stored pixels; alpha: [height, width] in that dtype, upright; orientation: EXIF 1..8, how the stored
    pixels lie; icc, exif: raw bytes (EXIF without its "Exif\\0\\0"); dpi: horizontal, vertical; native: what only the
    codec of that format understands.
    """

    dtype: np.dtype[Any]
    alpha: NDArray[Any] | None = None
    orientation: int = 1
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    native: Any = None


def check_size(width: int, height: int) -> None:
    """Refuse sizes that only a broken file or a decompression bomb has. Raises DecodeError."""
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise DecodeError(f"its header claims {width} x {height} pixels; allowed: 1 to {MAX_PIXELS} in all")


def full_scale(dtype: np.dtype[Any]) -> int:
    """The stored value that stands for 1.0."""
    return 1 if dtype.kind == "f" else int(np.iinfo(dtype).max)


def to_sample(pixels: NDArray[Any], source: ImageSource, notes: list[str]) -> Sample:
    """Stored pixels [height, width] or [height, width, 1..4] as an upright Sample; the alpha channel goes to `source`.

    Raises InputError for a number of channels that is not gray or RGB, with or without alpha.
    """
    planes = np.moveaxis(np.atleast_3d(pixels), -1, 0)
    if not 1 <= planes.shape[0] <= 4:
        raise InputError(f"has {planes.shape[0]} channels; allowed: gray or RGB, with or without alpha")
    planes = np.ascontiguousarray(upright(planes, source.orientation))
    colours, alpha = (planes[:-1], planes[-1]) if planes.shape[0] in (2, 4) else (planes, None)
    data = as_data(colours, full_scale(source.dtype), wide=source.dtype.itemsize > 4)
    if source.orientation != 1:
        notes = [*notes, f"turned upright as its orientation tag ({source.orientation}) says"]
    if alpha is not None:
        notes = [*notes, "the alpha channel is kept beside the colours; transparent pixels count like others"]
    if source.icc is not None:
        notes = [*notes, "the colour profile is kept; values are used as they are stored"]
    kept = ImageSource(**{**vars(source), "alpha": alpha})
    grid = Grid(spacing=(1.0, 1.0), unit="px")
    return Sample(data, "image", "full scale", grid, COLOURS[colours.shape[0]], kept, tuple(notes))


def source_of(sample: Sample) -> ImageSource:
    """The sample's own image source, or that of a fresh 16-bit image where it came from elsewhere."""
    return sample.source if isinstance(sample.source, ImageSource) else ImageSource(np.dtype(np.uint16))


def stored_numbers(sample: Sample) -> Sample:
    """A sample of an image file with the whole numbers that the file holds, as a label map means them; others as is."""
    source = sample.source
    if not isinstance(source, ImageSource) or source.dtype.kind == "f":
        return sample
    return sample.replace(data=np.rint(sample.data * full_scale(source.dtype)), units="number")


def integer_dtype(sample: Sample) -> np.dtype[Any]:
    """8 or 16 bit as the file it came from; 16 bit for all else, where least is lost."""
    dtype = source_of(sample).dtype
    return np.dtype(np.uint8 if dtype.itemsize == 1 else np.uint16)


def to_pixels(sample: Sample, dtype: np.dtype[Any], *, alpha: bool, orientation: int) -> tuple[NDArray[Any], list[str]]:
    """The stored pixels [height, width, channel] of a Sample, as they lie in the file, and notes on what was lost.

    alpha: whether the format holds one. Raises InputError for anything but 1 or 3 channels.
    """
    if sample.nc not in COLOURS or sample.data.ndim != 3:
        raise InputError(f"an image of {sample.nc} channels cannot be written; allowed: 1 (gray) or 3 (RGB)")
    source = source_of(sample)
    planes, notes = _stored(sample.data, dtype)
    if source.dtype.kind == "f" and dtype.kind != "f":
        notes.append(f"float values were rounded to {8 * dtype.itemsize} bits")
    elif dtype.kind != "f" and source.dtype.itemsize > dtype.itemsize:
        notes.append(f"{8 * source.dtype.itemsize}-bit values were rounded to {8 * dtype.itemsize} bits")
    if source.alpha is not None:
        if not alpha:
            notes.append("the format holds no alpha channel: it was dropped")
        elif source.alpha.shape != sample.shape:
            notes.append("the alpha channel was dropped: its size is another")
        else:
            plane = source.alpha
            if plane.dtype != dtype:
                plane, _ = _stored(plane / full_scale(plane.dtype), dtype)
            planes = np.concatenate([planes, plane[None]])
    return np.ascontiguousarray(np.moveaxis(as_stored(planes, orientation), 0, -1)), notes


def _stored(values: NDArray[Any], dtype: np.dtype[Any]) -> tuple[NDArray[Any], list[str]]:
    if dtype.kind == "f":
        return to_floats(values, dtype)
    return to_integers(values * values.dtype.type(full_scale(dtype)), dtype)


def upright(planes: NDArray[Any], orientation: int) -> NDArray[Any]:
    """[channel, height, width] as stored -> as seen."""
    if orientation >= 5:
        planes = planes.swapaxes(-2, -1)
    flip_rows, flip_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return planes[..., :: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def as_stored(planes: NDArray[Any], orientation: int) -> NDArray[Any]:
    """[channel, height, width] as seen -> as stored: the inverse of `upright`."""
    return upright(planes, {6: 8, 8: 6}.get(orientation, orientation))


def orientation_of(exif: bytes | None, notes: list[str]) -> int:
    """The EXIF orientation 1..8; 1 where there is none, with a note where it cannot be read."""
    from PIL import Image

    if not exif:
        return 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tags = Image.Exif()
            tags.load(exif)
            value = tags.get(_ORIENTATION_TAG, 1)
    except Exception:  # Pillow raises all sorts of things on a broken EXIF block
        notes.append("its EXIF block is broken: its orientation was not looked at")
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
