"""Edge response of real CT: pooled over strong, locally straight edges of slices, after ISO 12233's slanted edge.

A patch stands on the steepest voxel of a cell. In each of its lines across the edge the edge's place is where the mass
of the step ends, a quadratic through these places is the edge, and each voxel's distance from it goes into one profile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.domains.filters import gaussian
from nst_nd.domains.metrics.edge_response import EdgeResponse, Profile
from nst_nd.sample import Sample

CELL = 16
SMOOTHING_MM = 1.0
# half the size of a patch across and along the edge, and half the profile
ACROSS_MM, ALONG_MM, HALF_MM = 9.0, 3.5, 6.0
# levels are means of what is farther than this from the edge
PLATEAU_MM = 2.5
STEEP_HU_PER_MM, CONTRAST_HU = 60.0, 300.0
# plateaus deviate by at most this share of the contrast, places of the edge by at most so many mm from a curve
UNEVEN, CROOKED_MM, SLOPE = 0.1, 0.25, 0.8
# fewer edges are no measure, more do not make it better
LEAST, MOST = 20, 4000
TOGETHER = 256


@dataclass(frozen=True)
class Edges:
    """Candidates: first axis of the normal (0 or 1) and voxel (i, j, k) on the edge: [n, 4]. step: mm in the plane."""

    places: Int[NDArray[np.intp], "edge 4"]
    step: tuple[float, float]


def content_edges(sample: Sample) -> Edges:
    """The steepest voxel of each cell of CELL x CELL voxels of a slice of the first channel, HU, if it is steep.

    Steep: STEEP_HU_PER_MM in the plane after a Gaussian of SMOOTHING_MM. Patches lie wholly inside of the slice.
    """
    step = sample.grid.spacing[0], sample.grid.spacing[1]
    low = gaussian(sample.data[0], [SMOOTHING_MM / step[0], SMOOTHING_MM / step[1], 0.0], np.float32)
    found = [np.zeros((0, 4), np.intp)]
    if min(low.shape[:2]) < 2:
        return Edges(found[0], step)
    for i in range(0, low.shape[0], CELL):
        start = max(0, i - 1)
        rows = low[start : i + CELL + 1]
        inner = slice(i - start, i - start + CELL)
        slopes = [np.gradient(rows, step[axis], axis=axis)[inner] for axis in (0, 1)]
        for j in range(0, low.shape[1], CELL):
            cell = [slope[:, j : j + CELL] for slope in slopes]
            found.append(_steepest(cell[0], cell[1], (i, j)))
        scratch.release(low)
    places = np.concatenate(found)
    inside = np.ones(len(places), bool)
    for axis in (0, 1):
        reach = np.where(places[:, 0] == axis, ACROSS_MM, ALONG_MM) / step[axis]
        inside &= (places[:, 1 + axis] >= np.ceil(reach)) & (places[:, 1 + axis] < low.shape[axis] - np.ceil(reach))
    places = places[inside]
    return Edges(places[:: max(1, -(-len(places) // MOST))], step)


def _steepest(across: NDArray[np.float32], along: NDArray[np.float32], corner: tuple[int, int]) -> NDArray[np.intp]:
    """[n, 4]: axis and place of the steepest voxel of each slice of one cell [i, j, k]."""
    depth = across.shape[2]
    size = np.hypot(across, along).reshape(-1, depth)
    at = size.argmax(axis=0)
    steep = np.flatnonzero(size[at, np.arange(depth)] > STEEP_HU_PER_MM)
    i, j = np.unravel_index(at[steep], across.shape[:2])
    axis = np.abs(across[i, j, steep]) < np.abs(along[i, j, steep])
    return np.stack([axis.astype(np.intp), i + corner[0], j + corner[1], steep], axis=1)


def edge_transfer(content: Sample, edges: Edges, *others: Sample) -> list[EdgeResponse]:
    """Response of the content, HU, at its edges, and of other samples on its grid at the same ones.

    What it is: a relative measure. Edges of a body are not ideal steps, noise moves their places a little, and what is
    smooth in the body itself counts as blur, so that it tells two reconstructions of one scan apart and is not a
    scanner's transfer function; the places found on the content serve all, and which edges are straight and even
    enough (see the constants) is decided on the content alone. Where a transfer leaves air as it is (values below
    -990 HU), edges beside air show less of it. NaN with fewer than LEAST edges.
    """
    samples = (content, *others)
    profiles, count = [Profile(HALF_MM) for _ in samples], 0
    for axis in (0, 1):
        across, along = (edges.step[axis], edges.step[1 - axis])
        for places in _together(edges.places[edges.places[:, 0] == axis, 1:]):
            patches = [_patches(sample, places, axis, edges.step) for sample in samples]
            distance, good = _distances(patches[0], across, along)
            count += int(good.sum())
            for profile, patch in zip(profiles, patches, strict=True):
                profile.add(*_risen(patch[good], distance[good]))
            scratch.release(*(sample.data for sample in samples))
    if count < LEAST:
        return [Profile(HALF_MM).response() for _ in samples]
    return [profile.response() for profile in profiles]


def _risen(
    patches: NDArray[np.float64], distance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances and values [n] each, 0 and 1 on the two sides of each edge; nothing of one that is gone."""
    low, high = _levels(patches, distance)
    there = (low != high)[:, 0, 0]
    risen = (patches[there] - low[there]) / (high - low)[there]
    return distance[there].ravel(), risen.ravel()


def _together(places: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    for start in range(0, len(places), TOGETHER):
        yield places[start : start + TOGETHER]


def _patches(
    sample: Sample, places: NDArray[np.intp], axis: int, step: tuple[float, float]
) -> Float[NDArray[np.float64], "edge across along"]:
    """Values around these places, the first axis of a patch across the edge."""
    reach = [int(ACROSS_MM / step[axis]), int(ALONG_MM / step[1 - axis])]
    offsets = [np.arange(-n, n + 1) for n in reach]
    i = places[:, axis, None, None] + offsets[0][:, None]
    j = places[:, 1 - axis, None, None] + offsets[1]
    first, second = (i, j) if axis == 0 else (j, i)
    found: NDArray[np.float64] = sample.data[0][first, second, places[:, 2, None, None]].astype(np.float64)
    return found


def _distances(
    patches: Float[NDArray[np.float64], "edge across along"], across: float, along: float
) -> tuple[Float[NDArray[np.float64], "edge across along"], NDArray[np.bool_]]:
    """Distance in mm of each voxel from its patch's edge, growing with HU, and which patches hold a clean edge."""
    n, m = patches.shape[1:]
    x, t = (np.arange(n) - n // 2) * across, (np.arange(m) - m // 2) * along
    ends = max(2, n // 8)
    low, high = patches[:, :ends].mean(axis=(1, 2)), patches[:, -ends:].mean(axis=(1, 2))
    sign = np.where(high > low, 1.0, -1.0)[:, None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        place = _mass(patches, low[:, None, None], high[:, None, None], x, np.full((n, m), True)[None])
        for _ in range(2):
            distance, crooked, slope = _from_curve(place, x, t)
            low, high = _levels(patches, distance)
            place = _mass(patches, low, high, x, np.abs(distance) < 0.5 * HALF_MM)
        distance, crooked, slope = _from_curve(place, x, t)
    low, high = _levels(patches, distance)
    contrast = np.abs(high - low)[:, 0, 0]
    good = (contrast > CONTRAST_HU) & (crooked < CROOKED_MM) & (slope < SLOPE)
    for side in (distance < -PLATEAU_MM, distance > PLATEAU_MM):
        side = side & (np.abs(distance) < HALF_MM)
        uneven = np.sqrt(_mean_over((patches - _mean_over(patches, side)) ** 2, side))[:, 0, 0]
        good &= uneven < UNEVEN * contrast
    return distance * sign, good


def _mass(
    patches: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    x: NDArray[np.float64],
    within: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """[edge, along]: where a sharp step would stand in each line, from the values `within`, which are one run."""
    share = np.where(within, (high - patches) / (high - low), 0.0)
    step = x[1] - x[0]
    first = x[np.argmax(within, axis=1)] - 0.5 * step
    return np.asarray(first + share.sum(axis=1) * step)


def _from_curve(
    place: NDArray[np.float64], x: NDArray[np.float64], t: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Distances [edge, across, along] from the quadratic through the places, how far these lie off it, its slope."""
    basis = np.stack([np.ones_like(t), t, t * t], axis=1)
    factors = place @ np.linalg.pinv(basis).T
    curve = factors @ basis.T
    steepness = factors[:, 1, None] + 2.0 * factors[:, 2, None] * t
    distance = (x[:, None] - curve[:, None]) / np.sqrt(1.0 + steepness[:, None] ** 2)
    return distance, np.sqrt(np.mean((place - curve) ** 2, axis=1)), np.abs(steepness).max(axis=1)


def _levels(
    patches: NDArray[np.float64], distance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[edge, 1, 1] each: the plateaus before and behind the edge."""
    near = np.abs(distance) < HALF_MM
    return (
        _mean_over(patches, near & (distance < -PLATEAU_MM)),
        _mean_over(patches, near & (distance > PLATEAU_MM)),
    )


def _mean_over(patches: NDArray[np.float64], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[edge, 1, 1]; NaN where there is nothing."""
    count = where.sum(axis=(1, 2), keepdims=True)
    total = np.where(where, patches, 0.0).sum(axis=(1, 2), keepdims=True)
    mean: NDArray[np.float64] = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean
