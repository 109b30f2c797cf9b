"""Metrics of CT in HU; large arrays are mapped, and a few planes of them at a time are in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.domains.filters import eroded, gaussian
from nst_nd.domains.metrics.content_edges import content_edges, edge_transfer
from nst_nd.domains.metrics.noise import gram_distance, noise_at, quietest, soft_squares, spectrum_distance
from nst_nd.domains.metrics.running import Running, pieces
from nst_nd.domains.metrics.similarity import psnr, ssim
from nst_nd.domains.metrics.spectrum3d import common_depths, quiet_boxes, stack_distance, stack_noise_at
from nst_nd.domains.selection import percentiles
from nst_nd.sample import Data, Sample

TISSUES_HU = {"lung": (-950.0, -500.0), "fat": (-130.0, -50.0), "soft": (-20.0, 100.0)}
PROTECTED_HU = (-990.0, 400.0)
BODY_HU = -300.0
SMOOTHING_MM = 2.0
DRIFT_MM = 5.0
EDGES_MM = 1.5
UNIFORM_HU = 4.0


_EACH = (
    *("noise_sd", "noise_correlation", "nps_mean_frequency", "nps_peak_frequency"),
    *("noise_slice_correlation", "noise_across_correlation", "edge_f50"),
)
_FAR = ("nps_distance", "noise_gram_distance", "nps3d_distance")
CT_METRICS = (
    *(f"{name}_{when}" for name in _EACH for when in ("before", "after", "style")),
    *(f"{name}_{when}" for name in _FAR for when in ("before", "after")),
    *(f"hu_bias_{tissue}" for tissue in TISSUES_HU),
    *(f"uniform_bias_{tissue}" for tissue in TISSUES_HU),
    *("nps_worse", "hu_drift", "false_edges", "ssim", "psnr", "protected_changed"),
)


def ct_metrics(content: Sample, style: Sample, result: Sample) -> dict[str, float]:
    """HU; NaN where there is no such tissue. Noise is measured in squares of uniform soft tissue, see noise.py.

    noise_sd, nps_distance (dB to the style's noise power spectrum), noise_gram_distance (of the squares, by a network
    that nobody optimised), noise_correlation (at 0.6 mm in the plane), nps_mean_frequency and nps_peak_frequency (per
    mm): before, after and of the style. nps_worse: by how many dB nps_distance has grown, 0 if it has not.
    nps3d_distance (dB, of the spectrum in the plane and across slices), noise_slice_correlation (of neighbouring
    slices), noise_across_correlation (3 mm across slices): see spectrum3d.py.
    edge_f50: per mm, where the transfer of strong edges falls to a half: relative, see content_edges.py.
    hu_bias_lung, _fat, _soft: mean of result less content, away from the tissue's border. uniform_bias_*: the same
    where the content is uniform, as in false_edges. hu_drift: 99th percentile inside of the body of what the change
    moves at low frequencies. false_edges: share of uniform soft tissue of the content where the result's gradient
    exceeds the 99.9th percentile of the content's, over the larger of the same share of the content and of the
    style. ssim, psnr (dB): of result and content in -1000 to 400 HU, data range 1400, slice by slice, see
    similarity.py. protected_changed: voxels of the content below -990 or above 400 HU whose value is another one
    now.
    """
    found = _noise(content, style, result) | _edge_f50(content, style, result)
    found["nps_worse"] = _growth(found["nps_distance_before"], found["nps_distance_after"])
    for tissue, limits in TISSUES_HU.items():
        found[f"hu_bias_{tissue}"] = _bias(content.data[0], result.data[0], _tissue(content, limits))
        found[f"uniform_bias_{tissue}"] = _bias(content.data[0], result.data[0], _uniform(content, limits))
    found["hu_drift"] = _drift(content, result)
    found["false_edges"] = _false_edges(content, style, result)
    found["ssim"] = ssim(content.data[0], result.data[0])
    found["psnr"] = psnr(content.data[0], result.data[0])
    changed = sum(_protected_changed(*pair) for pair in zip(content.data, result.data, strict=True))
    return found | {"protected_changed": float(changed)}


def _noise(content: Sample, style: Sample, result: Sample) -> dict[str, float]:
    """In squares and in boxes; those of the content serve the result."""
    ours, theirs = soft_squares(content), soft_squares(style)
    squares = [corners[quietest(deviations)] for corners, deviations in (ours, theirs)]
    depths = common_depths(content, style)
    boxes = [quiet_boxes(*pair, depth) for pair, depth in zip((ours, theirs), depths, strict=True)]
    where = (("style", style, 1), ("before", content, 0), ("after", result, 0))
    found: dict[str, float] = {}
    for name, sample, own in where:
        flat, deep = noise_at(sample, squares[own]), stack_noise_at(sample, boxes[own], depths[own])
        found[f"noise_sd_{name}"] = flat.sd
        found[f"noise_correlation_{name}"] = flat.correlation
        found[f"nps_mean_frequency_{name}"] = flat.mean_frequency
        found[f"nps_peak_frequency_{name}"] = flat.peak_frequency
        found[f"noise_slice_correlation_{name}"] = deep.slice_correlation
        found[f"noise_across_correlation_{name}"] = deep.lag_correlation
        if name == "style":
            flat_goal, deep_goal = flat, deep
        else:
            found[f"nps_distance_{name}"] = spectrum_distance(flat, flat_goal)
            found[f"noise_gram_distance_{name}"] = gram_distance(flat, flat_goal)
            found[f"nps3d_distance_{name}"] = stack_distance(deep, deep_goal)
    return found


def _edge_f50(content: Sample, style: Sample, result: Sample) -> dict[str, float]:
    before, after = edge_transfer(content, content_edges(content), result)
    (goal,) = edge_transfer(style, content_edges(style))
    return {"edge_f50_before": before.f50, "edge_f50_after": after.f50, "edge_f50_style": goal.f50}


def _growth(before: float, after: float) -> float:
    """By how much a distance has grown, 0 if it has not; NaN where one of them is."""
    if np.isnan(before) or np.isnan(after):
        return np.nan
    return after - before if after > before else 0.0


def _in_plane(sample: Sample, mm: float) -> list[float]:
    return [mm / sample.grid.spacing[0], mm / sample.grid.spacing[1], 0.0]


def _tissue(sample: Sample, limits: tuple[float, float]) -> NDArray[np.bool_]:
    """[*space]: values within these limits after smoothing in the plane, a voxel off the tissue's border there."""
    low = gaussian(sample.data[0], _in_plane(sample, SMOOTHING_MM), sample.data.dtype)
    inside: NDArray[np.bool_] = scratch.empty(low.shape, np.bool_)
    for i in pieces(low, inside):
        inside[i] = (low[i] > limits[0]) & (low[i] < limits[1])
    return eroded(inside, (3, 3, 1), 1, border=True)


def _drift(content: Sample, result: Sample) -> float:
    """99th percentile in the body of |low-pass of the change|: a Gaussian of DRIFT_MM in plane, half a slice across."""
    before, after = content.data[0], result.data[0]
    change: NDArray[np.float32] = scratch.empty(content.shape, np.float32)
    body: NDArray[np.bool_] = scratch.empty(content.shape, np.bool_)
    for i in pieces(change, body, before, after):
        change[i] = after[i] - before[i].astype(np.float64)
        body[i] = before[i] > BODY_HU
    low = gaussian(change, [*_in_plane(content, DRIFT_MM)[:2], 0.5], np.float32)
    values = _gathered(low, body, lambda i: np.abs(low[i]))
    return float(percentiles(values, (99.0,))[0]) if values.size else np.nan


def _gathered(
    data: NDArray[np.floating[Any]], where: NDArray[np.bool_], function: Callable[[slice], NDArray[np.floating[Any]]]
) -> NDArray[np.float32]:
    """[1, n]: the values of a function of pieces of `data` at the voxels `where`."""
    values: NDArray[np.float32] = scratch.empty((1, int(np.count_nonzero(where))), np.float32)
    done = 0
    for i in pieces(data, where):
        here = function(i)[where[i]]
        values[0, done : done + here.size] = here
        done += here.size
        scratch.release(values)
    return values


def _false_edges(content: Sample, style: Sample, result: Sample) -> float:
    """See ct_metrics; NaN without uniform soft tissue in the content."""
    where = _uniform(content, TISSUES_HU["soft"])
    if not where.any():
        return np.nan
    limit = percentiles(_edges(content, where), (99.9,))[0]
    own, after = (_share_above(_edges(s, where), limit) for s in (content, result))
    allowed = max(own, _share_above(_edges(style, _uniform(style, TISSUES_HU["soft"])), limit))
    return after / allowed if allowed > 0 else (0.0 if after == 0 else np.inf)


def _share_above(values: NDArray[np.floating[Any]], limit: float) -> float:
    """Of [1, n]; 0 where n is 0."""
    above = sum(np.count_nonzero(values[:, piece] > limit) for piece in scratch.chunks(values, 1))
    return above / values.size if values.size else 0.0


def _uniform(sample: Sample, limits: tuple[float, float]) -> NDArray[np.bool_]:
    """[*space]: tissue whose slope in the plane, at SMOOTHING_MM, stays below UNIFORM_HU per voxel."""
    inside = _tissue(sample, limits)
    low = gaussian(sample.data[0], _in_plane(sample, SMOOTHING_MM), np.float32)
    for i in pieces(low, inside):
        inside[i] &= _slope(low, i) < UNIFORM_HU
    return inside


def _edges(sample: Sample, where: NDArray[np.bool_]) -> NDArray[np.floating[Any]]:
    """[1, n]: slopes in the plane at EDGES_MM, HU per voxel, of the voxels `where`."""
    low = gaussian(sample.data[0], _in_plane(sample, EDGES_MM), np.float32)
    return _gathered(low, where, lambda i: _slope(low, i))


def _slope(data: NDArray[np.floating[Any]], piece: slice) -> NDArray[np.floating[Any]]:
    """Magnitude of the gradient along the first two axes of [i, j, k], at these i."""
    start = max(0, piece.start - 1)
    near = data[start : piece.stop + 1]
    inner = slice(piece.start - start, piece.stop - start)
    along = [np.gradient(near, axis=a)[inner] if near.shape[a] > 1 else np.zeros(1) for a in (0, 1)]
    slope: NDArray[np.floating[Any]] = np.hypot(*along)
    return slope


def _bias(before: Data, after: Data, where: NDArray[np.bool_]) -> float:
    change = Running()
    for i in pieces(before, after, where):
        change.add(after[i][where[i]] - before[i][where[i]].astype(np.float64))
    return change.mean


def _protected_changed(before: Data, after: Data) -> int:
    """Voxels of one channel."""
    count = 0
    for i in pieces(before, after):
        outside = (before[i] < PROTECTED_HU[0]) | (before[i] > PROTECTED_HU[1])
        count += int(np.count_nonzero(outside & (before[i] != after[i])))
    return count
