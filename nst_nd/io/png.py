"""PNG: 8 and 16 bit, gray or RGB, with or without alpha; every ancillary chunk travels along."""

from __future__ import annotations

import io
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import DecodeError, InputError
from nst_nd.io.codec import ReadOptions, blank
from nst_nd.io.image import ImageSource, check_size, integer_dtype, orientation_of, source_of, to_pixels, to_sample
from nst_nd.sample import Kind, Sample

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
# they speak of a palette, a bit depth or the channels, so they go when those change
_OF_PIXELS = {b"tRNS", b"bKGD", b"hIST", b"sBIT"}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEFLATE_RATIO = 1032
_MAX_PROFILE = 2**24
_METRES_PER_INCH = 0.0254

Chunk = tuple[bytes, bytes]


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    @property
    def packed(self) -> bool:
        """Palette or fewer than 8 bits: converted on reading."""
        return self.colour == 3 or self.depth < 8


@dataclass(frozen=True)
class _Native:
    before: tuple[Chunk, ...]
    after: tuple[Chunk, ...]
    interlaced: bool
    channels: int


class PngCodec:
    """Portable network graphics."""

    name: ClassVar[str] = "PNG"
    suffixes: ClassVar[tuple[str, ...]] = (".png",)
    kinds: ClassVar[tuple[Kind, ...]] = ("image",)
    plain: ClassVar[tuple[str, ...]] = ()

    def sniff(self, head: bytes) -> bool:
        """By the eight bytes of the signature."""
        return head.startswith(_SIGNATURE)

    def read(self, path: Path, options: ReadOptions) -> Sample:  # noqa: ARG002
        """Colours as [1 or 3, height, width] in 0..1. Raises DecodeError, and InputError for an animation."""
        chunks = _split(path.read_bytes())
        header = _header(chunks)
        return _sample(_decode(header, chunks), header, chunks)

    def outline(self, path: Path, options: ReadOptions) -> Sample:  # noqa: ARG002
        """See Outlining: the file is read and its checksums verified, but no pixel is decoded."""
        chunks = _split(path.read_bytes())
        header = _header(chunks)
        channels = _CHANNELS[header.colour]
        if header.colour == 3:  # a palette
            channels = 4 if any(name == b"tRNS" for name, _ in chunks) else 3
        one = np.zeros((1, 1, channels), np.uint16 if header.depth == 16 else np.uint8)
        sample = _sample(one, header, chunks)
        size = (header.height, header.width) if sample.source.orientation < 5 else (header.width, header.height)
        return sample.replace(data=blank((sample.nc, *size)))

    def write(self, sample: Sample, path: Path) -> list[str]:
        """Write 8 or 16 bit as the input was, else 16."""
        source = source_of(sample)
        own = isinstance(source.native, _Native)
        # another format's tag stays behind unless its EXIF block comes along
        orientation = source.orientation if own or source.exif else 1
        pixels, notes = to_pixels(sample, integer_dtype(sample), alpha=True, orientation=orientation)
        native = source.native if own else _fresh(source, pixels.shape[-1])
        before = native.before
        if native.channels != pixels.shape[-1]:
            before = tuple(c for c in before if c[0] not in _OF_PIXELS)
        encoded = _split(_encode(pixels, native.interlaced))
        out = [encoded[0], *before, *encoded[1:-1], *native.after, encoded[-1]]
        path.write_bytes(_SIGNATURE + b"".join(_join(*chunk) for chunk in out))
        return notes


def _sample(pixels: NDArray[Any], header: _Header, chunks: list[Chunk]) -> Sample:
    """Pixels [height, width] or [height, width, channel] with what the chunks say of them."""
    dropped = _CRITICAL | (_OF_PIXELS if header.packed else set())
    first = [name for name, _ in chunks].index(b"IDAT")
    before = tuple(c for c in chunks[:first] if c[0] not in dropped)
    after = tuple(c for c in chunks[first:] if c[0] not in dropped)
    notes = _reading_notes(header, before)
    native = _Native(before, after, header.interlaced, math.prod(pixels.shape[2:]))
    return to_sample(pixels, _source(pixels.dtype, native, notes), notes)


def _split(data: bytes) -> list[Chunk]:
    """The chunks up to IEND, each with its checksum verified."""
    chunks: list[Chunk] = []
    at = len(_SIGNATURE)
    while not chunks or chunks[-1][0] != b"IEND":
        if at + 12 > len(data):
            raise DecodeError("the PNG file is truncated: its end mark is missing")
        size, name = struct.unpack_from(">I4s", data, at)
        body, end = data[at + 8 : at + 8 + size], at + 12 + size
        if end > len(data):
            raise DecodeError(f"the PNG file is truncated in its chunk {name!r}")
        if zlib.crc32(name + body) != struct.unpack_from(">I", data, end - 4)[0]:
            raise DecodeError(f"the PNG file is broken: wrong checksum of its chunk {name!r}")
        chunks.append((name, body))
        at = end
    return chunks


def _join(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _header(chunks: list[Chunk]) -> _Header:
    names = [name for name, _ in chunks]
    if names[0] != b"IHDR" or len(chunks[0][1]) != 13 or b"IDAT" not in names:
        raise DecodeError("the PNG file is broken: header or pixel data are missing")
    if b"acTL" in names:
        raise InputError("is an animated PNG; give one frame as a PNG of its own")
    width, height, depth, colour, _, _, interlace = struct.unpack(">2I5B", chunks[0][1])
    check_size(width, height)
    if colour not in _CHANNELS or depth not in (1, 2, 4, 8, 16) or interlace > 1:
        raise DecodeError(f"the PNG file is broken: colour type {colour}, depth {depth}, interlace {interlace}")
    size = height * ((width * depth * _CHANNELS[colour] + 7) // 8)
    packed = sum(len(body) for name, body in chunks if name == b"IDAT")
    if size > _DEFLATE_RATIO * packed:
        raise DecodeError(f"its header claims {width} x {height} pixels, more than {packed} bytes can hold")
    return _Header(width, height, depth, colour, bool(interlace))


def _reading_notes(header: _Header, kept: tuple[Chunk, ...]) -> list[str]:
    if header.colour == 3:
        return ["palette colours were converted to 8 bits a channel"]
    if header.depth < 8:
        return [f"{header.depth}-bit gray was converted to 8 bits"]
    if any(name == b"tRNS" for name, _ in kept):
        return ["its transparent colour (tRNS) is kept as a mark and not applied"]
    return []


def _decode(header: _Header, chunks: list[Chunk]) -> NDArray[Any]:
    """The pixels, [height, width] or [height, width, channel], uint8 or uint16."""
    # text and profiles are left out: nothing in them can stop, or swell in, the decoder
    bare = _SIGNATURE + b"".join(_join(*c) for c in chunks if c[0] in _CRITICAL or (header.packed and c[0] == b"tRNS"))
    if header.depth == 16:
        # Pillow cuts 16-bit colours down to 8
        import png  # type: ignore[import-untyped]

        _, _, rows, _ = png.Reader(bytes=bare).read()
        pixels = np.array([np.frombuffer(row, np.uint16) for row in rows])
        return pixels.reshape(header.height, header.width, _CHANNELS[header.colour])
    from PIL import Image

    with Image.open(io.BytesIO(bare), formats=("PNG",)) as image:
        image.load()
        if header.colour == 3:
            return np.array(image.convert("RGBA" if "transparency" in image.info else "RGB"))
        return np.array(image.convert("L") if header.packed else image)


def _encode(pixels: NDArray[Any], interlaced: bool) -> bytes:
    """Pixels [height, width, channel], uint8 or uint16, as a bare PNG file."""
    height, width, channels = pixels.shape
    out = io.BytesIO()
    if pixels.dtype == np.uint8 and not interlaced:
        from PIL import Image

        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(out, "PNG")
        return out.getvalue()
    import png

    writer = png.Writer(
        width,
        height,
        greyscale=channels < 3,
        alpha=channels in (2, 4),
        bitdepth=8 * pixels.dtype.itemsize,
        interlace=interlaced,
    )
    writer.write_array(out, pixels.reshape(-1)) if interlaced else writer.write(out, pixels.reshape(height, -1))
    return out.getvalue()


def _source(dtype: np.dtype[Any], native: _Native, notes: list[str]) -> ImageSource:
    """What the chunks say, in the words that other formats understand too."""
    chunks = dict((*native.after, *native.before))
    icc, dpi = None, None
    if b"iCCP" in chunks:
        packed = chunks[b"iCCP"].partition(b"\0")[2][1:]
        try:
            icc = zlib.decompressobj().decompress(packed, _MAX_PROFILE)
        except zlib.error:
            notes.append("its ICC profile is broken: it is kept but not understood")
    if len(chunks.get(b"pHYs", b"")) == 9:
        x, y, unit = struct.unpack(">IIB", chunks[b"pHYs"])
        dpi = (x * _METRES_PER_INCH, y * _METRES_PER_INCH) if unit == 1 else None
    exif = chunks.get(b"eXIf")
    return ImageSource(dtype, None, orientation_of(exif, notes), icc, exif, dpi, native)


def _fresh(source: ImageSource, channels: int) -> _Native:
    """The chunks of an image that came from another format."""
    before: list[Chunk] = []
    if source.icc:
        before.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(source.icc)))
    if source.dpi:
        x, y = (round(dots / _METRES_PER_INCH) for dots in source.dpi)
        before.append((b"pHYs", struct.pack(">IIB", x, y, 1)))
    if source.exif:
        before.append((b"eXIf", source.exif))
    return _Native(tuple(before), (), False, channels)
