"""TIFF: one page, 8 or 16 bit or float, gray or RGB, with or without alpha; its tags travel along."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import DecodeError, InputError
from nst_nd.io.codec import ReadOptions, blank
from nst_nd.io.image import ImageSource, check_size, source_of, to_pixels, to_sample
from nst_nd.io.logs import captured
from nst_nd.sample import Kind, Sample

_DTYPES = ("uint8", "uint16", "float16", "float32", "float64")
_NONE, _DEFLATE, _JPEG = 1, 8, 7
# LZW and deflate reach little more than a thousand, the others less
_MAX_RATIO = 2000
_ORIENTATION, _ICC, _RESOLUTION_UNIT = 274, 34675, 296
# layout, which follows from the pixels, and links to other places of the file
_STRUCTURE = {254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 282, 283, 284, 288, 289, 296, 317}
_STRUCTURE |= {320, 322, 323, 324, 325, 330, 338, 339, 347, 529, 530, 531, 532}
_SUB_IFDS = {330: "reduced images", 34665: "EXIF", 34853: "GPS"}
_INCH, _CENTIMETRE = 2, 3
_CM_PER_INCH = 2.54


@dataclass(frozen=True)
class _Native:
    byteorder: Literal["<", ">"] = "<"
    inverted: bool = False
    planar: int = 1
    compression: int = _DEFLATE
    predictor: int = 1
    extrasample: int = 2
    tile: tuple[int, int] | None = None
    rows: int | None = None
    resolution: tuple[Any, Any] | None = None
    unit: int = _INCH
    tags: tuple[tuple[Any, ...], ...] = field(default=())
    size: tuple[int, int] = (0, 0)  # height and width as stored


class TiffCodec:
    """Tagged image file format."""

    name: ClassVar[str] = "TIFF"
    suffixes: ClassVar[tuple[str, ...]] = (".tif", ".tiff")
    kinds: ClassVar[tuple[Kind, ...]] = ("image",)
    plain: ClassVar[tuple[str, ...]] = ()

    def sniff(self, head: bytes) -> bool:
        """By byte order and version: TIFF or BigTIFF."""
        return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

    def read(self, path: Path, options: ReadOptions) -> Sample:  # noqa: ARG002
        """Colours as [1 or 3, height, width] in 0..1, floats as they are. Raises DecodeError or InputError."""
        return _sample(path, _decoded)

    def outline(self, path: Path, options: ReadOptions) -> Sample:  # noqa: ARG002
        """See Outlining: tags are read, and whether the strips are there, but none of them."""
        sample = _sample(path, _one_pixel)
        page_size = sample.source.native.size
        size = page_size if sample.source.orientation < 5 else page_size[::-1]
        return sample.replace(data=blank((sample.nc, *size)))

    def write(self, sample: Sample, path: Path) -> list[str]:
        """Write the dtype of the input, 16 bit without one; losslessly compressed as the input, else with deflate."""
        source = source_of(sample)
        own = isinstance(source.native, _Native)
        orientation = source.orientation if own else 1
        pixels, notes = to_pixels(sample, source.dtype, alpha=True, orientation=orientation)
        if source.exif:
            notes.append("the EXIF block was dropped: it is not carried into TIFF")
        native = source.native if own else _fresh(source)
        try:
            if native.compression == _JPEG:
                raise ValueError("lossy")
            encoded = _encode(pixels, native)
        except (ValueError, KeyError):  # tifffile's word for a compression that it lacks the package for
            notes.append("compressed with deflate, as the compression of the input cannot be written; no pixel changes")
            encoded = _encode(pixels, replace(native, compression=_DEFLATE, predictor=1))
        path.write_bytes(encoded)
        return notes


def _sample(path: Path, pixels_of: Callable[[Any], NDArray[Any]]) -> Sample:
    """The only page, with what its tags say. pixels_of: as tifffile has them."""
    import tifffile

    with captured("tifffile") as notes, tifffile.TiffFile(path) as file:
        page = _only_page(file)
        _check(page, path.stat().st_size)
        pixels = _pixels(page, pixels_of(page), notes)
        native = _native(page, file.byteorder, notes)
        orientation = page.tags.valueof(_ORIENTATION, 1)
        icc = page.tags.valueof(_ICC)
    orientation = orientation if orientation in range(1, 9) else 1
    source = ImageSource(pixels.dtype, None, orientation, icc, None, _dpi(native), native)
    return to_sample(pixels, source, notes)


def _only_page(file: Any) -> Any:
    if not len(file.pages):
        raise DecodeError("the TIFF file is truncated or broken: it has no page")
    if len(file.pages) != 1:
        raise InputError(f"is a TIFF of {len(file.pages)} pages; give one page as a file of its own")
    return file.pages[0]


def _check(page: Any, file_size: int) -> None:
    """Refuse what is truncated, absurd, or of a layout that no image has, before anything is allocated."""
    check_size(page.imagewidth, page.imagelength)
    if page.imagedepth != 1 or page.axes not in ("YX", "YXS", "SYX") or page.samplesperpixel > 4:
        raise InputError(f"is a TIFF of shape {page.shape} ({page.axes}); allowed: one gray or RGB image")
    if page.dtype is None or (page.dtype.name not in _DTYPES and page.dtype != np.bool_):
        raise InputError(f"is a TIFF of {page.dtype or 'unknown'} samples; allowed: {', '.join(_DTYPES)}")
    if page.photometric not in (0, 1, 2, 3, 6):
        raise InputError(f"is a TIFF of colour space {page.photometric}; convert it to gray or RGB first")
    ends = [a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if not ends or max(ends) > file_size or min(page.databytecounts) < 1:
        raise DecodeError("the TIFF file is truncated or broken: its strips are not all there")
    ratio = 1 if page.compression == _NONE else _MAX_RATIO
    bits = page.imagewidth * page.imagelength * page.samplesperpixel * page.bitspersample
    if bits > 8 * ratio * sum(page.databytecounts):
        raise DecodeError(f"its header claims {page.imagewidth} x {page.imagelength} pixels, more than the file holds")


def _pixels(page: Any, pixels: NDArray[Any], notes: list[str]) -> NDArray[Any]:
    """As decoded -> [height, width(, channel)] in native byte order, black at 0, palette resolved."""
    pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
        notes.append("1-bit gray was converted to 8 bits")
    if page.photometric == 3:
        colours = np.asarray(page.colormap)
        # most writers have 8 bits in mind, shifted or repeated
        short = (colours >> 8).astype(np.uint8)
        if np.array_equal(colours & 255, np.zeros_like(short)) or np.array_equal(colours & 255, short):
            colours = short
        notes.append(f"palette colours were converted to {8 * colours.itemsize} bits a channel")
        return np.moveaxis(colours[:, pixels], 0, -1)
    if page.photometric == 0:
        pixels = _invert(pixels)
    return pixels


def _one_pixel(page: Any) -> NDArray[Any]:
    """A page of the same layout, of one pixel."""
    return np.zeros([page.samplesperpixel if axis == "S" else 1 for axis in page.axes], page.dtype)


def _decoded(page: Any) -> NDArray[Any]:
    try:
        return np.asarray(page.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        # Pillow brings its own LZW; but it cuts 16-bit colours down to 8, and knows no planes
        whole = page.dtype == np.uint8 or (page.dtype == np.uint16 and page.samplesperpixel == 1)
        if page.photometric not in (1, 2) or not whole or page.axes == "SYX":
            raise InputError(
                f"is compressed with {page.compression.name}; to read it, install the package imagecodecs"
            ) from error
    from PIL import Image

    with Image.open(page.parent.filehandle.path, formats=("TIFF",)) as image:
        image.load()
        pixels = np.array(image)
    if pixels.shape != page.shape:
        raise DecodeError(f"decoded to {pixels.shape} where its header says {page.shape}")
    return pixels


def _invert(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.dtype.kind == "f":
        raise InputError("is a float TIFF with white at zero; convert it to black at zero first")
    return np.iinfo(pixels.dtype).max - pixels


def _native(page: Any, byteorder: Literal["<", ">"], notes: list[str]) -> _Native:
    lost = [name for code, name in _SUB_IFDS.items() if code in page.tags]
    if lost:
        notes.append(f"these parts of the TIFF file are not carried along: {', '.join(lost)}")
    tags = []
    for tag in page.tags.values():
        if tag.code not in _STRUCTURE and tag.code not in _SUB_IFDS:
            tags.append((tag.code, int(tag.dtype), tag.count, tag.value, True))
    converted = page.photometric == 3 or page.dtype == np.bool_
    return _Native(
        byteorder=byteorder,
        inverted=page.photometric == 0,
        planar=int(page.planarconfig),
        compression=int(page.compression),
        predictor=1 if converted else int(page.predictor),
        extrasample=int(page.extrasamples[0]) if page.extrasamples else 2,
        tile=(page.tilelength, page.tilewidth) if page.is_tiled else None,
        rows=None if page.is_tiled else page.rowsperstrip,
        resolution=_resolution(page),
        unit=int(page.tags.valueof(_RESOLUTION_UNIT, _INCH)),
        tags=tuple(tags),
        size=(page.imagelength, page.imagewidth),
    )


def _resolution(page: Any) -> tuple[Any, Any] | None:
    x, y = page.tags.valueof(282), page.tags.valueof(283)
    return (x, y) if x and y else None


def _dpi(native: _Native) -> tuple[float, float] | None:
    scale = {_INCH: 1.0, _CENTIMETRE: _CM_PER_INCH}.get(native.unit)
    if native.resolution is None or scale is None or 0 in (native.resolution[0][1], native.resolution[1][1]):
        return None
    (xn, xd), (yn, yd) = native.resolution
    return xn / xd * scale, yn / yd * scale


def _fresh(source: ImageSource) -> _Native:
    """The layout and tags of an image that came from another format."""
    resolution = tuple((round(1000 * dots), 1000) for dots in source.dpi) if source.dpi else None
    tags = ((_ICC, 7, len(source.icc), source.icc, True),) if source.icc else ()
    return _Native(resolution=resolution, tags=tags)  # type: ignore[arg-type]


def _encode(pixels: NDArray[Any], native: _Native) -> bytes:
    """Pixels [height, width, channel] as a file in memory."""
    import tifffile

    channels = pixels.shape[-1]
    if native.inverted and channels < 3:
        pixels = _invert(pixels)
    if channels == 1:
        pixels = pixels[..., 0]
    elif native.planar == 2:
        pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    compression = None if native.compression == _NONE else native.compression
    photometric = "rgb" if channels > 2 else ("miniswhite" if native.inverted else "minisblack")
    out = io.BytesIO()
    tifffile.imwrite(
        out,
        pixels,
        byteorder=native.byteorder,
        photometric=photometric,
        planarconfig=(None if channels == 1 else "separate" if native.planar == 2 else "contig"),
        extrasamples=[native.extrasample] if channels in (2, 4) else None,
        compression=compression,
        predictor=native.predictor if compression else None,
        tile=native.tile,
        rowsperstrip=native.rows,
        resolution=native.resolution,
        resolutionunit=native.unit if native.resolution else None,
        metadata=None,
        software=False,
        extratags=list(native.tags),
    )
    return out.getvalue()
