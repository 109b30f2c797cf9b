"""Metrics of CT in HU, of which a few planes at a time are in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.domains.filters import eroded, gaussian
from nst_nd.domains.metrics.running import Running, pieces
from nst_nd.sample import Data, Sample

SOFT_HU = (-20.0, 100.0)
PROTECTED_HU = (-990.0, 400.0)
SMOOTHING_MM = 2.0
EROSION = 3


def ct_metrics(content: Sample, style: Sample, result: Sample) -> dict[str, float]:
    """noise_sd_before, _after, _style: standard deviation in HU of what a 2 mm Gaussian takes away, in soft tissue.

    hu_bias_soft: mean of result less content there. protected_changed: voxels of the content below -990 or above 400
    HU whose value is another one now. NaN where there is no soft tissue.
    """
    where, there = (_soft_tissue(s) for s in (content, style))
    return {
        "noise_sd_before": _noise_sd(content, where),
        "noise_sd_after": _noise_sd(result, where),
        "noise_sd_style": _noise_sd(style, there),
        "hu_bias_soft": _bias(content.data[0], result.data[0], where),
        "protected_changed": float(
            sum(_protected_changed(*pair) for pair in zip(content.data, result.data, strict=True))
        ),
    }


def _in_plane(sample: Sample, mm: float) -> list[float]:
    return [mm / sample.grid.spacing[0], mm / sample.grid.spacing[1], 0.0]


def _soft_tissue(sample: Sample) -> NDArray[np.bool_]:
    """[*space], away from its border."""
    low = gaussian(sample.data[0], _in_plane(sample, SMOOTHING_MM), sample.data.dtype)
    inside: NDArray[np.bool_] = scratch.empty(low.shape, np.bool_)
    for i in pieces(low, inside):
        inside[i] = (low[i] > SOFT_HU[0]) & (low[i] < SOFT_HU[1])
    return eroded(inside, (3, 3, 1), EROSION, border=False)


def _noise_sd(sample: Sample, where: NDArray[np.bool_]) -> float:
    data = sample.data[0]
    low = gaussian(data, _in_plane(sample, SMOOTHING_MM), np.float64)
    noise = Running()
    for i in pieces(low, data, where):
        noise.add((data[i] - low[i])[where[i]])
    return noise.sd


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
