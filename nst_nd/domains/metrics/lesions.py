"""Lesions of CT: the contrast of those whose place is known, and a matched filter that finds others.

For benchmarks, on phantoms: where lesions were inserted, and where there are none, so that every hit is a false alarm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.domains.metrics.places import near
from nst_nd.errors import InputError
from nst_nd.sample import Sample

# the filter's support in radii: body and ring have about equal weight in the plane at sqrt(2)
SUPPORT = 1.6
# points per voxel and axis for what share of a voxel a body fills
POINTS = 5

Mask = Bool[NDArray[np.bool_], "i j k"]


def contrast(
    sample: Sample,
    centre: Sequence[float],
    radius_mm: float,
    ring_mm: tuple[float, float],
    across: slice = slice(None),
) -> float:
    """Mean of a body less the mean of a ring or shell round it, in the sample's unit; NaN where one has no voxel.

    centre: in voxels, fractions allowed: (i, j, k) of a ball, (i, j) of discs in all slices `across`. ring_mm: inner
    and outer radius of the background. Blur is part of it: a small body loses contrast to its ring's side, so that it
    is compared with the same body in another rendering.
    Raises InputError where the ring begins within the body or is empty.
    """
    if not 0 < radius_mm <= ring_mm[0] < ring_mm[1]:
        raise InputError(f"radius {radius_mm:g} mm, ring {ring_mm[0]:g} to {ring_mm[1]:g}; they must grow")
    distance, values = near(sample, centre, ring_mm[1], across)
    body, ring = values[distance <= radius_mm], values[distance > ring_mm[0]]
    return float(body.mean(dtype=np.float64) - ring.mean(dtype=np.float64)) if body.size and ring.size else np.nan


def matched_filter(spacing: Sequence[float], radius_mm: float, *, flat: bool) -> Float[NDArray[np.float64], "i j k"]:
    """Weights whose sum of products with a volume is the contrast of a centred ball, or disc in one slice if `flat`.

    The body's indicator, by share of each voxel, less its mean over a ball of SUPPORT radii: what is constant gives 0.
    Optimal (Wagner & Brown 1985) for white noise of deviation sd, of which it leaves sd sqrt(sum of squares).
    """
    reach = [int(np.floor(SUPPORT * radius_mm / mm)) for mm in spacing]
    if flat:
        reach[-1] = 0
    axes = [np.arange(-n, n + 1) * mm for n, mm in zip(reach, spacing, strict=True)]
    offsets = (np.arange(POINTS) + 0.5) / POINTS - 0.5
    weighed = [np.zeros(1) if n == 0 and flat else offsets * mm for n, mm in zip(reach, spacing, strict=True)]
    body = np.zeros([len(axis) for axis in axes])
    for shift in product(*weighed):
        body += _radii([axis + by for axis, by in zip(axes, shift, strict=True)]) <= radius_mm
    body /= np.prod([len(points) for points in weighed])
    support = (_radii(axes) <= SUPPORT * radius_mm) | (body > 0)
    size = " x ".join(f"{mm:g}" for mm in spacing)
    if not body.any() or body[support].min() == body.max():
        raise InputError(f"a body of {radius_mm:g} mm is too small for voxels of {size} mm")
    weights = np.where(support, body - body[support].mean(), 0.0)
    found: NDArray[np.float64] = weights / np.sum(weights * body)
    return found


def detections(
    sample: Sample, mask: Mask, radius_mm: float, threshold: float, *, flat: bool = False
) -> tuple[Int[NDArray[np.intp], "hit 3"], Float[NDArray[np.float64], " hit"]]:
    """Voxels (i, j, k) [n, 3] and contrasts [n] of bodies brighter than their surroundings by more than `threshold`.

    These are local maxima, within a body's radius, of a matched filter on the first channel inside of `mask` [i, j, k]
    (uniform tissue: an organ's border within 1.6 radii counts as well), the highest first. Places nearer to the end of
    the volume than that are not looked at. `flat`: discs in single slices instead of balls. For dark ones, negate the
    sample. Raises InputError for a mask of another shape and a body that no voxel can show.
    """
    if mask.shape != sample.shape:
        raise InputError(f"mask has shape {mask.shape}, sample {sample.shape}; they must be equal")
    spacing = sample.grid.spacing
    response = _response(sample, mask, matched_filter(spacing, radius_mm, flat=flat))
    reach = [int(radius_mm / mm) for mm in spacing]
    if flat:
        reach[-1] = 0
    places, scores = [np.zeros((0, 3), np.intp)], [np.zeros(0)]
    for start, peaks, values in _maxima(response, reach):
        at = np.argwhere(peaks & (values > threshold))
        places.append(at + np.array([start, 0, 0]))
        scores.append(values[tuple(at.T)].astype(np.float64))
    found, score = np.concatenate(places), np.concatenate(scores)
    order = np.argsort(-score, kind="stable")
    return found[order], score[order]


def threshold_for(
    references: Sequence[tuple[Sample, Mask]], radius_mm: float, per_ml: float, *, flat: bool = False
) -> float:
    """The lowest threshold above which lesion-free references have no more than `per_ml` hits per ml of their masks.

    Hits of a result at that threshold, over `per_ml` times its ml, are its false alarms against true images.
    -inf where they never have so many. Raises InputError where their masks are empty.
    """
    volume = sum(np.count_nonzero(mask) * np.prod(sample.grid.spacing) / 1000.0 for sample, mask in references)
    if volume == 0:
        raise InputError("no voxel to look at: the masks of the references are empty")
    scores = np.concatenate([detections(s, mask, radius_mm, -np.inf, flat=flat)[1] for s, mask in references])
    allowed = int(per_ml * volume)
    return float(np.sort(scores)[::-1][allowed]) if allowed < len(scores) else -np.inf


def _radii(axes: Sequence[NDArray[np.floating[Any]]]) -> NDArray[np.float64]:
    """Distance from 0 on the grid of these coordinates."""
    found: NDArray[np.float64] = np.sqrt(sum(x**2 for x in np.meshgrid(*axes, indexing="ij")))
    return found


def _response(sample: Sample, mask: NDArray[np.bool_], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """[i, j, k]: contrasts inside of the mask wherever the weights fit into the volume, -inf elsewhere."""
    from scipy.signal import oaconvolve

    data, reach = sample.data[0], [n // 2 for n in weights.shape]
    found: NDArray[np.float32] = scratch.empty(data.shape, np.float32)
    inner = (slice(None), *(slice(r, n - r) for r, n in zip(reach[1:], data.shape[1:], strict=True)))
    fits = all(size >= n for size, n in zip(data.shape, weights.shape, strict=True))
    # a transform holds a few arrays of the piece's size
    for piece in scratch.chunks(data.shape, 0, max(1, scratch.PIECE // 4)):
        found[piece] = -np.inf
        start, stop = max(piece.start, reach[0]), min(piece.stop, data.shape[0] - reach[0])
        if fits and start < stop:
            rows = data[start - reach[0] : stop + reach[0]].astype(np.float64)
            # weights are symmetric, and a level near 0 keeps rounding small
            found[start:stop][inner] = oaconvolve(rows - rows.mean(), weights, mode="valid")
        found[piece][~mask[piece]] = -np.inf
        scratch.release(data, found, mask)
    return found


def _maxima(
    response: NDArray[np.float32], reach: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.bool_], NDArray[Any]]]:
    """First row, flags and values of pieces: voxels that are the highest of the box of `reach` voxels round them."""
    from scipy.ndimage import maximum_filter

    for piece in scratch.chunks(response, 0):
        start = max(0, piece.start - reach[0])
        rows = response[start : piece.stop + reach[0]]
        highest = maximum_filter(rows, [2 * n + 1 for n in reach], mode="nearest")
        inner = slice(piece.start - start, piece.stop - start)
        yield piece.start, (rows[inner] == highest[inner]) & np.isfinite(rows[inner]), rows[inner]
        scratch.release(response)
