"""Masks of the content and of the styles, in model space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nst_nd import nd, scratch
from nst_nd.domains.domain import Prepared, Style
from nst_nd.errors import InputError
from nst_nd.sample import Data, Grid, Sample

# of the finest voxel side: a shift by less is rounding (a qform holds its rotation in float32), not another grid
SAME_PLACE = 0.1


def with_masks(prepared: Prepared, content: Sample | None, styles: Sequence[Style], mask: Sample | None) -> Prepared:
    """The prepared inputs with these masks on top of the preset's own regions.

    Raises InputError for a mask of another size, on another grid (where both say where they lie), with values outside
    0..1, or that leaves nothing to measure.
    """
    free, weight = prepared.free, prepared.weight
    pairs = [(mask, content), *((style.mask, style.sample) for style in styles)]
    if any(m is not None and m.nc > 1 for m, _ in pairs):
        prepared.notes.append("a mask with several channels: their mean is used")
    if any(m and like and (m.grid.affine is None) != (like.grid.affine is None) for m, like in pairs):
        prepared.notes.append("a mask and what it covers do not both say where they lie: taken voxel by voxel")
    if mask is not None:
        if content is None:
            raise InputError("a mask needs a content")
        given = _mask_tensor(mask, content, "mask")
        free = _of(lambda m: m > 0, given) if free is None else _of(lambda m, f: f * (m > 0), given, free)
        weight = given if weight is None else _of(np.multiply, weight, given)
    style_weights = list(prepared.style_weights or [None] * len(styles))
    for i, style in enumerate(styles):
        if style.mask is not None:
            given = _mask_tensor(style.mask, style.sample, "style mask")
            given = nd.resize(given, prepared.styles[i].shape[2:])
            own = style_weights[i]
            style_weights[i] = given if own is None else _of(np.multiply, own, given)
    if any(w is not None and _limits(w[0].numpy()) == (0.0, 0.0) for w in (weight, *style_weights)):
        raise InputError("a mask (with the preset's region) leaves no position to take statistics from")
    return replace(prepared, free=free, weight=weight, style_weights=tuple(style_weights))


def check_covers(mask: Sample, like: Sample, what: str) -> None:
    """InputError unless it has the size of what it covers and lies in the same place."""
    if mask.shape != like.shape:
        raise InputError(f"the {what} has size {mask.shape}, what it covers {like.shape}; they must agree")
    _check_place(mask.grid, like.grid, like.shape, what)


def _mask_tensor(mask: Sample, like: Sample, what: str) -> Tensor:
    check_covers(mask, like, what)
    low, high = _limits(mask.data)
    if low < 0 or high > 1 or high == 0:
        raise InputError(
            f"the {what} has values {low:g} to {high:g}; allowed: 0 to 1, not 0 everywhere\n"
            "a label map is given with labels"
        )
    mean = scratch.piecewise(lambda m: m.mean(axis=0, dtype=np.float32), mask.data, nc=1, dtype=np.float32)
    return torch.from_numpy(mean)[None]


def _check_place(ours: Grid, theirs: Grid, shape: tuple[int, ...], what: str) -> None:
    """InputError unless the corner voxels of both grids lie in the same places, where both say where they lie."""
    if ours.affine is None or theirs.affine is None:
        return
    corners = np.array([*np.ndindex(*(2,) * len(shape))]) * (np.array(shape) - 1)
    between = (ours.affine - theirs.affine) @ np.column_stack([corners, np.ones(len(corners))]).T
    apart = float(np.linalg.norm(between[:-1], axis=0).max())
    if not apart <= SAME_PLACE * min(theirs.spacing):
        raise InputError(
            f"the {what} lies on another grid: same size, but corners up to {apart:.3g} {theirs.unit} apart from those "
            "of what it covers\nresample it onto that grid, with nearest neighbours"
        )


def _limits(data: Data) -> tuple[float, float]:
    low, high = scratch.extremes(data)
    return float(low.min()), float(high.max())


def _of(function: Callable[..., Any], *masks: Tensor) -> Tensor:
    """A function of masks [1, 1, *space], position by position."""
    arrays = (mask[0].numpy() for mask in masks)
    return torch.from_numpy(scratch.piecewise(function, *arrays, nc=1, dtype=np.float32))[None]
