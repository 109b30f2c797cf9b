"""JPEG: an unchanged image is written back as the very same bytes; a changed one with the input's own tables."""

from __future__ import annotations

import io
import re
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import DecodeError, InputError
from nst_nd.io.codec import ReadOptions, blank
from nst_nd.io.image import ImageSource, check_size, orientation_of, source_of, to_pixels, to_sample
from nst_nd.sample import Kind, Sample

_START, _END, _SCAN, _COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
# start-of-frame markers: C0..CF without DHT, JPG and DAC
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APP = range(0xE1, 0xF0)
# Adobe's mark tells how the encoder mixed its colours, and ours mixes its own way
_ADOBE = 0xEE
# inside a scan every FF is followed by 00 or by a restart mark until the next segment
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_QUALITY = 95
_EXIF = b"Exif\0\0"
_SUBSAMPLING_444 = 0

Segment = tuple[int, bytes]


@dataclass(frozen=True)
class _Native:
    encoded: bytes
    segments: tuple[Segment, ...]


class JpegCodec:
    """The JPEG family, 8 bit, gray or RGB."""

    name: ClassVar[str] = "JPEG"
    suffixes: ClassVar[tuple[str, ...]] = (".jpg", ".jpeg")
    kinds: ClassVar[tuple[Kind, ...]] = ("image",)
    plain: ClassVar[tuple[str, ...]] = ()

    def sniff(self, head: bytes) -> bool:
        """By the start mark and the marker after it."""
        return head.startswith(b"\xff\xd8\xff")

    def read(self, path: Path, options: ReadOptions) -> Sample:  # noqa: ARG002
        """Colours as [1 or 3, height, width] in 0..1. Raises DecodeError, and InputError for CMYK."""
        encoded = path.read_bytes()
        segments = _segments(encoded)
        _size(segments)
        return _sample(*_decode(encoded), encoded, segments)

    def outline(self, path: Path, options: ReadOptions) -> Sample:  # noqa: ARG002
        """See Outlining: the file is read up to its end mark, but no pixel is decoded."""
        encoded = path.read_bytes()
        segments = _segments(encoded)
        height, width, components = _size(segments)
        _, info = _decode(encoded, pixels=False)
        sample = _sample(np.zeros((1, 1, components), np.uint8), info, encoded, segments)
        size = (height, width) if sample.source.orientation < 5 else (width, height)
        return sample.replace(data=blank((sample.nc, *size)))

    def write(self, sample: Sample, path: Path) -> list[str]:
        """Write the bytes of the input if no pixel changed, else encode anew and say that this is lossy."""
        source = source_of(sample)
        native = source.native if isinstance(source.native, _Native) else None
        orientation = source.orientation if source.exif else 1
        pixels, notes = to_pixels(sample, np.dtype(np.uint8), alpha=False, orientation=orientation)
        if pixels.shape[-1] == 1:
            pixels = pixels[..., 0]
        if native is not None and np.array_equal(pixels, _decode(native.encoded)[0]):
            path.write_bytes(native.encoded)
            return notes
        path.write_bytes(_encode_like(pixels, native) if native else _encode(pixels, source))
        return [*notes, "JPEG is lossy: pixels differ a little from the result; PNG and TIFF keep them"]


def _sample(pixels: NDArray[Any], info: dict[Any, Any], encoded: bytes, segments: list[Segment]) -> Sample:
    """Pixels [height, width] or [height, width, 3] with what the segments, and Pillow's info, say of them."""
    notes: list[str] = []
    if any(mark == 0xE2 and body.startswith(b"MPF\0") for mark, body in segments):
        notes.append("holds several pictures (MPO): only the first is used")
    exif = next((b[len(_EXIF) :] for m, b in segments if m == 0xE1 and b.startswith(_EXIF)), None)
    native = _Native(encoded, tuple(_travelling(segments)))
    icc, dpi = info.get("icc_profile"), info.get("dpi")
    return to_sample(
        pixels, ImageSource(pixels.dtype, None, orientation_of(exif, notes), icc, exif, dpi, native), notes
    )


def _segments(data: bytes) -> list[Segment]:
    """Marker and body of every segment up to the end mark; raises DecodeError where that is missing."""
    segments: list[Segment] = []
    at = 2
    while True:
        while data[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        if at + 4 > len(data) and data[at : at + 2] != bytes([0xFF, _END]):
            raise DecodeError("the JPEG file is truncated: its end mark is missing")
        if data[at] != 0xFF:
            raise DecodeError(f"the JPEG file is broken: no marker at byte {at}")
        mark = data[at + 1]
        if mark == _END:
            return segments
        (size,) = struct.unpack_from(">H", data, at + 2)
        segments.append((mark, data[at + 4 : at + 2 + size]))
        at += 2 + size
        if mark == _SCAN:
            following = _NEXT_MARKER.search(data, at)
            at = following.start() if following else len(data)


def _size(segments: list[Segment]) -> tuple[int, int, int]:
    """Height, width and components that the frame header gives. Raises DecodeError, and InputError for CMYK."""
    frame = next((body for mark, body in segments if mark in _FRAMES), b"")
    if len(frame) < 6:
        raise DecodeError("the JPEG file is broken: its frame header is missing")
    _, height, width, components = struct.unpack_from(">BHHB", frame)
    check_size(width, height)
    if components not in (1, 3):
        raise InputError(f"is a JPEG of {components} components (CMYK?); convert it to RGB or gray first")
    return height, width, components


def _travelling(segments: list[Segment]) -> list[Segment]:
    """Metadata that a newly encoded image takes along: EXIF, XMP, ICC, comments."""
    return [
        (mark, body)
        for mark, body in segments
        if mark == _COMMENT or (mark in _APP and mark != _ADOBE and not body.startswith(b"MPF\0"))
    ]


def _decode(encoded: bytes, *, pixels: bool = True) -> tuple[NDArray[Any], dict[Any, Any]]:
    """Its pixels, none where they are not asked for, and what Pillow says of it."""
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        # Pillow warns of metadata it cannot parse and of sizes that check_size allows
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(encoded), formats=("JPEG",)) as image:
                if not pixels:
                    return np.zeros((0, 0), np.uint8), dict(image.info)
                image.load()
                return np.array(image), dict(image.info)
        except UnidentifiedImageError as error:
            raise DecodeError("the JPEG file is broken: Pillow does not recognise its header") from error


def _encode(pixels: NDArray[Any], source: ImageSource) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    extra: dict[str, Any] = {"dpi": tuple(round(d) for d in source.dpi)} if source.dpi else {}
    if source.icc:
        extra["icc_profile"] = source.icc
    if source.exif:
        extra["exif"] = _EXIF + source.exif
    Image.fromarray(pixels).save(out, "JPEG", quality=_QUALITY, subsampling=_SUBSAMPLING_444, **extra)
    return out.getvalue()


def _encode_like(pixels: NDArray[Any], native: _Native) -> bytes:
    """With the quantisation tables, the subsampling and the metadata of the input."""
    from PIL import Image, JpegImagePlugin

    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(native.encoded), formats=("JPEG",)) as like:
            assert isinstance(like, JpegImagePlugin.JpegImageFile)
            sampling = JpegImagePlugin.get_sampling(like)
            Image.fromarray(pixels).save(
                out,
                "JPEG",
                qtables=like.quantization,
                subsampling=_SUBSAMPLING_444 if sampling < 0 else sampling,
                progressive=bool(like.info.get("progressive")),
                dpi=like.info.get("dpi", (0, 0)),
            )
    plain = out.getvalue()
    (size,) = struct.unpack_from(">H", plain, 4)  # of the JFIF segment, which comes first
    kept = b"".join(struct.pack(">BBH", 0xFF, mark, len(body) + 2) + body for mark, body in native.segments)
    return plain[: 4 + size] + kept + plain[4 + size :]
