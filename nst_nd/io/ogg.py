"""Ogg Vorbis and Opus: an unchanged sound is written back as the very same bytes; a changed one is encoded anew."""

from __future__ import annotations

import io
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
_LAST_PAGE = 4
_SUBTYPES = ("VORBIS", "OPUS")
# of libsndfile's scale from 0 (best) to 1: about 256 kbit/s of stereo Vorbis
_COMPRESSION = 0.2
# libsndfile's Vorbis encoder fails on larger pieces
_BLOCK = 2**14


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
        import soundfile

        rate = check_rate(sample)
        stored, notes = to_floats(sample.data, np.dtype(np.float32))
        out = io.BytesIO()
        tags = source.tags if source is not None else getattr(sample.source, "tags", ())
        try:
            with soundfile.SoundFile(
                out, "w", rate, sample.nc, subtype, "FILE", "OGG", compression_level=_COMPRESSION
            ) as file:
                for name, text in tags:
                    setattr(file, name, text)
                frames = np.ascontiguousarray(stored.T)
                for start in range(0, len(frames), _BLOCK):
                    file.write(frames[start : start + _BLOCK])
        except soundfile.LibsndfileError as error:
            allowed = "1 to 255 channels" + ("; 8, 12, 16, 24 or 48 kHz" if subtype == "OPUS" else "")
            raise InputError(
                f"{sample.nc} channels at {rate} Hz cannot be written as Ogg {subtype}; allowed: {allowed}"
            ) from error
        path.write_bytes(out.getvalue())
        return [*notes, f"Ogg {subtype} is lossy: what is stored is near the result, not the result"]


def _check_pages(encoded: bytes) -> None:
    """DecodeError unless the file is made of whole pages and ends with one that says that it is the last."""
    at, flags = 0, 0
    while at < len(encoded):
        header = encoded[at : at + _PAGE_HEADER]
        if len(header) < _PAGE_HEADER or header[:4] != _MARK:
            raise DecodeError(f"the Ogg file is truncated or broken: no whole page at byte {at} of {len(encoded)}")
        flags, segments = header[5], encoded[at + _PAGE_HEADER : at + _PAGE_HEADER + header[26]]
        at += _PAGE_HEADER + header[26] + sum(segments)
        if at > len(encoded):
            raise DecodeError(f"the Ogg file is truncated: its last page ends at byte {at} of {len(encoded)}")
    if not flags & _LAST_PAGE:
        raise DecodeError("the Ogg file is truncated: its last page is not there")
