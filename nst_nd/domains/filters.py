"""Filters over volumes of any size, by pieces, with the results that they have on the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from nst_nd import nd, scratch
from nst_nd.features.iterate import LEAST_REACH


def gaussian(data: NDArray[Any], sigma: Sequence[float], dtype: DTypeLike) -> NDArray[Any]:
    """scipy.ndimage.gaussian_filter of [*space] in a float dtype; sigma in samples per axis.

    The first axis is filtered on pieces of the second and the others on pieces of the first, since lines must be whole.
    """
    from scipy.ndimage import gaussian_filter

    out = scratch.empty(data.shape, dtype)
    first = (sigma[0], *(0.0 for _ in sigma[1:]))
    for piece in scratch.chunks(data.shape, 1):
        _put(out, piece, gaussian_filter(_taken(data, piece, dtype), first))
    for piece in scratch.chunks(data.shape, 0):
        out[piece] = gaussian_filter(out[piece], (0.0, *sigma[1:]))
        scratch.release(out)
    return out


def _taken(data: NDArray[Any], piece: slice, dtype: DTypeLike) -> NDArray[Any]:
    """These positions of the second axis of [*space]: all of its pages are touched, so a few planes at a time."""
    out = np.empty((len(data), piece.stop - piece.start, *data.shape[2:]), dtype)
    for planes in scratch.chunks(data, 0):
        out[planes] = data[planes, piece]
        scratch.release(data)
    return out


def _put(data: NDArray[Any], piece: slice, values: NDArray[Any]) -> None:
    """The way back."""
    for planes in scratch.chunks(data, 0):
        data[planes, piece] = values[planes]
        scratch.release(data)


def filtered(data: NDArray[Any], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """[*space] convolved with a kernel of odd sizes, borders reflected; planes of the first axis a few at a time."""
    from scipy.signal import fftconvolve

    reach = [n // 2 for n in kernel.shape]
    out: NDArray[np.float32] = scratch.empty(data.shape, np.float32)
    planes = max(2 * reach[0], (scratch.PIECE << 3) // (4 * int(np.prod(data.shape[1:]))), 1)
    for start in range(0, len(data), planes):
        stop = min(len(data), start + planes)
        rows = _reflected(np.arange(start - reach[0], stop + reach[0]), len(data))
        near = np.asarray(data[rows], np.float32)
        near = np.pad(near, [(0, 0), *((r, r) for r in reach[1:])], mode="symmetric")
        out[start:stop] = fftconvolve(near, kernel, mode="valid")
        scratch.release(out, data)
    return out


def _reflected(places: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Positions beyond the ends, mirrored back into 0..length - 1, each end repeated once."""
    places = np.mod(places, 2 * length)
    return np.where(places < length, places, 2 * length - 1 - places)


def eroded(inside: NDArray[np.bool_], reach: Sequence[int], iterations: int, *, border: bool) -> NDArray[np.bool_]:
    """scipy.ndimage.binary_erosion of [*space] by a box of `reach` samples (1 or 3) per axis, so many times.

    border: what lies beyond the ends. A piece is eroded with the planes next to it that can matter.
    """
    from scipy.ndimage import binary_erosion

    out: NDArray[np.bool_] = scratch.empty(inside.shape, np.bool_)
    for piece in scratch.chunks(inside, 0):
        start = max(0, piece.start - iterations)
        near = inside[start : piece.stop + iterations]
        slab = binary_erosion(near, np.ones(reach, dtype=bool), iterations=iterations, border_value=border)
        out[piece] = slab[piece.start - start :][: piece.stop - piece.start]
        scratch.release(out, inside)
    return out


def detail(x: Tensor, lock: Sequence[float] | None, free: Tensor) -> Tensor:
    """Iterate.change of [1, C, *space] with this lock, sigma in samples per axis, and m = free [1, 1, *space].

    Where an array is cut, a convolution may sum in another order: a last bit may differ from the whole.
    """
    out = _of(np.multiply, x, free)
    if lock is None:
        return out
    reach = _smoothed(free, lock)
    out = _without_low(out, _smoothed(out, lock), free, reach)
    out = _of(np.multiply, out, free)
    return _without_low(out, _smoothed(out, lock), free, reach)


def added(x: Tensor, change: Tensor, free: Tensor | None = None) -> Tensor:
    """x + change, or x + free change, of [1, C, *space] with change and free [1, 1, *space] or like x."""
    return _of(np.add, x, change) if free is None else _of(lambda a, b, m: a + m * b, x, change, free)


def _without_low(x: Tensor, low: Tensor, free: Tensor, reach: Tensor) -> Tensor:
    return _of(lambda z, k, m, r: z - m * k / np.maximum(r, np.float32(LEAST_REACH)), x, low, free, reach)


def _of(function: Callable[..., Any], *tensors: Tensor) -> Tensor:
    """A function of [1, C, *space], position by position."""
    arrays = [tensor[0].numpy() for tensor in tensors]
    return torch.from_numpy(scratch.piecewise(function, *arrays, nc=len(arrays[0]), dtype=np.float32))[None]


def _smoothed(x: Tensor, sigma: Sequence[float]) -> Tensor:
    """nd.smooth: the first axis on pieces of the second, the others on pieces of the first."""
    x = _of(np.positive, x)
    for channel in x[0].numpy():
        for piece in scratch.chunks(channel.shape, 1):
            _put(channel, piece, _smooth(_taken(channel, piece, np.float32), (sigma[0], *(0.0 for _ in sigma[1:]))))
        for piece in scratch.chunks(channel.shape, 0):
            channel[piece] = _smooth(channel[piece], (0.0, *sigma[1:]))
            scratch.release(channel)
    return x


def _smooth(part: NDArray[np.float32], sigma: Sequence[float]) -> NDArray[np.float32]:
    smoothed: NDArray[np.float32] = nd.smooth(torch.from_numpy(part)[None, None], sigma)[0, 0].numpy()
    return smoothed
