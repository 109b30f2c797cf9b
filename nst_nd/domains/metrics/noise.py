"""Noise in the uniform soft tissue of CT slices: power spectrum, deviation, correlation, texture.

Looked at are squares of EDGE x EDGE voxels of a slice (the first two axes), a quadratic surface taken off each. What is
defined here follows AAPM TG-233 and ICRU 87 where they say something; windows and limits are constants below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.domains.filters import eroded, gaussian
from nst_nd.domains.metrics.running import pieces
from nst_nd.features.extractor import Extractor
from nst_nd.features.random_conv import random_network
from nst_nd.features.statistics import Moments, gram_of
from nst_nd.sample import Sample

EDGE = 32
STEP = 16
SOFT_HU = (-50.0, 120.0)
# noise must not decide which voxels are soft tissue
SMOOTHING_MM = 2.0
INSIDE = 0.98
# the share of the squares, the quietest ones, in which there is noise alone
QUIET = 0.7
# edges of the bands; the last one of that width below 0.75 per mm ends at 0.72
BANDS_PER_MM = np.arange(0.12, 0.75, 0.04)
LAG_MM = 0.6
# the network that looks at noise: no preset has it
SEED, WIDTHS, CHANNELS = 104729, (3, 5), (16, 32)
TAPS = ("relu1", "relu2")
UNIT_HU = 10.0
# squares that the network is shown, and how many of them at a time
SHOWN, TOGETHER = 400, 32
# squares in memory at a time: 2 MiB, and a few times that while they are transformed
AT_ONCE = 256


@dataclass(frozen=True)
class Noise:
    """What the squares of a scan have in common.

    squares: their number. sd: HU. spectrum: HU^2 mm^2 per band of BANDS_PER_MM, NaN beyond what the voxels can show.
    correlation: at LAG_MM in the plane, 1 at 0. grams: of the noise in units of UNIT_HU, by tap.
    """

    squares: int
    sd: float
    spectrum: Float[NDArray[np.float64], " band"]
    correlation: float
    grams: dict[str, torch.Tensor]

    @property
    def mean_frequency(self) -> float:
        """sum(f NPS) / sum(NPS) over the bands, per mm."""
        centres, seen = (BANDS_PER_MM[1:] + BANDS_PER_MM[:-1]) / 2.0, np.isfinite(self.spectrum)
        total = self.spectrum[seen].sum()
        return float((centres[seen] * self.spectrum[seen]).sum() / total) if total > 0 else np.nan

    @property
    def peak_frequency(self) -> float:
        """The middle of the strongest band, per mm."""
        if not np.isfinite(self.spectrum).any():
            return np.nan
        strongest = int(np.nanargmax(self.spectrum))
        return float(BANDS_PER_MM[strongest : strongest + 2].mean())


def spectrum_distance(a: Noise, b: Noise) -> float:
    """Root mean square over the bands that both show of 10 log10(NPS_a / NPS_b), in dB; NaN where there is none.

    A band with power on one side alone is infinitely far.
    """
    both = np.isfinite(a.spectrum) & np.isfinite(b.spectrum)
    if not both.any():
        return np.nan
    ours, theirs = a.spectrum[both], b.spectrum[both]
    if ((ours > 0) != (theirs > 0)).any():
        return np.inf
    heard = ours > 0
    return float(np.sqrt(np.sum((10.0 * np.log10(ours[heard] / theirs[heard])) ** 2) / len(ours)))


def gram_distance(a: Noise, b: Noise) -> float:
    """Mean over the taps of ||G_a - G_b|| / ||G_b||, Frobenius; NaN where one of them has no squares."""
    if not (a.grams and b.grams):
        return np.nan
    return float(sum((a.grams[t] - b.grams[t]).norm() / b.grams[t].norm() for t in TAPS) / len(TAPS))


def soft_squares(
    sample: Sample, limits: tuple[float, float] = SOFT_HU
) -> tuple[Int[NDArray[np.intp], "square 3"], Float[NDArray[np.float64], " square"]]:
    """First voxel (i, j, k) of each square in uniform soft tissue, and its deviation in HU; perhaps none.

    Candidates stand every STEP voxels; INSIDE of their voxels lie in soft tissue (SOFT_HU after a Gaussian of
    SMOOTHING_MM in the plane, eroded by two voxels). limits: HU of another tissue in its place.
    """
    data = sample.data[0]
    if data.shape[0] < EDGE or data.shape[1] < EDGE:
        return np.zeros((0, 3), np.intp), np.zeros(0)
    inside = _inside(sample, limits)
    corners: list[NDArray[np.intp]] = []
    deviations: list[NDArray[np.float64]] = [np.zeros(0)]
    for i in range(0, data.shape[0] - EDGE + 1, STEP):
        share = _tiled(inside[i : i + EDGE]).mean(axis=(2, 3))
        j, k = np.nonzero(share >= INSIDE)
        corners.append(np.stack([np.full_like(j, i), j * STEP, k], axis=1))
        deviations += [residuals(squares).std(axis=(1, 2)) for squares in _squares(sample, corners[-1])]
        scratch.release(data, inside)
    return np.concatenate(corners), np.concatenate(deviations)


def quietest(deviations: Float[NDArray[np.float64], " n"]) -> Int[NDArray[np.intp], " kept"]:
    """Which ones are the QUIET share with the least deviation, in their order: one at least, where there is any."""
    kept = min(len(deviations), max(1, round(QUIET * len(deviations))))
    return np.sort(np.argsort(deviations, kind="stable")[:kept])


def quiet_squares(sample: Sample, limits: tuple[float, float] = SOFT_HU) -> Int[NDArray[np.intp], "square 3"]:
    """First voxel (i, j, k) of the quiet ones of the soft squares: [n, 3], perhaps none. limits: see there."""
    corners, deviations = soft_squares(sample, limits)
    return corners[quietest(deviations)]


def noise_at(sample: Sample, corners: Int[NDArray[np.intp], "square 3"]) -> Noise:
    """The noise of the first channel, HU, in these squares."""
    step = sample.grid.spacing[0], sample.grid.spacing[1]
    power, count = np.zeros((EDGE, EDGE)), 0
    lags = [_neighbours(LAG_MM / mm) for mm in step]
    products = np.zeros((2, 2, 2))  # axis, nearer and farther lag, (product, square)
    shown: list[NDArray[np.float64]] = []
    every = max(1, -(-len(corners) // SHOWN))
    for squares in _squares(sample, corners):
        noise = residuals(squares)
        power += (np.abs(np.fft.fft2(noise)) ** 2).sum(axis=0)
        for axis, (near, _) in enumerate(lags):
            for n, lag in enumerate((near, near + 1)):
                products[axis, n] += _lagged(noise, axis + 1, lag)
        first = -count % every
        shown.append(noise[first::every].copy())  # a view would keep all of the squares
        count += len(noise)
    if count == 0:
        return Noise(0, np.nan, np.full(len(BANDS_PER_MM) - 1, np.nan), np.nan, {})
    density = power / count * (step[0] * step[1] / EDGE**2)
    variance = power.sum() / count / EDGE**4
    if variance == 0:
        return Noise(count, 0.0, radial(density, step), np.nan, {})
    each = products[..., 0] / products[..., 1]
    at = [(1.0 - share) * each[axis, 0] + share * each[axis, 1] for axis, (_, share) in enumerate(lags)]
    return Noise(
        count, float(np.sqrt(variance)), radial(density, step), float(np.mean(at)), _grams(np.concatenate(shown))
    )


def _inside(sample: Sample, limits: tuple[float, float]) -> NDArray[np.bool_]:
    """[*space]: tissue between these HU, two voxels away from its border in the plane."""
    sigma = [SMOOTHING_MM / sample.grid.spacing[0], SMOOTHING_MM / sample.grid.spacing[1], 0.0]
    low = gaussian(sample.data[0], sigma, sample.data.dtype)
    inside: NDArray[np.bool_] = scratch.empty(low.shape, np.bool_)
    for i in pieces(low, inside):
        inside[i] = (low[i] > limits[0]) & (low[i] < limits[1])
    return eroded(inside, (3, 3, 1), 2, border=True)


def _tiled(rows: NDArray[Any]) -> NDArray[Any]:
    """[EDGE, J, K] as a view [candidates along J, K, EDGE, EDGE]."""
    windows = np.lib.stride_tricks.sliding_window_view(rows, EDGE, axis=1)[:, ::STEP]
    return windows.transpose(1, 2, 0, 3)


def _squares(sample: Sample, corners: NDArray[np.intp]) -> Iterator[NDArray[np.float64]]:
    """[n, EDGE, EDGE], at most AT_ONCE of a row of candidates, in their order."""
    data = sample.data[0]
    for i in np.unique(corners[:, 0]):
        row = corners[corners[:, 0] == i]
        for start in range(0, len(row), AT_ONCE):
            here = row[start : start + AT_ONCE]
            yield _tiled(data[i : i + EDGE])[here[:, 1] // STEP, here[:, 2]].astype(np.float64)
        scratch.release(data)


def residuals(squares: Float[NDArray[np.floating[Any]], "n i j"]) -> Float[NDArray[np.float64], "n i j"]:
    """Squares [n, EDGE, EDGE] less the quadratic surface that fits each best."""
    x = np.linspace(-1.0, 1.0, EDGE)
    u, v = np.meshgrid(x, x, indexing="ij")
    surfaces = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=-1).reshape(-1, 6)
    basis, _ = np.linalg.qr(surfaces)
    flat = squares.reshape(len(squares), -1).astype(np.float64)
    flat = flat - flat.mean(axis=1, keepdims=True)
    left: NDArray[np.float64] = flat - (flat @ basis) @ basis.T
    return left.reshape(squares.shape)


def radial(density: Float[NDArray[np.float64], "u v"], step: Sequence[float]) -> Float[NDArray[np.float64], " band"]:
    """Mean of a spectrum [EDGE, EDGE] over the rings BANDS_PER_MM, up to the Nyquist frequency of the coarser axis.

    step: mm. Rings that these voxels cannot show are NaN.
    """
    f = np.hypot(*np.meshgrid(*(np.fft.fftfreq(EDGE, mm) for mm in step), indexing="ij"))
    top = 0.5 / max(step)
    found = np.full(len(BANDS_PER_MM) - 1, np.nan)
    for band, (low, high) in enumerate(pairwise(BANDS_PER_MM)):
        ring = (f >= low) & (f < high)
        if high <= top and ring.any():
            found[band] = density[ring].mean()
    return found


def _neighbours(lag: float) -> tuple[int, float]:
    """The whole number of voxels below a lag, and the share of the next one."""
    near = int(np.floor(lag))
    return near, lag - near


def _lagged(noise: NDArray[np.float64], axis: int, lag: int) -> NDArray[np.float64]:
    """Sum of products of values `lag` apart, and the mean of the sums of both their squares."""
    if lag >= EDGE:
        return np.zeros(2)
    a, b = np.take(noise, range(EDGE - lag), axis), np.take(noise, range(lag, EDGE), axis)
    return np.array([(a * b).sum(), 0.5 * ((a * a).sum() + (b * b).sum())])


def _grams(noise: NDArray[np.float64]) -> dict[str, torch.Tensor]:
    """Gram matrices of squares [n, EDGE, EDGE] together, each seen on its own."""
    network = random_network(1, 2, seed=SEED, widths=WIDTHS, channels=CHANNELS).until(TAPS)
    moments: dict[str, Moments] = {}
    with torch.no_grad():
        for some in torch.split(torch.from_numpy((noise / UNIT_HU).astype(np.float32))[:, None], TOGETHER):
            for tap, activations in _activations(network, some).items():
                here = Moments.over(activations, with_sum=False)
                moments[tap] = moments[tap] + here if tap in moments else here
    return {tap: gram_of(m) for tap, m in moments.items()}


def _activations(network: Extractor, squares: torch.Tensor) -> dict[str, torch.Tensor]:
    """[1, C, n * h, w] by tap: the features of squares [n, 1, EDGE, EDGE] as rows of one array."""
    found: dict[str, torch.Tensor] = {}
    for stage in network.stages:
        squares, taps = stage.forward(squares, frozenset(TAPS))
        found |= taps
    return {tap: each.transpose(0, 1).flatten(1, 2)[None] for tap, each in found.items()}
