"""Ogg Vorbis and Opus: an unchanged sound is written back as the very same bytes; a changed one is encoded anew."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import DecodeError, InputError
from nst_nd.io.audio import TAGS, channel_names, check_rate, open_sound
from nst_nd.io.codec import ReadOptions
from nst_nd.io.quantise import as_data, to_floats
from nst_nd.sample import Grid, Kind, Sample

_MARK = b"OggS"
_PAGE_HEADER = 27
_FIRST_PAGE, _LAST_PAGE = 2, 4
_SUBTYPES = ("VORBIS", "OPUS")
# of libsndfile's scale from 0 (best) to 1: about 256 kbit/s of stereo Vorbis
_COMPRESSION = 0.2
# libsndfile's Vorbis encoder fails on larger pieces
_BLOCK = 2**14
# a loss may overshoot: then it is encoded again, below full scale
_TRIES, _BELOW = 4, 0.995


@dataclass(frozen=True)
class OggSource:
    """The file as it was, what it decoded to, its tags."""

    subtype: str
    tags: tuple[tuple[str, str], ...]
    encoded: bytes = field(repr=False)
    decoded: NDArray[Any] = field(repr=False)


class OggCodec:
    """Sound that was compressed with a loss."""

    name: ClassVar[str] = "Ogg Vorbis/Opus"
    suffixes: ClassVar[tuple[str, ...]] = (".ogg", ".oga", ".opus")
    kinds: ClassVar[tuple[Kind, ...]] = ("audio",)
    plain: ClassVar[tuple[str, ...]] = ()

    def sniff(self, head: bytes) -> bool:
        """By the mark of a page."""
        return head.startswith(_MARK)

    def read(self, path: Path, options: ReadOptions) -> Sample:  # noqa: ARG002
        """[channel, time], full scale is 1 and may be exceeded. Raises DecodeError or InputError."""
        encoded = path.read_bytes()
        _check_pages(encoded)
        with open_sound(encoded) as file:
            if file.subtype not in _SUBTYPES:
                raise InputError(f"is Ogg with {file.subtype}; allowed: {', '.join(_SUBTYPES)}")
            frames = file.read(dtype="float32", always_2d=True)
            if len(frames) != file.frames:
                raise DecodeError(f"the Ogg file is truncated: {len(frames)} of {file.frames} samples are there")
            tags = tuple((name, text) for name in TAGS if (text := getattr(file, name)))
            rate, subtype = file.samplerate, file.subtype
        if not len(frames):
            raise InputError("holds no samples")
        data = as_data(frames.T, 1.0, wide=False)
        source = OggSource(subtype, tags, encoded, data.copy())
        grid = Grid(spacing=(1 / rate,), unit="s", rate=float(rate))
        return Sample(data, "audio", "full scale", grid, channel_names(len(data)), source)

    def write(self, sample: Sample, path: Path) -> list[str]:
        """Write the subtype and tags of the input; Vorbis (Opus for .opus) without one."""
        source = sample.source if isinstance(sample.source, OggSource) else None
        subtype = "OPUS" if path.suffix.lower() == ".opus" else source.subtype if source else "VORBIS"
        if source is not None and subtype == source.subtype and np.array_equal(source.decoded, sample.data):
            path.write_bytes(source.encoded)
            return []
        stored, notes = to_floats(sample.data, np.dtype(np.float32))
        tags = source.tags if source is not None else getattr(sample.source, "tags", ())
        rate, frames, down = check_rate(sample), np.ascontiguousarray(stored.T), 1.0
        for _ in range(_TRIES):
            encoded = _encode(frames * np.float32(down), rate, subtype, tags)
            with open_sound(encoded) as file:
                peak = float(np.abs(file.read(dtype="float32")).max(initial=0.0))
            if peak < 1.0 or np.abs(frames).max() >= 1.0:
                break
            down *= _BELOW / peak  # what was below full scale stays there
        path.write_bytes(encoded)
        if down < 1.0:
            notes.append(f"turned down by {-20.0 * np.log10(down):.2f} dB, since encoding overshoots")
        return [*notes, f"Ogg {subtype} is lossy: what is stored is near the result, not the result"]

    def fits(self, sample: Sample, path: Path) -> None:
        """InputError unless such a signal can be written to `path`: tried on a few samples."""
        source = sample.source if isinstance(sample.source, OggSource) else None
        opus = path.suffix.lower() == ".opus" or (source is not None and source.subtype == "OPUS")
        _encode(np.zeros((64, sample.nc), np.float32), check_rate(sample), "OPUS" if opus else "VORBIS", ())


def _encode(frames: NDArray[np.float32], rate: int, subtype: str, tags: Sequence[tuple[str, str]]) -> bytes:
    """Frames [time, channel] as a file in memory."""
    import soundfile

    out, nc = io.BytesIO(), frames.shape[1]
    try:
        with soundfile.SoundFile(out, "w", rate, nc, subtype, "FILE", "OGG", compression_level=_COMPRESSION) as file:
            for name, text in tags:
                setattr(file, name, text)
            for start in range(0, len(frames), _BLOCK):
                file.write(frames[start : start + _BLOCK])
    except soundfile.LibsndfileError as error:
        allowed = "1 to 255 channels" + ("; 8, 12, 16, 24 or 48 kHz" if subtype == "OPUS" else "")
        raise InputError(
            f"{nc} channels at {rate} Hz cannot be written as Ogg {subtype}; allowed: {allowed}"
        ) from error
    return out.getvalue()


def _check_pages(encoded: bytes) -> None:
    """DecodeError unless the file is made of whole pages and ends with one that says that it is the last."""
    at, flags, begun = 0, 0, False
    while at < len(encoded):
        header = encoded[at : at + _PAGE_HEADER]
        if len(header) < _PAGE_HEADER or header[:4] != _MARK:
            raise DecodeError(f"the Ogg file is truncated or broken: no whole page at byte {at} of {len(encoded)}")
        flags = header[5]
        if begun and flags & _FIRST_PAGE:
            raise InputError("holds several streams one after the other (chained Ogg); cut it apart first")
        begun = begun or not flags & _FIRST_PAGE
        segments = encoded[at + _PAGE_HEADER : at + _PAGE_HEADER + header[26]]
        at += _PAGE_HEADER + header[26] + sum(segments)
        if at > len(encoded):
            raise DecodeError(f"the Ogg file is truncated: its last page ends at byte {at} of {len(encoded)}")
    if not flags & _LAST_PAGE:
        raise DecodeError("the Ogg file is truncated: its last page is not there")
