"""Metrics of CT in HU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter

from nst_nd.sample import Sample

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
    outside = (content.data < PROTECTED_HU[0]) | (content.data > PROTECTED_HU[1])
    return {
        "noise_sd_before": _noise_sd(content, where),
        "noise_sd_after": _noise_sd(result, where),
        "noise_sd_style": _noise_sd(style, there),
        "hu_bias_soft": _mean(result.data[0][where] - content.data[0][where].astype(np.float64)),
        "protected_changed": float(np.count_nonzero(result.data[outside] != content.data[outside])),
    }


def _in_plane(sample: Sample, mm: float) -> list[float]:
    return [mm / sample.grid.spacing[0], mm / sample.grid.spacing[1], 0.0]


def _soft_tissue(sample: Sample) -> NDArray[np.bool_]:
    low = gaussian_filter(sample.data[0], _in_plane(sample, SMOOTHING_MM))
    inside = (low > SOFT_HU[0]) & (low < SOFT_HU[1])
    eroded: NDArray[np.bool_] = binary_erosion(inside, np.ones((3, 3, 1), dtype=bool), iterations=EROSION)
    return eroded


def _noise_sd(sample: Sample, where: NDArray[np.bool_]) -> float:
    data = sample.data[0].astype(np.float64)
    noise = (data - gaussian_filter(data, _in_plane(sample, SMOOTHING_MM)))[where]
    return float(noise.std()) if noise.size else np.nan


def _mean(values: NDArray[np.floating[Any]]) -> float:
    return float(values.mean()) if values.size else np.nan
