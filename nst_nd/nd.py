"""The table of dimensions: the only file that branches on the number of spatial axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nst_nd.boxes import tiles, whole
from nst_nd.errors import ConfigError, InputError

Padding = Literal["zeros", "reflect", "replicate", "circular"]
Pooling = Literal["max", "average"]
# of lines [n, 1, length] and a kernel [2 radius + 1] of float64
_OnLines = Callable[[Tensor, Tensor], Tensor]

AXES = (1, 2, 3)
# bytes of lines that `smooth` works on at a time: oneDNN takes some 18 times as much for a convolution of one channel
SMOOTHED_AT_ONCE = 8 * 2**20

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_POOL: dict[Pooling, dict[int, Callable[..., Tensor]]] = {
    "max": {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d},
    "average": {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d},
}
_AREA: dict[int, Callable[..., Tensor]] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}
# integers by the bytes of the floats whose bits they mask
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}
# 1-D has no channels-last format of its own
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def spatial_axes(x: Tensor) -> int:
    """Number of spatial axes of [batch, channel, *space]; InputError unless it is 1, 2 or 3."""
    ndim = x.dim() - 2
    if ndim not in _CONV:
        raise InputError(f"a tensor of shape {tuple(x.shape)} is not [batch, channel, *space] with 1 to 3 spatial axes")
    return ndim


def channels_last(x: Tensor) -> Tensor:
    """The same values laid out with the channels innermost, where the number of axes knows such a layout."""
    layout = _CHANNELS_LAST.get(spatial_axes(x))
    if layout is None:
        return x.contiguous()
    x = x.contiguous(memory_format=layout)
    if x.shape[:2] != (1, 1) or x.requires_grad:
        return x
    # one channel fits every layout, and convolutions would take the slower one: say which it is (measured: 3-D, 1 to 16
    # channels, three times as fast)
    return x.as_strided(x.shape, torch.empty(x.shape, device="meta").to(memory_format=layout).stride())


def channels_first(x: Tensor) -> Tensor:
    """The same values laid out with the channels outermost, said unmistakably where there is one channel.

    oneDNN 3.x (torch 2.14) gives wrong values, or writes where it should not, for a strided convolution of one channel
    that is said to be innermost when one position is left along the last axis.
    """
    plain = x.shape[1] != 1 or (x.is_contiguous() and x.stride(1) == x.shape[2:].numel())
    return x.contiguous() if plain else x.clone(memory_format=torch.contiguous_format)


def pad(x: Tensor, amount: Sequence[int], mode: Padding) -> Tensor:
    """`amount` positions more on both sides of every axis."""
    if not any(amount):
        return x
    both = [n for axis in reversed(amount) for n in (axis, axis)]
    return F.pad(x, both, mode="constant" if mode == "zeros" else mode)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Padding | None = "zeros",
) -> Tensor:
    """Cross-correlation that keeps the size when the stride is 1 (odd kernels), with any kind of border.

    padding: None leaves the border away, and the result is smaller by it.
    """
    amount = [(k - 1) * d // 2 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    if padding != "zeros":
        x, amount = x if padding is None else pad(x, amount, padding), [0] * len(amount)
    return correlate(x, weight, bias, amount, stride, dilation)


def correlate(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    amount: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Cross-correlation with `amount` zeros more on both sides of each axis."""
    if weight.shape[1] == 1 and any(s > 1 for s in stride):
        x, weight = channels_first(x), channels_first(weight)
    return _CONV[spatial_axes(x)](x, weight, bias, tuple(stride), tuple(amount), tuple(dilation))


def empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """An array [1, C, *space] of the kind of `like`, with the channels innermost where there is such a layout."""
    layout = _CHANNELS_LAST.get(len(shape) - 2, torch.contiguous_format)
    return torch.empty(tuple(shape), dtype=like.dtype, device=like.device, memory_format=layout)


def pool(x: Tensor, kernel: Sequence[int], mode: Pooling) -> Tensor:
    """Non-overlapping pooling: the stride is the kernel, and what does not fill a last window is left out."""
    return _POOL[mode][spatial_axes(x)](x, tuple(kernel), tuple(kernel))


def average(x: Tensor, kernel: Sequence[int]) -> Tensor:
    """`pool` with mode "average" outside of any graph, axis by axis: channels stay where they are in memory."""
    for axis, k in enumerate(kernel, start=2):
        if k > 1:
            cells, stop = (slice(None),) * axis, x.shape[axis] // k * k
            first = x[(*cells, slice(0, stop, k))] + x[(*cells, slice(1, stop, k))]
            for offset in range(2, k):
                first.add_(x[(*cells, slice(offset, stop, k))])
            x = first
    return x.mul_(1.0 / math.prod(kernel)) if math.prod(kernel) > 1 else x.clone()


def average_adjoint(grad: Tensor, kernel: Sequence[int], size: Sequence[int]) -> Tensor:
    """The transpose of `average` for an input of `size`."""
    out = grad * (1.0 / math.prod(kernel))
    for axis, k in reversed(list(enumerate(kernel, start=2))):  # the last pass, the largest, copies whole planes
        length = size[axis - 2]
        if length == out.shape[axis]:
            continue
        grad, out = out, empty((*out.shape[:axis], length, *out.shape[axis + 1 :]), out)
        covered = grad.shape[axis] * k
        out.narrow(axis, covered, length - covered).zero_()
        for offset in range(k):
            out[(*(slice(None),) * axis, slice(offset, covered, k))] = grad
    return out


def maximum(x: Tensor, kernel: Sequence[int]) -> tuple[Tensor, Tensor]:
    """`pool` with mode "max" outside of any graph, and where in its window each maximum stood, the first one of a tie.

    Places are counted in row-major order from 0, in a byte where that is enough for the window.
    """
    cells = _cells(x, kernel)
    out = cells[0].clone()
    for cell in cells[1:]:
        torch.maximum(out, cell, out=out)
    place = torch.zeros_like(out, dtype=torch.int8 if len(cells) <= 128 else torch.int32)
    for number, cell in reversed(list(enumerate(cells))):
        place ^= (place ^ number) & _all_bits(cell == out)  # the number where it is the maximum
    return out, place


def maximum_adjoint(grad: Tensor, place: Tensor, kernel: Sequence[int], size: Sequence[int]) -> Tensor:
    """The transpose of `maximum` at these places for an input of `size`."""
    out = empty((*grad.shape[:2], *size), grad)
    if any(n % k for n, k in zip(size, kernel, strict=True)):
        out.zero_()
    for number, cell in enumerate(_cells(out, kernel)):
        cell.copy_(masked(grad.clone(), _all_bits(place == number)))
    return out


def _cells(x: Tensor, kernel: Sequence[int]) -> list[Tensor]:
    """Views of x at each place of the windows, row-major; what does not fill a last window is left out."""
    covered = [n // k * k for n, k in zip(x.shape[2:], kernel, strict=True)]
    offsets = product(*(range(k) for k in kernel))
    ends = [list(zip(offset, covered, kernel, strict=True)) for offset in offsets]
    return [x[(slice(None), slice(None), *(slice(*end) for end in each))] for each in ends]


def _all_bits(condition: Tensor) -> Tensor:
    """int8: -1, all bits set, where it holds, and 0 elsewhere."""
    return condition.view(torch.int8).neg_()


def signs(y: Tensor) -> Tensor:
    """int8: -1, all bits set, where y is above 0, and 0 elsewhere."""
    return _all_bits(y > 0)


def masked(x: Tensor, bits: Tensor) -> Tensor:
    """x in place, 0 where `bits` are 0: on its bits, several times as fast as a product with a boolean."""
    x.view(_BITS[x.element_size()]).bitwise_and_(bits)
    return x


def cell_means(x: Tensor, cell: Sequence[int]) -> Tensor:
    """[B, C, *space] as means over cells; what does not fill a last cell is the mean of what is there."""
    pool_of = _POOL["average"][spatial_axes(x)]
    return pool_of(x, tuple(cell), tuple(cell), ceil_mode=True, count_include_pad=False)


def area_mean(x: Tensor, size: Sequence[int]) -> Tensor:
    """[B, C, *space] as means over the cells of a grid of `size` that covers the same extent."""
    return _AREA[spatial_axes(x)](x, tuple(size))


def resize(x: Float[Tensor, "batch channel *space"], size: Sequence[int]) -> Float[Tensor, "batch channel *size"]:
    """[B, C, *space] on a grid of `size` over the same extent: linear, with a Gaussian before every reduction.

    Positions are cell centres. The Gaussian has a standard deviation of sqrt(f^2 - 1) / 2 samples for a reduction
    by f: a wave at the new Nyquist frequency keeps about a third of its amplitude, one at 1.5 times that 6 %.
    """
    size = tuple(size)
    if size == tuple(x.shape[2:]):
        return x
    if any(n < 1 for n in size):
        raise ConfigError(f"cannot resize to {size}: every axis needs at least one position")
    factors = [old / new for old, new in zip(x.shape[2:], size, strict=True)]
    x = smooth(x, [max(f * f - 1.0, 0.0) ** 0.5 / 2.0 for f in factors])
    return F.interpolate(x, size=size, mode=_INTERPOLATION[spatial_axes(x)], align_corners=False)


def smooth(
    x: Float[Tensor, "batch channel *space"], sigma: Sequence[float], *, out: Tensor | None = None
) -> Float[Tensor, "batch channel *space"]:
    """Gaussian low-pass along each axis, `sigma` in samples, borders replicated; sigma 0 leaves an axis alone.

    Beside the result there are only pieces of about SMOOTHED_AT_ONCE bytes, of whole lines, unless a graph is
    recorded. out: where the result goes, which may be x; None: a new array, or x itself where no sigma is above 0.
    A graph is not recorded into `out`.
    """
    if out is None and x.requires_grad and torch.is_grad_enabled():
        lines = _along(sigma)
        # padding remembers what it has seen, and callers may go on in place
        x = x.clone() if lines else x
        for axis, s in lines:
            x = _on_lines(_low, x, axis, gaussian(s))
        return x
    return _line_by_line(_low, x, sigma, out)


def smooth_adjoint(
    x: Float[Tensor, "batch channel *space"], sigma: Sequence[float], *, out: Tensor | None = None
) -> Float[Tensor, "batch channel *space"]:
    """The transpose of `smooth`, in as little memory: zeros outside, and what falls beyond an end is added to the end.

    No graph is recorded. sigma, out: as in `smooth`.
    """
    with torch.no_grad():
        return _line_by_line(_low_adjoint, x, sigma, out)


def gaussian_radius(sigma: float) -> int:
    """Samples on either side that `smooth` sees along an axis with this sigma; 0 where it leaves the axis alone."""
    return max(1, int(4.0 * sigma + 0.5)) if sigma > 0.0 else 0


def gaussian(sigma: float) -> Tensor:
    """The weights of `smooth` along an axis in float64: [2 radius + 1], with sum 1."""
    radius = gaussian_radius(sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    return kernel / kernel.sum()


def line_pieces(shape: Sequence[int], axis: int, lines: int) -> list[tuple[slice, ...]]:
    """An array [batch, channel, *space] in pieces of at most so many whole lines along `axis` (as `shape` counts it).

    Neither the length of the lines nor the layout in memory matters: processes with slabs along the axis all get the
    same pieces. Channels stay together, then what is near along the last axes.
    """
    most = list(shape)
    for other in (1, *range(len(shape) - 1, 1, -1), 0):
        if other != axis:
            most[other] = max(1, min(most[other], lines))
            lines //= most[other]
    return [tuple(slice(*span) for span in box) for box in tiles(whole(shape), most, (1,) * len(most))]


def lines_at_once(length: int, x: Tensor) -> int:
    """How many lines of so many samples of the kind of x are smoothed at a time."""
    return SMOOTHED_AT_ONCE // (max(1, length) * x.element_size())


def _along(sigma: Sequence[float]) -> list[tuple[int, float]]:
    """The axes (counted with batch and channel) that are smoothed, and how far."""
    return [(axis, float(s)) for axis, s in enumerate(sigma, start=2) if s > 0.0]


def _line_by_line(function: _OnLines, x: Tensor, sigma: Sequence[float], out: Tensor | None) -> Tensor:
    """Axis by axis, from x into `out` and then within `out`: a piece of whole lines is read before it is written."""
    source = x
    for axis, s in _along(sigma):
        out = torch.empty_like(x) if out is None else out
        kernel = gaussian(s)
        for piece in line_pieces(x.shape, axis, lines_at_once(x.shape[axis], x)):
            out[piece] = _on_lines(function, source[piece], axis, kernel)
        source = out
    if out is None or source is out:
        return source
    return out.copy_(x)


def _on_lines(function: _OnLines, x: Tensor, axis: int, kernel: Tensor) -> Tensor:
    lines = x.movedim(axis, -1)
    return function(lines.reshape(-1, 1, lines.shape[-1]), kernel).reshape(lines.shape).movedim(-1, axis)


def _low(lines: Tensor, kernel: Tensor) -> Tensor:
    """Lines [n, 1, length] smoothed, the ends replicated."""
    radius = kernel.numel() // 2
    return F.conv1d(F.pad(lines, (radius, radius), mode="replicate"), kernel.to(lines).view(1, 1, -1))


def _low_adjoint(lines: Tensor, kernel: Tensor) -> Tensor:
    """The transpose of `_low`: what position i sends beyond the start is its value times the weights further than i."""
    radius, length = kernel.numel() // 2, lines.shape[-1]
    near = min(radius, length)
    beyond = kernel[:radius].cumsum(0).flip(0)[:near].to(lines)
    back = F.conv1d(lines, kernel.to(lines).view(1, 1, -1), padding=radius)
    back[..., 0] += lines[..., :near] @ beyond
    back[..., -1] += lines[..., length - near :] @ beyond.flip(0)
    return back


def total_variation(x: Tensor, exponent: float) -> Tensor:
    """Sum over axes of the mean of |difference of neighbours| ** exponent."""
    terms = [x.diff(dim=axis).abs().pow(exponent).mean() for axis in range(2, x.dim()) if x.shape[axis] > 1]
    return torch.stack(terms).sum() if terms else x.sum() * 0.0
