"""Noise power spectra of CT, in the plane and from slice to slice, in squares of uniform soft tissue.

Spectra are those of squares in the plane with their covariance from slice to slice, at every lag that has squares: a
three-dimensional spectrum by Blackman & Tukey (1958).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.domains.metrics.noise import EDGE, residuals

Corners = Int[NDArray[np.intp], "_ 3"]
# positions of a filter in the plane
FINE = 2 * EDGE
# slices apart at which covariance is still looked for, in mm, and never more than so many
REACH_MM, MOST_LAGS = 6.0, 8
# frequencies below are anatomy's, and locked: gain 1 and no noise; from FULL on everything is done
NONE_PER_MM, FULL_PER_MM = 0.08, 0.12


@dataclass(frozen=True)
class Spectrum:
    """Noise of a scan. power: [lag, EDGE, EDGE], mean F_k conj(F_k+lag) / (EDGE dx EDGE dy), HU^2 mm^2 per lag.

    step: mm in the plane (two axes) and from slice to slice.
    """

    power: Float[NDArray[np.float64], "lag u v"]
    step: tuple[float, float, float]

    def like(self, other: Spectrum) -> Float[NDArray[np.float64], "lag u v"]:
        """These powers at the lags (in mm) and frequencies (per mm) of another; 0 beyond what was measured."""
        from scipy.interpolate import RegularGridInterpolator

        wrapped = np.pad(np.fft.fftshift(self.power, axes=(1, 2)), ((0, 0), (0, 1), (0, 1)), mode="wrap")
        axes = [np.arange(-EDGE // 2, EDGE // 2 + 1) / (EDGE * mm) for mm in self.step[:2]]
        lags = np.arange(len(wrapped) + 1) * self.step[2]
        padded = np.concatenate([wrapped, np.zeros_like(wrapped[:1])])
        at = RegularGridInterpolator((lags, *axes), padded, bounds_error=False, fill_value=0.0)
        wanted = [np.arange(len(other.power)) * other.step[2], *(np.fft.fftfreq(EDGE, mm) for mm in other.step[:2])]
        found: NDArray[np.float64] = at(np.stack(np.meshgrid(*wanted, indexing="ij"), axis=-1))
        return found


def spectrum_at(
    data: NDArray[Any], corners: Corners, step: Sequence[float], plus: NDArray[np.float32] | None = None
) -> Spectrum:
    """The spectrum of noise of [i, j, k] in these squares, a quadratic surface taken off each.

    corners: first voxels. step: mm per axis. plus: [i, j, k], counted as added to data.
    """
    window = np.outer(np.hanning(EDGE + 2)[1:-1], np.hanning(EDGE + 2)[1:-1])
    window /= np.sqrt(np.mean(window**2))
    lags = min(MOST_LAGS, 1 + max(1, round(REACH_MM / step[2])), data.shape[2])
    total, count, variance = np.zeros((lags, EDGE, EDGE)), np.zeros(lags), 0.0
    order = np.lexsort((corners[:, 2], corners[:, 1], corners[:, 0]))
    corners = corners[order]
    starts = np.flatnonzero(np.any(np.diff(corners[:, :2], axis=0, prepend=-1), axis=1))
    for column in np.split(corners, starts[1:]):  # one place in the plane, all of its slices
        squares = _squares(data, column)
        if plus is not None:
            squares = squares + _squares(plus, column)
        noise = residuals(squares)
        variance += (noise**2).sum()
        waves = np.fft.fft2(noise * window)
        for lag in range(lags):
            near = np.flatnonzero(np.isin(column[:, 2] + lag, column[:, 2]))
            far = np.searchsorted(column[:, 2], column[near, 2] + lag)
            total[lag] += (waves[near] * waves[far].conj()).real.sum(axis=0)
            count[lag] += len(near)
        scratch.release(data, *(() if plus is None else (plus,)))
    # the window gives the shape without leakage, and looks at the middle of a square; all of it says how much there is
    much = variance * EDGE**2 / max(float(total[0].sum()), 1e-12)
    power = total * much / np.maximum(count, 1)[:, None, None] * (step[0] * step[1] / EDGE**2)
    return Spectrum(_smoothed(power), (step[0], step[1], step[2]))


def _squares(data: NDArray[Any], corners: NDArray[np.intp]) -> NDArray[np.floating[Any]]:
    return np.stack([data[i : i + EDGE, j : j + EDGE, k] for i, j, k in corners])


def _smoothed(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over neighbouring frequencies: a periodogram's own scatter is as large as itself."""
    from scipy.ndimage import gaussian_filter

    smooth: NDArray[np.float64] = gaussian_filter(power, (0.0, 0.7, 0.7), mode="wrap")
    return smooth


def spectrum3(power: Float[NDArray[np.float64], "lag u v"]) -> Float[NDArray[np.float64], "fine_u fine_v w"]:
    """[FINE, FINE, depth], HU^2 mm^2: spectrum over lags as well, which taper to 0; never below 0.

    Finer than the squares can tell apart, so that a filter may begin sharply.
    """
    lags = len(power)
    taper = 1.0 - np.arange(lags) / lags  # Bartlett's: its transform is nowhere negative
    tapered = power * taper[:, None, None]
    whole = np.moveaxis(np.concatenate([tapered, tapered[:0:-1]]), 0, -1)
    covariance = np.fft.fftshift(np.fft.ifft2(whole, axes=(0, 1)), axes=(0, 1))
    margin = (FINE - EDGE) // 2
    covariance = np.pad(covariance, ((margin, margin), (margin, margin), (0, 0)))
    fine = np.fft.fftn(np.fft.ifftshift(covariance, axes=(0, 1))).real
    found: NDArray[np.float64] = np.maximum(fine, 0.0)
    return found


def ramp_of(spectrum: Spectrum) -> NDArray[np.float64]:
    """[FINE, FINE, 1]: 0 where frequencies are anatomy's, 1 where they are noise's."""
    u, v = (np.fft.fftfreq(FINE, mm) for mm in spectrum.step[:2])
    f = np.hypot(u[:, None], v[None, :])
    rise = np.clip((f - NONE_PER_MM) / (FULL_PER_MM - NONE_PER_MM), 0.0, 1.0)
    ramp: NDArray[np.float64] = (0.5 - 0.5 * np.cos(np.pi * rise))[..., None]
    return ramp
