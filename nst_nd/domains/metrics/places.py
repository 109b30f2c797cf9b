"""Where things of known place are: voxels by their distance from a point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd.sample import Sample


def near(
    sample: Sample, centre: Sequence[float], reach_mm: float, across: slice = slice(None)
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Distances in mm and values, [n] each, of the first channel's voxels no farther from a point than `reach_mm`.

    centre: in voxels, fractions allowed, along the first axes: all three give a ball, (i, j) the cylinder through all
    slices `across`. Nothing where the point is that far outside.
    """
    axes, spacing = len(centre), sample.grid.spacing
    cut = []
    for middle, mm, n in zip(centre, spacing, sample.shape, strict=False):
        start = max(0, int(np.floor(middle - reach_mm / mm)))
        cut.append(slice(start, max(start, min(n, int(np.ceil(middle + reach_mm / mm)) + 1))))
    where: tuple[slice, ...] = (*cut, *(across for _ in sample.shape[axes:]))
    values = sample.data[0][where]
    squares = np.zeros(values.shape[:axes])
    for axis, (middle, mm, one) in enumerate(zip(centre, spacing, cut, strict=False)):
        along = ((np.arange(one.start, one.stop) - middle) * mm) ** 2
        squares += along.reshape([-1 if a == axis else 1 for a in range(axes)])
    distance = np.sqrt(squares).reshape(values.shape[:axes] + (1,) * (values.ndim - axes))
    distance = np.broadcast_to(distance, values.shape)
    inside = distance <= reach_mm
    return distance[inside], values[inside]
