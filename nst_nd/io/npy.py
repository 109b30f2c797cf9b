"""NPY: an array without a word of what it is, so the kind of signal, and the rate of a signal in time, are given."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.errors import DecodeError, InputError
from nst_nd.io.codec import ReadOptions
from nst_nd.io.gaps import bridged
from nst_nd.io.quantise import EXACT_INTEGER, as_data, clipping_notes, narrowed, rounded
from nst_nd.sample import KINDS, Data, Grid, Kind, Sample

_MAGIC = b"\x93NUMPY"
_AXES: dict[Kind, tuple[int, str]] = {
    "image": (2, "[channel, height, width]"),
    "audio": (1, "[channel, time]"),
    "ecg": (1, "[lead, time]"),
    "volume": (3, "[channel, i, j, k]"),
}
_UNITS: dict[Kind, str] = {"image": "full scale", "audio": "full scale", "ecg": "mV", "volume": "arbitrary"}
_COLOURS = {1: ("gray",), 3: ("red", "green", "blue")}
_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_HEADER_WRITERS = {(1, 0): np.lib.format.write_array_header_1_0, (2, 0): np.lib.format.write_array_header_2_0}
# an array of more than a thousand header bytes is no plain array
_MAX_HEADER = 10_000


@dataclass(frozen=True)
class NpySource:
    """How the array was stored; scale: the stored value that stands for 1.0."""

    dtype: np.dtype[Any]
    scale: float
    fortran: bool
    version: tuple[int, int]
    channel_axis: bool


class NpyCodec:
    """NumPy's own format, without pickles."""

    name: ClassVar[str] = "NPY"
    suffixes: ClassVar[tuple[str, ...]] = (".npy",)
    kinds: ClassVar[tuple[Kind, ...]] = KINDS
    plain: ClassVar[tuple[str, ...]] = ()

    def sniff(self, head: bytes) -> bool:
        """By the magic."""
        return head.startswith(_MAGIC)

    def read(self, path: Path, options: ReadOptions) -> Sample:
        """[channel, *space] of `options.kind`; a missing channel axis is added.

        Integers of an image (unsigned) or of audio (signed) are fractions of their full scale; those of an ECG or a
        volume are values as they stand. Raises DecodeError or InputError.
        """
        return _sample(_kind_of(options), options.rate, *_array(path))

    def glance(self, path: Path, options: ReadOptions) -> Sample:
        """See Glancing; the file is mapped, so that little but the plane is read."""
        kind, (stored, version) = _kind_of(options), _array(path)
        middle = stored.shape[-1] // 2 if stored.ndim else 0
        if kind == "volume" and stored.ndim == 4:
            stored = stored[:1]
        if kind == "volume" and stored.ndim in (3, 4):
            stored = stored[..., middle : middle + 1]
        return _sample(kind, options.rate, stored, version)

    def write(self, sample: Sample, path: Path) -> list[str]:
        """Write the dtype, byte order, axis order and version of the input; the Sample's own data without one."""
        source = sample.source
        notes = []
        if not isinstance(source, NpySource):
            said = "rate and lead names" if sample.kind in ("audio", "ecg") else "grid and metadata"
            notes.append(f"an NPY file holds the array only: {said} are not stored")
            source = NpySource(sample.data.dtype, 1.0, False, (1, 0), True)
        bare = not source.channel_axis and sample.nc == 1
        shape = sample.shape if bare else sample.data.shape
        # NumPy calls an array C order that is both
        fortran = source.fortran and sum(n > 1 for n in shape) > 1
        head = {"descr": np.lib.format.dtype_to_descr(source.dtype), "fortran_order": fortran, "shape": shape}
        clipped, data = 0, sample.data
        if sample.gaps is not None and source.dtype.kind == "f":
            data = np.where(sample.gaps, np.nan, data)
        with path.open("wb") as file:
            _HEADER_WRITERS[source.version](file, head)
            for stored, beyond in (_columns if fortran else _rows)(data, source):
                file.write(stored.reshape(-1).view(np.uint8).data)
                clipped += beyond
        return notes + clipping_notes(clipped, sample.data.size, source.dtype)


def _kind_of(options: ReadOptions) -> Kind:
    if options.kind is None:
        raise InputError(f"an NPY array does not say what it is: give kind, one of {', '.join(KINDS)}")
    return options.kind


def _sample(kind: Kind, rate: float | None, stored: NDArray[Any], version: tuple[int, int]) -> Sample:
    """The array, or a plane of it, as `read` has it."""
    spatial, axes = _AXES[kind]
    if stored.ndim not in (spatial, spatial + 1):
        raise InputError(f"has shape {stored.shape}; allowed for {kind}: {axes}")
    channel_axis = stored.ndim > spatial
    if kind == "image" and channel_axis and stored.shape[0] > 4 and stored.shape[-1] <= 4:
        raise InputError(f"has shape {stored.shape}, channels last; allowed: {axes}; transpose it first")
    scale = _scale(stored, kind)
    fortran = stored.flags.f_contiguous and not stored.flags.c_contiguous
    source = NpySource(stored.dtype, scale, fortran, version, channel_axis)
    wide = stored.dtype.itemsize > (2 if stored.dtype.kind in "iu" else 4)
    data = _real(stored if source.channel_axis else stored[None], scale, wide)
    notes: list[str] = []
    gaps = None
    if kind == "ecg" and stored.dtype.kind == "f":
        data, gaps, notes = bridged(data, np.isnan(data))
    if kind == "image" and (data.min() < 0 or data.max() > 1):
        notes.append(f"values lie outside 0..1: {data.min():g}..{data.max():g}")
    channels = _COLOURS.get(len(data), ()) if kind == "image" else ()
    return Sample(data, kind, _UNITS[kind], _grid(kind, rate), channels, source, tuple(notes), gaps)


def _array(path: Path) -> tuple[NDArray[Any], tuple[int, int]]:
    """The array, mapped, and its format version; never a pickle, and nothing that the file does not hold."""
    with path.open("rb") as file:
        return _mapped(file, path.stat().st_size)


def _mapped(file: io.BufferedIOBase, size: int) -> tuple[NDArray[Any], tuple[int, int]]:
    version = np.lib.format.read_magic(file)
    if version not in _HEADER_READERS:
        raise DecodeError(f"is NPY version {version}; allowed: (1, 0) and (2, 0)")
    shape, fortran, dtype = _HEADER_READERS[version](file, max_header_size=_MAX_HEADER)
    if dtype.hasobject:
        raise InputError("holds Python objects (a pickle), which are never loaded; save a plain array")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InputError(f"holds {dtype}; allowed: integers and floats of up to 64 bits")
    start, needed = file.tell(), int(np.prod(shape, dtype=object)) * dtype.itemsize
    if min(shape, default=1) < 0 or size - start != needed:
        raise DecodeError(f"is truncated or broken: {size - start} bytes where {shape} {dtype} is {needed}")
    flat = scratch.of_file(file, needed // dtype.itemsize, dtype, start)
    return flat.reshape(shape, order="F" if fortran else "C"), version


def _real(stored: NDArray[Any], scale: float, wide: bool) -> Data:
    """[channel, *space] as `as_data` gives it, by pieces."""
    return scratch.piecewise(
        lambda piece: as_data(piece, scale, wide=wide),
        stored,
        nc=len(stored),
        dtype=np.float64 if wide else np.float32,
    )


def _scale(stored: NDArray[Any], kind: Kind) -> float:
    """The stored value that stands for 1.0. Raises InputError for integers that cannot be such a signal."""
    code, info = stored.dtype.kind, None if stored.dtype.kind == "f" else np.iinfo(stored.dtype)
    if info is None:
        return 1.0
    if kind in ("image", "audio"):
        if (code == "u") != (kind == "image") or info.bits > 32:
            wanted = "unsigned for an image" if kind == "image" else "signed for audio"
            raise InputError(f"holds {stored.dtype}; allowed: floats, or integers of up to 32 bits, {wanted}")
        return float(info.max if kind == "image" else -info.min)
    if info.bits == 64 and stored.size and max(-int(stored.min()), int(stored.max())) > EXACT_INTEGER:
        raise InputError(f"holds {stored.dtype} beyond 2^53, which no float holds; rescale it first")
    return 1.0


def _grid(kind: Kind, rate: float | None) -> Grid:
    if kind == "image":
        return Grid(spacing=(1.0, 1.0), unit="px")
    if kind == "volume":
        return Grid(spacing=(1.0, 1.0, 1.0), unit="mm")
    if rate is None or not (np.isfinite(rate) and rate > 0):
        raise InputError(f"an NPY array does not say its sampling rate: give rate in Hz (above 0) for {kind}")
    return Grid(spacing=(1 / rate,), unit="s", rate=float(rate))


def _rows(data: Data, source: NpySource) -> Iterator[tuple[NDArray[Any], int]]:
    """What is stored of [channel, *space], in pieces that follow one another in C order, and what was clipped there."""
    for channel in data:
        for piece in scratch.chunks(channel, 0):
            yield _stored(channel[piece], source)
            scratch.release(data)


def _columns(data: Data, source: NpySource) -> Iterator[tuple[NDArray[Any], int]]:
    """The same in Fortran order: a piece is C order of the axes turned round, and comes from all of the pages."""
    data = data[..., None, :]  # so that there is an axis between the channels and the last one, to go along
    for last in scratch.chunks(data, data.ndim - 1):
        piece = data[..., last]
        block, clipped = np.empty(piece.shape[::-1], source.dtype), 0
        for rows in scratch.chunks(data, 1):
            stored, beyond = _stored(piece[:, rows], source)
            block.T[:, rows] = stored
            clipped += beyond
            scratch.release(data)
        yield block, clipped


def _stored(data: Data, source: NpySource) -> tuple[NDArray[Any], int]:
    """Real to stored values, in C order, and how many were clipped."""
    if source.dtype.kind == "f":
        stored, clipped = narrowed(data, source.dtype)
    else:
        kind = np.float64 if source.dtype.itemsize > 2 else data.dtype.type
        stored, clipped = rounded(data.astype(kind) * kind(source.scale), source.dtype)
    return np.ascontiguousarray(stored), clipped
