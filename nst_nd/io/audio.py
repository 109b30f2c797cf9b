"""WAV, AIFF and FLAC: integers are read as integers, so every bit depth comes back as it was."""

from __future__ import annotations

import hashlib
import io
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.errors import DecodeError, InputError
from nst_nd.io import chunks
from nst_nd.io.codec import ReadOptions, blank, suffix_of
from nst_nd.io.quantise import as_data, to_floats, to_integers
from nst_nd.sample import Data, Grid, Kind, Sample

_BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_FLOATS: dict[str, np.dtype[Any]] = {"FLOAT": np.dtype(np.float32), "DOUBLE": np.dtype(np.float64)}
_FORMATS = {"WAV": "WAV", "WAVEX": "WAV", "RF64": "WAV", "AIFF": "AIFF", "FLAC": "FLAC"}
_WRITTEN = {".wav": "WAV", ".aif": "AIFF", ".aiff": "AIFF", ".flac": "FLAC"}
_FLAC_DEPTHS = ("PCM_S8", "PCM_16", "PCM_24")
_FLAC_CHANNELS = 8
_BLOCK = 2**18
# samples of a byte of a file, at most: FLAC writes some thousands that are alike in a dozen bytes
MOST_PER_BYTE = 1000
TAGS = ("title", "artist", "album", "date", "comment", "copyright", "genre", "tracknumber")
_NAMES = {1: ("mono",), 2: ("left", "right")}


@dataclass(frozen=True)
class AudioSource:
    """How the file was encoded: soundfile's names, its tags, and the chunks or blocks that travel along."""

    format: str
    subtype: str
    endian: str
    tags: tuple[tuple[str, str], ...]
    extra: tuple[tuple[Any, bytes], ...]


class AudioCodec:
    """Uncompressed or losslessly compressed sound."""

    name: ClassVar[str] = "WAV/AIFF/FLAC"
    suffixes: ClassVar[tuple[str, ...]] = (".wav", ".flac", ".aif", ".aiff")
    kinds: ClassVar[tuple[Kind, ...]] = ("audio",)
    plain: ClassVar[tuple[str, ...]] = ()

    def sniff(self, head: bytes) -> bool:
        """By the name of the container."""
        riff = head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE"
        return riff or (head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC")) or head[:4] == b"fLaC"

    def read(self, path: Path, options: ReadOptions) -> Sample:  # noqa: ARG002
        """[channel, time] in -1..1 of full scale (floats as they are). Raises DecodeError or InputError."""
        encoded = _encoded(path)
        notes: list[str] = []
        extra: tuple[tuple[Any, bytes], ...]
        if encoded[:4] == b"fLaC":
            blocks, _ = chunks.split_flac(encoded)
            extra = chunks.extra_flac(blocks)
        else:
            container = chunks.split_container(encoded)
            _check_chunks(container)
            if container.streaming:
                notes.append("a streaming file that does not say its length: read to its end")
            extra = chunks.extra_chunks(encoded, container)
            encoded = chunks.closed(encoded, container)
        data, rate, source = _decode(encoded, extra, notes)
        grid = Grid(spacing=(1 / rate,), unit="s", rate=float(rate))
        return Sample(data, "audio", "full scale", grid, channel_names(len(data)), source, tuple(notes))

    def outline(self, path: Path, options: ReadOptions) -> Sample:
        """See Outlining; a file that does not say its length is read."""
        import soundfile

        try:
            found = soundfile.info(str(path))
        except soundfile.LibsndfileError:
            return self.read(path, options)  # which says why, or knows better
        if not 0 < found.frames < 2**62 or not found.channels:
            return self.read(path, options)
        grid = Grid(spacing=(1 / found.samplerate,), unit="s", rate=float(found.samplerate))
        return Sample(blank((found.channels, found.frames)), "audio", "full scale", grid, channel_names(found.channels))

    def write(self, sample: Sample, path: Path) -> list[str]:
        """Write the subtype, endianness, tags and chunks of the input; 32-bit float (24 bit in FLAC) without one."""
        source = sample.source if isinstance(sample.source, AudioSource) else None
        target, notes = _target(source, _WRITTEN[suffix_of(path)])
        rate = check_rate(sample)
        if target.format == "FLAC" and sample.nc > _FLAC_CHANNELS:
            raise InputError(f"{sample.nc} channels do not fit FLAC; allowed: up to {_FLAC_CHANNELS}; use .wav")
        stored, more = _stored(sample.data, target.subtype)
        encoded = _encode(stored.T, rate, target)
        if target.format == "FLAC":
            path.write_bytes(chunks.spliced_flac(encoded, target.extra))
        else:
            path.write_bytes(chunks.spliced(encoded, target.extra))
        return notes + more


def channel_names(nc: int) -> tuple[str, ...]:
    """Of one or two channels; more have none that all files agree on."""
    return _NAMES.get(nc, ())


def check_rate(sample: Sample) -> int:
    """The sampling rate in Hz. Raises InputError unless it is a whole number."""
    rate = sample.grid.rate
    if rate is None or rate != round(rate) or not 1 <= rate < 2**31:
        raise InputError(f"a sampling rate of {rate} Hz cannot be written as audio; allowed: whole numbers")
    return int(rate)


def _check_chunks(container: chunks.Container) -> None:
    names = [name for name, _, _ in container.chunks]
    if not {b"data", b"SSND"} & set(names) or not {b"fmt ", b"COMM"} & set(names):
        raise DecodeError("the audio file is truncated or broken: its format or its samples are missing")


class _Bytes(io.BytesIO):
    """A file in memory that answers a seek before its start with an error code, as the C library expects."""

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return -1


class _Mapped(mmap.mmap):
    """The same of a large file, which is read as it is looked at."""

    def seek(self, offset: int, whence: int = 0) -> int:  # type: ignore[override]
        try:
            super().seek(offset, whence)  # type: ignore[arg-type]  # the C library asks for 0, 1 and 2 alone
        except ValueError:
            return -1
        return self.tell()

    def drop(self) -> None:
        """Give back the memory of what has been read."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.madvise(mmap.MADV_DONTNEED)


def _encoded(path: Path) -> chunks.Encoded:
    """The bytes of a file, mapped where they are many."""
    with path.open("rb") as file:
        if path.stat().st_size < scratch.LARGE:
            return file.read()
        return _Mapped(file.fileno(), 0, access=mmap.ACCESS_READ)


def open_sound(encoded: chunks.Encoded) -> Any:
    """soundfile's view of an encoded file in memory. Raises DecodeError."""
    import soundfile

    try:
        return soundfile.SoundFile(encoded if isinstance(encoded, _Mapped) else _Bytes(encoded))
    except soundfile.LibsndfileError as error:
        raise DecodeError(f"the audio file is broken or truncated: {error.error_string}") from error


def _decode(
    encoded: chunks.Encoded, extra: tuple[tuple[Any, bytes], ...], notes: list[str]
) -> tuple[Data, int, AudioSource]:
    """The samples [channel, time], the rate in Hz and how they were encoded; block by block."""
    with open_sound(encoded) as file:
        if file.format not in _FORMATS or file.subtype not in {*_BITS, *_FLOATS}:
            allowed = ", ".join((*_BITS, *_FLOATS))
            raise InputError(f"is encoded as {file.format} {file.subtype}; allowed: WAV, AIFF, FLAC with {allowed}")
        flac = file.format == "FLAC"
        digest = hashlib.md5(usedforsecurity=False) if flac else None
        data = _samples(file, encoded, digest)
        if data.shape[1] != file.frames and not (flac and _unknown_length(encoded)):
            raise DecodeError(f"the audio file is truncated: {data.shape[1]} of {file.frames} samples are there")
        tags = tuple((name, text) for name in TAGS if (text := getattr(file, name)))
        source = AudioSource(file.format, file.subtype, file.endian, tags, extra)
        rate = file.samplerate
    if not data.shape[1]:
        raise InputError("holds no samples")
    if digest is not None:
        _check_md5(digest, encoded, notes)
    return data, rate, source


def _samples(file: Any, encoded: chunks.Encoded, digest: Any) -> Data:
    """[channel, time] in full scale, in a scratch file where they are many; fewer than the header says where it lies.

    digest: of the integers of FLAC, as they are in the file. A header that says more than the file may hold is not
    believed: then there is no room made beforehand.
    """
    wide = file.subtype in ("PCM_32", "DOUBLE")
    # integers come left-justified in 32 bits
    dtype, scale = ("int32", 2.0**31) if file.subtype in _BITS else (_FLOATS[file.subtype].name, 1.0)
    believed = 0 < file.frames * file.channels <= MOST_PER_BYTE * len(encoded)
    made: Data | None = None
    if believed:
        made = scratch.empty((file.channels, file.frames), np.float64 if wide else np.float32)
    blocks: list[Data] = []
    found = 0
    while len(block := file.read(_BLOCK, dtype=dtype, always_2d=True)):
        if digest is not None:
            digest.update(_raw(block, _BITS[file.subtype]))
        part = as_data(block.T, scale, wide=wide)
        if made is None:
            blocks.append(part)
        else:
            made[:, found : found + len(block)] = part
            scratch.release(made)
        if isinstance(encoded, _Mapped):
            encoded.drop()
        found += len(block)
    if made is not None:
        return made[:, :found]
    return np.concatenate(blocks, axis=1) if blocks else np.empty((file.channels, 0), np.float32)


def _stored(data: NDArray[Any], subtype: str) -> tuple[NDArray[Any], list[str]]:
    """Samples as soundfile takes them: left-justified int32, or floats."""
    if subtype in _FLOATS:
        return to_floats(data, _FLOATS[subtype])
    bits = _BITS[subtype]
    kind = np.float64 if bits > 16 else data.dtype.type
    stored, notes = to_integers(data.astype(kind) * kind(2 ** (bits - 1)), np.int32, bits)
    return stored << (32 - bits), notes


def _target(source: AudioSource | None, family: str) -> tuple[AudioSource, list[str]]:
    """How to encode, as near to the input as the family of the output allows, and notes on the difference."""
    default = "PCM_24" if family == "FLAC" else "FLOAT"
    if source is None:
        return AudioSource(family, default, "FILE", (), ()), []
    if _FORMATS[source.format] == family:
        return source, []
    notes = ["chunks other than the usual tags are not carried into another format"] if source.extra else []
    subtype = source.subtype
    if family == "FLAC" and subtype not in _FLAC_DEPTHS:
        subtype = "PCM_S8" if subtype == "PCM_U8" else "PCM_24"
    elif family == "WAV" and subtype == "PCM_S8":
        subtype = "PCM_U8"
    if _lossy(source.subtype, subtype):
        notes.append(f"samples of type {source.subtype} were rounded to {subtype}")
    return AudioSource(family, subtype, "FILE", source.tags, ()), notes


def _lossy(old: str, new: str) -> bool:
    return new in _BITS and (old in _FLOATS or _BITS[old] > _BITS[new])


def _encode(frames: NDArray[Any], rate: int, target: AudioSource) -> bytes:
    """Frames [time, channel] as a file in memory."""
    import soundfile

    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", rate, frames.shape[1], target.subtype, target.endian, target.format) as file:
        if not target.extra:
            for name, text in target.tags:
                setattr(file, name, text)
        file.write(np.ascontiguousarray(frames))
    return out.getvalue()


def _unknown_length(encoded: chunks.Encoded) -> bool:
    blocks, _ = chunks.split_flac(encoded)
    return int.from_bytes(blocks[0][1][13:18], "big") & (2**36 - 1) == 0


def _raw(frames: NDArray[Any], bits: int) -> bytes:
    """Left-justified integers [time, channel] as FLAC takes its digest of them."""
    raw = (np.ascontiguousarray(frames) >> (32 - bits)).astype("<i4").view(np.uint8).reshape(-1, 4)[:, : bits // 8]
    return raw.tobytes()


def _check_md5(digest: Any, encoded: chunks.Encoded, notes: list[str]) -> None:
    """FLAC carries a digest of its samples, so a broken file cannot pass for a whole one."""
    blocks, _ = chunks.split_flac(encoded)
    expected = blocks[0][1][18:34]
    if expected == bytes(16):
        notes.append("the FLAC file has no checksum of its samples: that it is whole cannot be verified")
    elif digest.digest() != expected:
        raise DecodeError("the FLAC file is truncated or broken: its samples do not match its checksum")
