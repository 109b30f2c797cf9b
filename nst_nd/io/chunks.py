"""The containers of audio: RIFF (WAV, RF64), FORM (AIFF) and FLAC's metadata blocks, split, checked and spliced."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass

from nst_nd.errors import DecodeError

# a file in memory, or mapped
Encoded = bytes | mmap.mmap
_STREAMING = (0, 0xFFFFFFFF)
# what the encoder writes itself, and padding
_REWRITTEN = {b"fmt ", b"data", b"fact", b"PEAK", b"ds64", b"JUNK", b"PAD ", b"FLLR", b"COMM", b"SSND", b"FVER"}
_FLAC_STREAMINFO, _FLAC_PADDING, _FLAC_SEEKTABLE, _FLAC_COMMENT = 0, 1, 3, 4


@dataclass(frozen=True)
class Container:
    """A RIFF or FORM file cut into chunks.

    chunks: name, first byte and size of each body; streaming: whether the writer left the sizes open.
    """

    order: str
    chunks: tuple[tuple[bytes, int, int], ...]
    streaming: bool


def split_container(data: Encoded) -> Container:
    """Walk the chunks of a WAV, RF64 or AIFF file. Raises DecodeError where the file is shorter than they say."""
    order = "<" if data[:4] in (b"RIFF", b"RF64") else ">"
    wide = _wide_sizes(data)
    declared = wide.get(data[:4], _u32(data, 4, order))
    open_end = not wide and declared in _STREAMING
    if not open_end and declared + 8 > len(data):
        raise DecodeError(f"the audio file is truncated: {len(data)} bytes of {declared + 8}")
    end = len(data) if open_end else declared + 8
    chunks, at = [], 12
    while at + 8 <= end:
        name = data[at : at + 4]
        size = wide.get(name, _u32(data, at + 4, order))
        if name == b"data" and open_end and size in _STREAMING:
            size = end - at - 8
        if at + 8 + size > end:
            raise DecodeError(f"the audio file is truncated or broken in its chunk {name!r}")
        chunks.append((name, at + 8, size))
        at += 8 + size + size % 2
    return Container(order, tuple(chunks), open_end)


def _u32(data: Encoded, at: int, order: str) -> int:
    if at + 4 > len(data):
        raise DecodeError("the audio file is truncated in its header")
    return int(struct.unpack_from(order + "I", data, at)[0])


def _wide_sizes(data: Encoded) -> dict[bytes, int]:
    """The 64-bit sizes of RF64, by the name of the chunk that they stand in for."""
    if data[:4] != b"RF64":
        return {}
    if data[12:16] != b"ds64" or len(data) < 36:
        raise DecodeError("the RF64 file is truncated or broken: its sizes are missing")
    riff, body = struct.unpack_from("<QQ", data, 20)
    return {b"RF64": riff, b"data": body}


def closed(data: Encoded, container: Container) -> Encoded:
    """A streaming file with its true sizes written in."""
    if not container.streaming:
        return data
    at, size = next((a, n) for name, a, n in container.chunks if name == b"data")
    sizes = struct.pack(container.order + "I", size)
    return data[:4] + struct.pack(container.order + "I", len(data) - 8) + data[8 : at - 4] + sizes + data[at:]


def extra_chunks(data: Encoded, container: Container) -> tuple[tuple[bytes, bytes], ...]:
    """The chunks that no encoder of ours writes: tags, cues, loops."""
    return tuple((name, data[at : at + size]) for name, at, size in container.chunks if name not in _REWRITTEN)


def spliced(data: bytes, extra: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """A freshly encoded RIFF or FORM file with these chunks behind its own, and no time of writing in it."""
    container = split_container(data)
    out = bytearray(data)
    for name, at, size in container.chunks:
        if name == b"PEAK" and size >= 8:
            out[at + 4 : at + 8] = bytes(4)
    if len(out) % 2:
        out += b"\0"
    for name, body in extra:
        out += name + struct.pack(container.order + "I", len(body)) + body + b"\0" * (len(body) % 2)
    if data[:4] == b"RF64":
        out[20:28] = struct.pack("<Q", len(out) - 8)
    else:
        out[4:8] = struct.pack(container.order + "I", len(out) - 8)
    return bytes(out)


def split_flac(data: Encoded) -> tuple[list[tuple[int, bytes]], int]:
    """FLAC's metadata blocks (type, body) and where its frames start. Raises DecodeError where they end too soon."""
    blocks, at, last = [], 4, False
    while not last:
        if at + 4 > len(data):
            raise DecodeError("the FLAC file is truncated in its header")
        last, kind = bool(data[at] & 0x80), data[at] & 0x7F
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        if at + 4 + size > len(data):
            raise DecodeError("the FLAC file is truncated in its header")
        blocks.append((kind, data[at + 4 : at + 4 + size]))
        at += 4 + size
    if blocks[0][0] != _FLAC_STREAMINFO or len(blocks[0][1]) < 34:
        raise DecodeError("the FLAC file is broken: it does not start with its stream information")
    return blocks, at


def extra_flac(blocks: list[tuple[int, bytes]]) -> tuple[tuple[int, bytes], ...]:
    """The blocks that do not depend on the samples: comments, cue sheets, pictures."""
    return tuple(b for b in blocks if b[0] not in (_FLAC_STREAMINFO, _FLAC_PADDING, _FLAC_SEEKTABLE))


def spliced_flac(data: bytes, extra: tuple[tuple[int, bytes], ...]) -> bytes:
    """A freshly encoded FLAC file with these blocks in place of its own comments."""
    blocks, frames = split_flac(data)
    kept = [b for b in blocks if b[0] == _FLAC_STREAMINFO or (not extra and b[0] == _FLAC_COMMENT)]
    all_blocks = [*kept, *extra]
    out = data[:4]
    for number, (kind, body) in enumerate(all_blocks):
        last = 0x80 if number == len(all_blocks) - 1 else 0
        out += bytes([kind | last]) + len(body).to_bytes(3, "big") + body
    return out + data[frames:]
