"""Lung and fat beside soft tissue: features learn the noise of each where there are quiet squares of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from nst_nd import scratch
from nst_nd.domains.domain import Prepared, Style
from nst_nd.domains.filters import added
from nst_nd.domains.masks import with_masks
from nst_nd.domains.metrics.noise import EDGE, quiet_squares
from nst_nd.domains.settings import Settings, Tissue
from nst_nd.errors import InputError
from nst_nd.sample import Sample

# HU of the smoothed volume within which a tissue is free to change: wider than those that its squares lie in, below
FREE_HU: dict[Tissue, tuple[float, float]] = {"lung": (-970.0, -400.0), "fat": (-150.0, -25.0)}
SQUARES_HU: dict[Tissue, tuple[float, float]] = {"lung": (-950.0, -500.0), "fat": (-130.0, -50.0)}
# share of a square that a mask has to cover
COVERED = 0.98
# fewer squares than this say too little of noise
FEWEST = 4
# squares after which the memory that they touched is given back
RELEASED = 256

Corners = Int[NDArray[np.intp], "_ 3"]
# inputs of a volume in model space for these settings
Prepare = Callable[[Sample | None, Sequence[Sample], Settings], Prepared]


def with_tissues(
    prepared: Prepared,
    content: Sample,
    styles: Sequence[Style],
    mask: Sample | None,
    settings: Settings,
    prepare: Prepare,
) -> Prepared:
    """The prepared inputs with a region for each tissue of the settings that content and all styles have room for.

    Room is FEWEST quiet squares. The networks then see the detail of that tissue too, and its voxels are free; each
    region is compared with the same tissue of the styles, and with nothing else. Notes say what was found.
    """
    for tissue in settings.tissues:
        if _overlap(FREE_HU[tissue], settings.region):
            prepared.notes.append(f"{tissue}: the region {settings.region} has some of it already")
            continue
        if settings.protect is not None and not _within(SQUARES_HU[tissue], settings.protect):
            prepared.notes.append(f"{tissue}: some of it is protected, {settings.protect}: no features of its own")
            continue
        found = _squares_of_all(content, styles, mask, SQUARES_HU[tissue])
        if min(map(len, found)) < FEWEST:
            prepared.notes.append(f"{tissue}: {_counts(found)}: noise as loud as measured, texture of the kernel")
            continue
        own = _prepared_inside(tissue, content, styles, mask, settings, prepare, found)
        if own is None:
            prepared.notes.append(f"{tissue}: {_counts(found)}, but too thin for features: texture of the kernel")
            continue
        prepared.notes.append(f"{tissue}: {_counts(found)}: texture by features of its own")
        prepared = _joined(prepared, own, tissue)
    return prepared


def _prepared_inside(
    tissue: Tissue,
    content: Sample,
    styles: Sequence[Style],
    mask: Sample | None,
    settings: Settings,
    prepare: Prepare,
    found: Sequence[Corners],
) -> Prepared | None:
    """The inputs with this tissue as the region, weighted by its quiet squares; None where nothing is left of them.

    Squares lie in a plane; the region is eroded across slices too, and a style that is resampled has other ones.
    """
    inner = settings.model_copy(update={"region": FREE_HU[tissue]})
    try:
        own = with_masks(prepare(content, [s.sample for s in styles], inner), content, styles, mask)
    except InputError:
        return None
    theirs = [
        corners if seen is style.sample else quiet_squares(seen, SQUARES_HU[tissue])
        for corners, seen, style in zip(found[1:], own.seen, styles, strict=True)
    ]
    weight = weight_within(own.weight, found[0])
    weights = [weight_within(m, c) for m, c in zip(own.style_weights, theirs, strict=True)]
    if any(w is None or not scratch.extremes(w[0].numpy())[1].any() for w in (weight, *weights)):
        return None
    return replace(own, weight=weight, style_weights=tuple(weights))


def _overlap(a: tuple[float, float], b: tuple[float, float] | None) -> bool:
    return b is None or (a[0] < b[1] and b[0] < a[1])


def _within(inner: tuple[float, float], outer: tuple[float, float]) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def squares_within(
    sample: Sample, mask: Sample | None, limits: tuple[float, float] | None = None
) -> Int[NDArray[np.intp], "square 3"]:
    """Quiet squares of soft tissue, or of what lies within these HU, that a mask covers."""
    corners = quiet_squares(sample) if limits is None else quiet_squares(sample, limits)
    if mask is None or not len(corners):
        return corners
    covered = [np.mean(mask.data[0, i : i + EDGE, j : j + EDGE, k] > 0) >= COVERED for i, j, k in corners]
    return corners[np.array(covered)]


def weight_within(mask: Tensor | None, squares: Int[NDArray[np.intp], "square 3"]) -> Tensor | None:
    """A mask [1, 1, i, j, k] times the number of squares there: noise is learnt where there is noise alone."""
    if mask is None:
        return None
    squared = scratch.zeros(mask.shape[2:], np.float32)
    for n, (i, j, k) in enumerate(squares):
        squared[i : i + EDGE, j : j + EDGE, k] += 0.25
        if n % RELEASED == 0:
            scratch.release(squared)
    inside = scratch.piecewise(np.multiply, mask[0].numpy(), squared[None], nc=1, dtype=np.float32)
    return torch.from_numpy(inside)[None]


def _squares_of_all(
    content: Sample, styles: Sequence[Style], mask: Sample | None, limits: tuple[float, float]
) -> list[Corners]:
    """Of the content, then of each style; none looked for where an earlier one has too few."""
    found = [squares_within(content, mask, limits)]
    for style in styles:
        if len(found[-1]) < FEWEST:
            return found
        found.append(squares_within(style.sample, style.mask, limits))
    return found


def _counts(found: Sequence[Corners]) -> str:
    ours, *theirs = map(len, found)
    said = f"{ours} quiet squares of the content"
    return f"{said}, {min(theirs)} of the style" if theirs else said


def _joined(prepared: Prepared, own: Prepared, tissue: Tissue) -> Prepared:
    """Both together: one signal with the detail of all tissues, looked at region by region."""
    assert prepared.content is not None
    assert own.content is not None
    assert prepared.weight is not None
    assert prepared.free is not None
    assert own.free is not None
    assert own.weight is not None
    regions = prepared.regions or (prepared.weight,)
    number = len(own.styles)
    styles = tuple(added(a, b) for a, b in zip(prepared.styles[:number], own.styles, strict=True))
    return replace(
        prepared,
        content=added(prepared.content, own.content),
        free=added(prepared.free, own.free),
        styles=styles * (len(regions) + 1),
        style_weights=(*prepared.style_weights, *own.style_weights),
        regions=(*regions, own.weight),
        region_names=(*(prepared.region_names or ("soft",)), tissue),
        region_of=tuple(region for region in range(len(regions) + 1) for _ in range(number)),
    )
