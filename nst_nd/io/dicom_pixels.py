"""Pixels of DICOM slices: decoded to stored integers [k, row, column], scaled to real values [1, i, j, k], and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.errors import DecodeError, InputError
from nst_nd.io.dicom_header import NATIVE, PixelFormat, Slice, dataset_of, library
from nst_nd.io.logs import captured
from nst_nd.io.quantise import rounded
from nst_nd.sample import Data

_RLE = "1.2.840.10008.1.2.5"


def read(slices: Sequence[Slice]) -> tuple[NDArray[Any], list[str]]:
    """The stored integers of slices of one pixel format, [k, row, column], and notes.

    Raises DecodeError (broken) and InputError (a compression for which no decoder is installed).
    """
    pixels = slices[0].pixels
    stored = scratch.empty((len(slices), pixels.rows, pixels.columns), pixels.dtype)
    padded = spilled = 0
    for k, one in enumerate(slices):
        dataset, _ = dataset_of(one.path, one.place)
        raw = _decoded(dataset, one)
        stored[k], beyond = _without_unused_bits(raw, pixels)
        spilled += beyond
        padded += 0 if one.padding is None else int(np.count_nonzero(stored[k] == one.padding))
        scratch.release(stored)
    notes = []
    if spilled:
        notes.append(f"{spilled} voxels have bits set above BitsStored (overlays); these bits were left out")
    if padded:
        notes.append(f"{padded} of {stored.size} voxels hold the pixel padding value; they were left as they are")
    return stored, notes


def _decoded(dataset: Any, one: Slice) -> NDArray[Any]:
    """[row, column] as they are in the file, unused bits included."""
    pixels, syntax = one.pixels, dataset.file_meta.TransferSyntaxUID
    if syntax in NATIVE:
        wire = pixels.dtype.newbyteorder(NATIVE[syntax])
        flat = np.frombuffer(dataset.PixelData, wire, pixels.rows * pixels.columns)
        return flat.reshape(pixels.rows, pixels.columns).astype(pixels.dtype)
    with captured("pydicom"):
        try:
            raw = np.asarray(dataset.pixel_array)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            if syntax == _RLE or _has_decoder(syntax):
                raise DecodeError(f"the pixels of {one.place} are broken ({type(error).__name__})") from None
            name = "a way of its maker" if syntax.is_private else syntax.name
            raise InputError(
                f"{one.place} is compressed with {name}, for which no decoder is installed\n"
                "install pylibjpeg with its plugins, or decompress the series first"
            ) from None
    if raw.shape != (pixels.rows, pixels.columns):
        raise DecodeError(f"{one.place} decoded to {raw.shape} where its header says {(pixels.rows, pixels.columns)}")
    return raw.astype(pixels.dtype)


def _has_decoder(syntax: Any) -> bool:
    library()
    try:
        from pydicom.pixels.decoders.base import get_decoder

        return bool(get_decoder(syntax).is_available)
    except (ImportError, NotImplementedError, KeyError, ValueError):
        return False


def _without_unused_bits(raw: NDArray[Any], pixels: PixelFormat) -> tuple[NDArray[Any], int]:
    """The values of the lower BitsStored bits, and how many had others above them that are no sign."""
    unused = pixels.allocated - pixels.stored
    if not unused:
        return raw, 0
    values = np.right_shift(np.left_shift(raw, unused), unused)
    plain = np.dtype(f"u{raw.dtype.itemsize}")
    upper = raw.view(plain) >> plain.type(pixels.stored)
    return values, int(np.count_nonzero((upper != 0) & (raw != values)))


def to_real(stored: NDArray[Any], slopes: NDArray[Any], inters: NDArray[Any]) -> Data:
    """slope * stored + intercept of each slice, [1, i, j, k]; float32 where that holds all of them exactly."""
    dtype = np.float32 if _fits_float32(stored, slopes, inters) else np.float64
    count, rows, columns = stored.shape
    data: Data = scratch.empty((1, columns, rows, count), dtype)
    for i in scratch.chunks(data, 1):
        for k in scratch.chunks(stored, 0):
            data[0, i, :, k] = scaled(stored[k, :, i], slopes[k], inters[k]).T
            scratch.release(stored)
        scratch.release(data)
    return data


def _fits_float32(stored: NDArray[Any], slopes: NDArray[Any], inters: NDArray[Any]) -> bool:
    for k in scratch.chunks(stored.shape, 0):
        values = scaled(stored[k], slopes[k], inters[k])
        scratch.release(stored)
        with np.errstate(over="ignore"):
            if not (values.astype(np.float32) == values).all():
                return False
    return True


def scaled(stored: NDArray[Any], slopes: NDArray[Any], inters: NDArray[Any]) -> NDArray[np.float64]:
    """Real values of [k, row, column], with a slope and an intercept for each k."""
    values = stored.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is an Inf, which Sample refuses
        values *= slopes[:, None, None]
        values += inters[:, None, None]
    return values


def to_stored(
    data: Data, pixels: PixelFormat, slopes: NDArray[Any], inters: NDArray[Any], before: NDArray[Any]
) -> Iterator[tuple[NDArray[Any], int]]:
    """For each slice [row, column] as stored, rounded and clipped to the bits of the source, and how many were clipped.

    data: [1, i, j, k] in real values. before: as `read` gave it; where a real value is still its, it is stored again.
    """
    for k in scratch.chunks(data[0], 2):
        block = np.empty((k.stop - k.start, pixels.rows, pixels.columns), pixels.dtype)
        clipped = np.zeros(len(block), np.int64)
        for i in scratch.chunks(data[0], 0):
            values = data[0, i, :, k].T.astype(np.float64)
            old = before[k, :, i]
            same = values == scaled(old, slopes[k], inters[k])
            values -= inters[k][:, None, None]
            values /= slopes[k][:, None, None]
            for n, plane in enumerate(values):
                new, beyond = rounded(plane, pixels.dtype, pixels.stored)
                block[n, :, i] = np.where(same[n], old[n], new)
                clipped[n] += beyond
            scratch.release(data, before)
        yield from zip(block, clipped.tolist(), strict=True)
