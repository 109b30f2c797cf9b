"""Means, deviations and correlations of values that come piece by piece, as if they had come at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch


class Running:
    """Means and products of deviations of `streams` values each that belong together, one stream or two.

    Pieces are joined by the pairwise update of Chan, Golub & LeVeque 1983: no sum of squares that could cancel.
    """

    def __init__(self, streams: int = 1) -> None:
        self.count = 0
        self._mean = np.zeros(streams)
        self._products = np.zeros((streams, streams))
        self._limits = np.full((2, streams), [[np.inf], [-np.inf]])

    def add(self, *streams: NDArray[np.floating[Any]]) -> None:
        """More values: an array of any shape for each stream, all of one size, which may be 0."""
        values = np.stack([np.asarray(stream, np.float64).ravel() for stream in streams])
        more = values.shape[1]
        if more == 0:
            return
        self._limits[0] = np.minimum(self._limits[0], values.min(axis=1))
        self._limits[1] = np.maximum(self._limits[1], values.max(axis=1))
        mean, total = values.mean(axis=1), self.count + more
        apart = mean - self._mean
        values -= mean[:, None]
        self._products += values @ values.T + np.outer(apart, apart) * (self.count * more / total)
        self._mean += apart * (more / total)
        self.count = total

    @property
    def mean(self) -> float:
        """Of the first stream; NaN where no value came."""
        return float(self._mean[0]) if self.count else np.nan

    @property
    def sd(self) -> float:
        """Of the first stream, divided by the count and not by one less; NaN where no value came."""
        return float(np.sqrt(self._products[0, 0] / self.count)) if self.count else np.nan

    @property
    def correlation(self) -> float:
        """Pearson's of the first two streams, -1 to 1; NaN where one of them is constant or no value came."""
        sd = np.sqrt(self._products.diagonal())
        # rounding leaves a constant deviations that are not quite 0, so its limits are asked as well
        if (self._limits[0] >= self._limits[1]).any() or not sd.all():
            return np.nan
        return float(np.clip(self._products[0, 1] / sd[0] / sd[1], -1.0, 1.0))


def pieces(*arrays: NDArray[Any]) -> Iterator[slice]:
    """Slices of the first axis of arrays of one [*space], whose memory is given back after each."""
    for piece in scratch.chunks(arrays[0].shape, 0):
        yield piece
        scratch.release(*arrays)
