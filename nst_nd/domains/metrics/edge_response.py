"""Edge response of CT: the task transfer function of AAPM TG-233, from an edge profile finer than the voxels.

    TTF(f) = |FT(d ESF / dr)|, 1 at f = 0

ESF: mean value by distance from an edge, in bins of BIN_MM. f50 and f10: the lowest frequencies where it is 0.5 and
0.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from nst_nd.domains.metrics.places import near
from nst_nd.sample import Sample

BIN_MM = 0.1
FREQUENCIES_PER_MM = np.arange(0.0, 1.5, 0.005)


@dataclass(frozen=True)
class EdgeResponse:
    """transfer: at FREQUENCIES_PER_MM, 1 at 0. contrast: in the values' unit. NaN where there was no edge."""

    transfer: Float[NDArray[np.float64], " frequency"]
    contrast: float

    @property
    def f50(self) -> float:
        """Per mm; NaN where the transfer never falls to 0.5."""
        return self._falls_to(0.5)

    @property
    def f10(self) -> float:
        """Per mm; NaN where the transfer never falls to 0.1."""
        return self._falls_to(0.1)

    def _falls_to(self, level: float) -> float:
        below = np.flatnonzero(self.transfer <= level)
        if not len(below) or below[0] == 0:
            return np.nan
        after = int(below[0])
        pair = slice(after - 1, after + 1)
        return float(np.interp(-level, -self.transfer[pair], FREQUENCIES_PER_MM[pair]))


def edge_response(
    sample: Sample, centre: Sequence[float], radius_mm: float, *, half_mm: float = 8.0, across: slice = slice(None)
) -> EdgeResponse:
    """Of the border of a body of known place: radius, centre and everything within `half_mm` of its border known.

    centre: in voxels, fractions allowed: (i, j) for a cylinder along the third axis, in the slices `across`; (i, j, k)
    for a ball, whose response is one of plane and slices together. Nothing else may lie within half_mm of the border,
    and half_mm is at most the radius. The radius should be several times the blur: the border counts as straight.
    contrast: of the body to what is round it. NaN where the profile has gaps, so where the body is not in the volume.
    """
    half = min(half_mm, radius_mm)
    distance, values = near(sample, centre, radius_mm + half, across)
    profile = Profile(half)
    profile.add(radius_mm - distance, values)
    return profile.response()


class Profile:
    """Mean values by distance from an edge, from -half_mm to half_mm."""

    def __init__(self, half_mm: float) -> None:
        self._half = round(half_mm / BIN_MM)
        self._sum, self._count = np.zeros(2 * self._half), np.zeros(2 * self._half)

    def add(self, distance: NDArray[np.float64], values: NDArray[np.floating[Any]]) -> None:
        """More values [n] and their distances in mm [n]; those beyond half_mm do not count."""
        bins = np.floor(distance / BIN_MM).astype(int) + self._half
        within = (bins >= 0) & (bins < len(self._sum))
        self._sum += np.bincount(bins[within], values[within], len(self._sum))
        self._count += np.bincount(bins[within], minlength=len(self._sum))

    def response(self) -> EdgeResponse:
        """NaN where bins are empty or there is no contrast."""
        nothing = EdgeResponse(np.full(len(FREQUENCIES_PER_MM), np.nan), np.nan)
        filled = self._count > 0
        # where voxels lie on a lattice along the border, single bins stay empty
        if np.diff(np.flatnonzero(np.concatenate([[True], filled, [True]]))).max() > 5:
            return nothing
        at = np.arange(len(filled))
        edge = np.interp(at, at[filled], self._sum[filled] / self._count[filled])
        outer = max(1, len(edge) // 8)
        contrast = float(edge[-outer:].mean() - edge[:outer].mean())
        position = (np.arange(len(edge) - 1) + 1 - self._half) * BIN_MM
        # what noise leaves far from the edge is kept out; a window that fell at once would make a wide blur narrower
        outside = np.clip(2.0 * np.abs(position) / (self._half * BIN_MM) - 1.0, 0.0, 1.0)
        line = np.diff(edge) * np.cos(0.5 * np.pi * outside) ** 2
        waves = np.exp(-2j * np.pi * FREQUENCIES_PER_MM[:, None] * position)
        # the mean over a bin and the difference of two of them both multiply by sinc(f BIN_MM)
        transfer = np.abs(waves @ line) / np.sinc(FREQUENCIES_PER_MM * BIN_MM) ** 2
        return EdgeResponse(transfer / transfer[0], contrast) if transfer[0] > 0 else nothing
