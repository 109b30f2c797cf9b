"""What an ECG's rest is like beside its spectrum: amplitudes and autocorrelation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from nst_nd.sample import Sample

# of amplitudes that are compared; the ends are single samples
QUANTILES = np.linspace(0.005, 0.995, 199)
# lags that are compared, in s
LAGS_S = np.arange(0.005, 0.5, 0.005)
# fewer samples say nothing
FEWEST = 200


@dataclass(frozen=True)
class Shape:
    """Means over leads. kurtosis: 0 for Gaussian noise; amplitudes: in mV, at QUANTILES; correlation: at LAGS_S."""

    skewness: float
    kurtosis: float
    amplitudes: Float[NDArray[np.float64], " quantile"]
    correlation: Float[NDArray[np.float64], " lag"]


def shape_of(rest: Sample) -> Shape | None:
    """Of what is left without beats, each lead about its median, where there are no gaps; None: no lead has enough."""
    found = []
    for n, lead in enumerate(rest.data.astype(np.float64)):
        there = np.ones(lead.shape, bool) if rest.gaps is None else ~rest.gaps[n]
        if np.count_nonzero(there) >= FEWEST and np.ptp(lead[there]) > 0:
            found.append(_lead(lead - np.median(lead[there]), there, rest.grid.rate or 1.0))
    if not found:
        return None
    return Shape(*(np.mean(parts, axis=0) for parts in zip(*found, strict=True)))


def distances(ours: Shape | None, theirs: Shape | None) -> tuple[float, float]:
    """Mean absolute difference of amplitudes in mV, that of two histograms as earth moves (Wasserstein-1), and the
    root mean square difference of autocorrelations. NaN where one is missing."""
    if ours is None or theirs is None:
        return np.nan, np.nan
    moved = float(np.mean(np.abs(ours.amplitudes - theirs.amplitudes)))
    return moved, float(np.sqrt(np.mean((ours.correlation - theirs.correlation) ** 2)))


def _lead(
    x: NDArray[np.float64], there: NDArray[np.bool_], rate: float
) -> tuple[float, float, NDArray[np.float64], NDArray[np.float64]]:
    from scipy.stats import kurtosis, skew

    known = x[there]
    correlation = _correlation(np.where(there, x - known.mean(), 0.0), there)
    at = np.interp(LAGS_S * rate, np.arange(len(correlation)), correlation)
    return float(skew(known)), float(kurtosis(known)), np.quantile(known, QUANTILES), at


def _correlation(x: NDArray[np.float64], there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of pairs of samples that are both there, by lag; 0 where there are none."""
    size = 2 * len(x)
    waves, places = np.fft.rfft(x, size), np.fft.rfft(there.astype(np.float64), size)
    sums = np.fft.irfft(np.abs(waves) ** 2)[: len(x)]
    pairs = np.rint(np.fft.irfft(np.abs(places) ** 2)[: len(x)])
    mean = np.divide(sums, pairs, out=np.zeros_like(sums), where=pairs > 0)
    found: NDArray[np.float64] = mean / mean[0]
    return found
