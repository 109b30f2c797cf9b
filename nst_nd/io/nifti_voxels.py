"""Voxels of a NIfTI file and the real values they stand for: turned from one into the other a few planes at a time.

A file has its first axis innermost and the channels outermost, a Sample [channel, i, j, k] its last axis innermost. The
way between them goes in tiles, so that of a large volume only a few are in memory, whichever way it is walked through.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.errors import DecodeError, InputError
from nst_nd.io.nifti_header import Info
from nst_nd.io.quantise import EXACT_INTEGER, clipping_notes, narrowed, rounded
from nst_nd.sample import Data

_EXACT_IN_FLOAT32 = ("uint8", "int8", "uint16", "int16", "float32")
Tile = tuple[int, slice, slice, slice]


def unpacked(file: io.BufferedIOBase, info: Info) -> NDArray[Any]:
    """The voxels, one after the other as they come out of a stream. Raises DecodeError where it ends too soon."""
    count = info.data_bytes // info.dtype.itemsize
    # as floats they are at least as large as float32
    make = scratch.mapped if count * np.dtype(np.float32).itemsize >= scratch.LARGE else np.empty
    flat = make((count,), info.dtype)
    there = 0
    for piece in scratch.chunks(flat, 0):
        room = flat[piece].view(np.uint8).data
        while room and (got := file.readinto(room)):
            room, there = room[got:], there + got
        scratch.release(flat)
        if room:
            raise DecodeError(f"the NIfTI file is truncated: {there} of {info.data_bytes} bytes of voxels are there")
    return flat


def to_real(voxels: NDArray[Any], info: Info, space: tuple[int, ...]) -> tuple[Data, NDArray[Any] | None]:
    """Real values [channel, *space], float32 where that holds all of them exactly; and the voxels, if they are needed.

    voxels: as they follow each other in the file. They are needed where undoing the scaling would not give back every
    one of them bit for bit, and then in memory or scratch of their own. Raises InputError for 64-bit integers beyond
    2^53.
    """
    stored = _by_channel(voxels, space)
    exact_in_32 = not info.scaled and info.dtype.name in _EXACT_IN_FLOAT32
    data = scratch.empty(stored.shape, np.float32 if exact_in_32 else np.float64)
    needed = False
    for tile in _tiles(data, 1, stored, 3):
        values = _scaled(stored[tile], info)
        needed = needed or (info.scaled and not _same_bits(_unscaled(values, info)[0], stored[tile]))
        data[tile] = values
    if not needed:
        return data, None
    return data, voxels if voxels.flags.writeable else _copied(voxels)  # the file may not stay as it is


def write(file: io.BufferedIOBase, data: Data, info: Info, kept: NDArray[Any] | None) -> list[str]:
    """Write the voxels in the order of the file; returns what has to be said about clipping.

    data: [channel, i, j, k]. kept: the voxels as `to_real` gave them: where a real value is still theirs, they are
    written again, bit for bit.
    """
    old = None if kept is None else _by_channel(kept, data.shape[1:])
    clipped = 0
    for channel, volume in enumerate(data):
        for k in scratch.chunks(volume, 2):
            block = np.empty((k.stop - k.start, volume.shape[1], volume.shape[0]), info.dtype)
            for i in scratch.chunks(volume, 0):
                values = volume[i, :, k]
                stored, beyond = _unscaled(values, info)
                if old is not None:
                    before = old[channel, i, :, k]
                    stored = np.where(values == _scaled(before, info), before, stored)
                    scratch.release(old)
                block[:, :, i] = stored.T
                clipped += beyond
                scratch.release(data)
            file.write(block.reshape(-1).view(np.uint8).data)
    return clipping_notes(clipped, data.size, info.dtype)


def fits_float32(data: Data) -> bool:
    """Whether every value is one of float32 as well."""
    if data.dtype == np.float32:
        return True
    with np.errstate(over="ignore"):
        return all(_released(data, data[:, i].astype(np.float32) == data[:, i]) for i in scratch.chunks(data, 1))


def _released(data: Data, equal: NDArray[np.bool_]) -> bool:
    scratch.release(data)
    return bool(equal.all())


def _by_channel(voxels: NDArray[Any], space: tuple[int, ...]) -> NDArray[Any]:
    """[channel, i, j, k], a view."""
    return np.moveaxis(voxels.reshape((*space, -1), order="F"), -1, 0)


def _tiles(outer: NDArray[Any], axis: int, inner: NDArray[Any], other: int) -> Iterator[Tile]:
    """Tiles of [channel, i, j, k]: pieces of `outer` along one axis, and in each of them of `inner` along another."""
    for channel in range(len(outer)):
        for long in scratch.chunks(outer[channel : channel + 1], axis):
            for short in scratch.chunks(inner[channel : channel + 1], other):
                spans = [slice(None)] * outer.ndim
                spans[axis], spans[other] = long, short
                yield channel, spans[1], spans[2], spans[3]
                scratch.release(inner)
            scratch.release(outer)


def _copied(voxels: NDArray[Any]) -> NDArray[Any]:
    copy = scratch.empty(voxels.shape, voxels.dtype)
    for piece in scratch.chunks(copy, 0):
        copy[piece] = voxels[piece]
        scratch.release(copy, voxels)
    return copy


def _scaled(stored: NDArray[Any], info: Info) -> NDArray[Any]:
    """Stored to real values."""
    if info.dtype.name in ("int64", "uint64") and max(abs(int(stored.min())), abs(int(stored.max()))) > EXACT_INTEGER:
        raise InputError(f"stores {info.dtype.name} voxels beyond 2^53, which no float holds; rescale it first")
    if not info.scaled:
        return stored.astype(np.float32 if info.dtype.name in _EXACT_IN_FLOAT32 else np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is an Inf, which Sample refuses
        values: NDArray[Any] = stored.astype(np.float64)
        values *= info.slope
        values += info.inter
    return values


def _unscaled(values: NDArray[Any], info: Info) -> tuple[NDArray[Any], int]:
    """Real to stored values, rounded and clipped to the dtype of the file, and how many were clipped."""
    if info.scaled:
        values = (values.astype(np.float64) - info.inter) / info.slope
    return narrowed(values, info.dtype) if info.dtype.kind == "f" else rounded(values, info.dtype)


def _same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Equal to the sign of zero."""
    return np.array_equal(a, b) and (a.dtype.kind != "f" or np.array_equal(np.signbit(a), np.signbit(b)))
