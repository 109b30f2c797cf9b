"""Filters over volumes of any size, by pieces, with the results that they have on the whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from nst_nd import scratch
from nst_nd.features.iterate import LEAST_REACH

# bytes of pieces across planes: every one of them touches all pages, so there are to be few
ACROSS = 8 * scratch.PIECE
# bytes that a convolution takes at a time; beside it there are three of its kind
CONVOLVED = 8 * scratch.PIECE


def gaussian(
    data: NDArray[Any],
    sigma: Sequence[float],
    dtype: DTypeLike,
    mode: str = "reflect",
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """scipy.ndimage.gaussian_filter of [*space] in a float dtype; sigma in samples per axis, mode and out as there.

    The first axis is filtered on pieces of the second and the others on pieces of the first, since lines must be whole.
    """
    from scipy.ndimage import gaussian_filter

    out = scratch.empty(data.shape, dtype) if out is None else out
    first = (sigma[0], *(0.0 for _ in sigma[1:]))
    for piece in scratch.chunks(data.shape, 1, ACROSS):
        _put(out, piece, gaussian_filter(_taken(data, piece, dtype), first, mode=mode))
    for piece in scratch.chunks(data.shape, 0):
        out[piece] = gaussian_filter(out[piece], (0.0, *sigma[1:]), mode=mode)
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
    reach = [n // 2 for n in kernel.shape]
    out: NDArray[np.float32] = scratch.empty(data.shape, np.float32)
    planes = _planes(data.shape, kernel.shape)
    for start in range(0, len(data), planes):
        stop = min(len(data), start + planes)
        rows = _reflected(np.arange(start - reach[0], stop + reach[0]), len(data))
        near = np.asarray(data[rows], np.float32)
        near = np.pad(near, [(0, 0), *((r, r) for r in reach[1:])], mode="symmetric")
        out[start:stop] = _convolved(near, kernel)
        scratch.release(out, data)
    return out


def filtered_bytes(shape: Sequence[int], kernel: Sequence[int]) -> int:
    """What `filtered` takes at a time: a piece with its margins, its waves, the kernel's, and the result."""
    margins = [k // 2 * 2 for k in kernel]
    sizes = [
        min(_planes(shape, kernel), shape[0]) + margins[0],
        *(n + m for n, m in zip(shape[1:], margins[1:], strict=True)),
    ]
    return 4 * np.dtype(np.float32).itemsize * math.prod(sizes)


def _planes(shape: Sequence[int], kernel: Sequence[int]) -> int:
    """Of the first axis, at a time: as many as its margins at least, which are read twice."""
    return max(kernel[0] // 2 * 2, CONVOLVED // (4 * math.prod(shape[1:])), 1)


def _convolved(near: NDArray[np.float32], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where the kernel lies within: [n - kernel + 1 per axis]. A wave that wraps around reaches other places only."""
    from scipy import fft

    sizes = [fft.next_fast_len(n, real=True) for n in near.shape]
    with fft.set_workers(torch.get_num_threads()):
        waves = fft.rfftn(near, sizes)
        waves *= fft.rfftn(kernel, sizes)
        found: NDArray[np.float32] = fft.irfftn(waves, sizes, overwrite_x=True)
    return found[tuple(slice(k - 1, n) for k, n in zip(kernel.shape, near.shape, strict=True))]


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


def detail(
    x: Tensor, lock: Sequence[float] | None, free: Tensor, reach: Tensor | None = None, mode: str = "nearest"
) -> Tensor:
    """Iterate.change of [1, C, *space] with this lock, sigma in samples per axis, and m = free [1, 1, *space].

    reach: `smoothed(free, lock, mode)`, where it is known. mode: as in scipy.ndimage; nearest is the iterate's. Sums
    are in float64: a last bit may differ from the iterate's.
    """
    out = _of(np.multiply, x, free)
    if lock is None:
        return out
    reach = smoothed(free, lock, mode) if reach is None else reach
    out = _without_low(out, smoothed(out, lock, mode), free, reach)
    out = _of(np.multiply, out, free)
    return _without_low(out, smoothed(out, lock, mode), free, reach)


def added(x: Tensor, change: Tensor, free: Tensor | None = None) -> Tensor:
    """x + change, or x + free change, of [1, C, *space] with change and free [1, 1, *space] or like x."""
    return _of(np.add, x, change) if free is None else _of(lambda a, b, m: a + m * b, x, change, free)


def _without_low(x: Tensor, low: Tensor, free: Tensor, reach: Tensor) -> Tensor:
    return _of(lambda z, k, m, r: z - m * k / np.maximum(r, np.float32(LEAST_REACH)), x, low, free, reach)


def _of(function: Callable[..., Any], *tensors: Tensor) -> Tensor:
    """A function of [1, C, *space], position by position."""
    arrays = [tensor[0].numpy() for tensor in tensors]
    return torch.from_numpy(scratch.piecewise(function, *arrays, nc=len(arrays[0]), dtype=np.float32))[None]


def smoothed(x: Tensor, sigma: Sequence[float], mode: str = "nearest") -> Tensor:
    """nd.smooth of [1, C, *space], summed in float64; mode: as in scipy.ndimage, nearest is that of nd.smooth."""
    out: NDArray[np.float32] = scratch.empty(x.shape[1:], np.float32)
    for own, channel in zip(out, x[0].numpy(), strict=True):
        gaussian(channel, sigma, np.float32, mode, own)
    return torch.from_numpy(out)[None]
