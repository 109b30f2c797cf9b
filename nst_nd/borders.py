"""Signals continued beyond their ends, as far as a tile looks there; and the way back of a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nst_nd import nd
from nst_nd.boxes import Box, Span, size_of, slices


class _Reach(NamedTuple):
    """How a window comes about: `kept` is cut out of what a tile has and continued to `there`, which holds the need."""

    kept: Box
    there: Box

    @property
    def amounts(self) -> list[tuple[int, int]]:
        """Positions made up before and after, per axis."""
        return [(k.start - t.start, t.stop - k.stop) for k, t in zip(self.kept, self.there, strict=True)]


def _reach(have: Box, need: Box, size: Sequence[int], mode: nd.Padding) -> _Reach:
    kept, there = [], []
    for n, h, length in zip(need, have, size, strict=True):
        low, high = max(0, h.start - n.start), max(0, n.stop - h.stop)
        if (low and h.start != 0) or (high and h.stop != length) or (mode == "circular" and low + high and h.start):
            raise ValueError(f"a tile that has {have} of {tuple(size)} cannot show {need}")
        # a mirror or a circle shows positions that may lie outside of what is needed
        keep = h if low or high else n
        kept.append(keep)
        there.append(Span(keep.start - low, keep.stop + high))
    return _Reach(tuple(kept), tuple(there))


def window(x: Tensor, have: Box, need: Box, size: Sequence[int], mode: nd.Padding) -> Tensor:
    """The box `need` of a signal of `size` continued beyond its ends, from x, which holds the box `have` of it.

    Along each axis either all that is needed is there, or it reaches an end that `mode` continues. What need not be
    made up is a view. Differentiable.
    """
    if need == have:
        return x
    reach = _reach(have, need, size, mode)
    x = x[slices(reach.kept, have)]
    if reach.kept != reach.there:
        x = _continued(x, reach.amounts, mode)
    return x if reach.there == need else x[slices(need, reach.there)]


def window_adjoint(grad: Tensor, have: Box, need: Box, size: Sequence[int], mode: nd.Padding) -> Tensor:
    """The transpose of `window`: a gradient on `need` brought to `have`. It may overwrite `grad`, and be a view."""
    if need == have:
        return grad
    reach = _reach(have, need, size, mode)
    grad = _embedded(grad, need, reach.there)
    for axis, (low, high) in enumerate(reach.amounts, start=2):
        grad = folded(grad, axis, low, high, mode)
    return _embedded(grad, reach.kept, have)


def _embedded(x: Tensor, box: Box, into: Box) -> Tensor:
    """x, which holds `box`, with zeros around it as far as `into` goes."""
    if box == into:
        return x
    out = nd.empty((*x.shape[:2], *size_of(into)), x).zero_()
    out[slices(box, into)] = x
    return out


def _continued(x: Tensor, amounts: Sequence[tuple[int, int]], mode: nd.Padding) -> Tensor:
    """x with so many positions more before and after along each axis."""
    if x.requires_grad:
        both = [n for low_high in reversed(amounts) for n in low_high]
        return F.pad(x, both, mode="constant" if mode == "zeros" else mode)
    # torch's own padding would give the channels back outermost, and the convolution would turn it all round again
    out = nd.empty((*x.shape[:2], *(n + low + high for n, (low, high) in zip(x.shape[2:], amounts, strict=True))), x)
    inside = out
    for axis, (low, _) in enumerate(amounts, start=2):
        inside = inside.narrow(axis, low, x.shape[axis])
    inside.copy_(x)
    # axis by axis, over everything: the corners of earlier axes are set by later ones
    for axis, (low, high) in enumerate(amounts, start=2):
        n = x.shape[axis]
        before, inside, after = torch.split(out, [low, n, high], axis)
        if mode == "zeros":
            before.zero_()
            after.zero_()
        elif mode == "replicate":
            before.copy_(inside.narrow(axis, 0, 1).expand_as(before))
            after.copy_(inside.narrow(axis, n - 1, 1).expand_as(after))
        elif mode == "reflect":
            before.copy_(inside.narrow(axis, 1, low).flip(axis))
            after.copy_(inside.narrow(axis, n - 1 - high, high).flip(axis))
        else:
            before.copy_(inside.narrow(axis, n - low, low))
            after.copy_(inside.narrow(axis, 0, high))
    return out


def folded(grad: Tensor, axis: int, low: int, high: int, mode: nd.Padding) -> Tensor:
    """The transpose of a signal continued by `low` and `high` positions along an axis: a view, ends added in place."""
    n = grad.shape[axis] - low - high
    before, inside, after = torch.split(grad, [low, n, high], axis)
    add_ends(inside, axis, before, after, mode)
    return inside


def add_ends(inside: Tensor, axis: int, before: Tensor, after: Tensor, mode: nd.Padding) -> None:
    """Adds to `inside` what was made up before and after it along an axis, each where it had been taken from."""
    n, low, high = inside.shape[axis], before.shape[axis], after.shape[axis]
    if mode == "replicate":
        inside.narrow(axis, 0, 1).add_(before.sum(axis, keepdim=True))
        inside.narrow(axis, n - 1, 1).add_(after.sum(axis, keepdim=True))
    elif mode == "reflect":
        inside.narrow(axis, 1, low).add_(before.flip(axis))
        inside.narrow(axis, n - 1 - high, high).add_(after.flip(axis))
    elif mode == "circular":
        inside.narrow(axis, n - low, low).add_(before)
        inside.narrow(axis, 0, high).add_(after)
