"""Three-dimensional noise power spectrum of CT: how noise of the uniform soft tissue goes on from slice to slice.

Looked at are boxes, soft squares of noise.py that lie above one another, a quadratic surface taken off each square.

    NPS(u, v, w) = dx dy dz / (Nx Ny Nz) <|DFT3|^2>, HU^2 mm^3 (ICRU 87; AAPM TG-233)

A squared DFT across slices is a sum over lags, so what is kept is the cross spectrum of the slices' own DFTs by lag:
|sum_k F_k e^(-2 pi i w k dz)|^2 = sum_l (2 - [l = 0]) Re C_l cos(2 pi w l dz), averaged over +w and -w, with
C_l = sum_k F_k+l conj F_k. It gives the spectrum at any w and the correlation at any lag without another transform.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.domains.metrics.noise import AT_ONCE, EDGE, STEP, quietest, radial, residuals
from nst_nd.sample import Sample

# slices of a box, where there are so many
DEPTH = 8
# bands of |w|, per mm; slices of 5 mm show two of them
ACROSS_PER_MM = np.arange(0.0, 1.001, 0.05)
LAG_MM = 3.0


@dataclass(frozen=True)
class StackNoise:
    """What boxes of EDGE x EDGE x depth voxels have in common.

    boxes: their number. spacing: of their voxels, mm. lags: Re C_l / (EDGE^2 depth), HU^2: [depth, EDGE, EDGE] by lag
    in slices and in-plane frequency.
    """

    boxes: int
    spacing: tuple[float, ...]
    lags: Float[NDArray[np.float64], "lag u v"]

    def density(self, w: Float[NDArray[np.float64], " w"]) -> Float[NDArray[np.float64], "u v w"]:
        """NPS in HU^2 mm^3 at frequencies w per mm across slices, those of np.fft.fftfreq in the plane.

        Its integral over frequency is the mean square of the noise in the boxes.
        """
        phase = 2.0 * np.pi * self.spacing[2] * np.outer(w, np.arange(len(self.lags)))
        return self._weighted(np.cos(phase))

    @property
    def bands(self) -> Float[NDArray[np.float64], "band across"]:
        """NPS in HU^2 mm^3, mean over the cells BANDS_PER_MM x ACROSS_PER_MM; NaN beyond what the voxels can show."""
        low, high = ACROSS_PER_MM[:-1, None], ACROSS_PER_MM[1:, None]
        turns = 2.0 * self.spacing[2] * np.arange(len(self.lags))
        # the mean of a cosine over a band, from its integral
        means = (high * np.sinc(high * turns) - low * np.sinc(low * turns)) / (high - low)
        density = self._weighted(means)
        found = np.stack([radial(plane, self.spacing[:2]) for plane in np.moveaxis(density, 2, 0)], axis=1)
        found[:, high[:, 0] > 0.5 / self.spacing[2] + 1e-9] = np.nan
        return found

    def _weighted(self, cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        """[EDGE, EDGE, w] of cosines [w, lag]."""
        twice = np.where(np.arange(len(self.lags)) == 0, 1.0, 2.0)
        density: NDArray[np.float64] = np.einsum("wl,luv->uvw", cosines * twice, self.lags) * np.prod(self.spacing)
        return np.maximum(density, 0.0)  # a square; where it is 0, rounding may leave less

    @property
    def slice_correlation(self) -> float:
        """Of the noise of neighbouring slices, -1 to 1."""
        return self._correlation(1)

    @property
    def lag_correlation(self) -> float:
        """Of the noise LAG_MM apart across slices, between the two nearest lags by linear interpolation.

        NaN where a slice is thicker than that (what lies between 0 and one slice would be made up) or a box thinner.
        """
        slices = LAG_MM / self.spacing[2]
        near = int(np.floor(slices + 1e-9))
        if near < 1:
            return np.nan
        share = max(0.0, slices - near)
        after = share * self._correlation(near + 1) if share > 1e-6 else 0.0
        return (1.0 - share) * self._correlation(near) + after

    def _correlation(self, lag: int) -> float:
        if self.boxes == 0 or lag >= len(self.lags) or self.lags[0].sum() == 0:
            return np.nan
        depth = len(self.lags)
        return float(self.lags[lag].sum() / (depth - lag) / (self.lags[0].sum() / depth))


def stack_distance(a: StackNoise, b: StackNoise) -> float:
    """Root mean square over the cells that both show of 10 log10(NPS_a / NPS_b), in dB; NaN where there is none.

    Cells are in mm, so that spacings may differ. A cell with power on one side alone is infinitely far.
    """
    if not (a.boxes and b.boxes):
        return np.nan
    ours, theirs = a.bands, b.bands
    both = np.isfinite(ours) & np.isfinite(theirs)
    if not both.any():
        return np.nan
    ours, theirs = ours[both], theirs[both]
    if ((ours > 0) != (theirs > 0)).any():
        return np.inf
    heard = ours > 0
    return float(np.sqrt(np.sum((10.0 * np.log10(ours[heard] / theirs[heard])) ** 2) / len(ours)))


def common_depths(a: Sample, b: Sample) -> tuple[int, int]:
    """Slices of the boxes of two volumes [C, i, j, k]: DEPTH or what there is, as deep in mm as the shallower ones.

    A box of depth T smears its spectrum over 1 / T, so that boxes are compared that smear alike.
    """
    most = [min(DEPTH, sample.shape[2]) for sample in (a, b)]
    mm = min(n * sample.grid.spacing[2] for n, sample in zip(most, (a, b), strict=True))
    ours, theirs = (min(n, max(2, round(mm / sample.grid.spacing[2]))) for n, sample in zip(most, (a, b), strict=True))
    return ours, theirs


def quiet_boxes(
    corners: Int[NDArray[np.intp], "square 3"], deviations: Float[NDArray[np.float64], " square"], depth: int
) -> Int[NDArray[np.intp], "box 3"]:
    """First voxel (i, j, k) of boxes of soft squares only, the quietest share of them: [n, 3], perhaps none.

    corners, deviations: from noise.soft_squares. Boxes stand every depth // 2 slices. One slice is no box.
    """
    if depth < 2 or not len(corners):
        return np.zeros((0, 3), np.intp)
    places = corners // (STEP, STEP, 1)
    variance = np.full(places.max(axis=0) + 1, np.nan)
    variance[tuple(places.T)] = deviations**2
    if variance.shape[2] < depth:
        return np.zeros((0, 3), np.intp)
    every = max(1, depth // 2)
    means = np.lib.stride_tricks.sliding_window_view(variance, depth, axis=2)[:, :, ::every].mean(axis=3)
    found = np.argwhere(np.isfinite(means))
    kept = quietest(means[tuple(found.T)])
    return found[kept] * (STEP, STEP, every)


def stack_noise_at(sample: Sample, boxes: Int[NDArray[np.intp], "box 3"], depth: int) -> StackNoise:
    """The noise of the first channel, HU, in boxes of `depth` slices whose first voxels these are."""
    lags = np.zeros((max(1, depth), EDGE, EDGE))
    for some in _boxes(sample, boxes, depth):
        noise = residuals(some.reshape(-1, EDGE, EDGE)).reshape(some.shape)
        waves = np.fft.fft2(noise)
        for lag in range(depth):
            ahead, behind = waves[:, lag:], waves[:, : depth - lag]
            lags[lag] += (ahead.real * behind.real + ahead.imag * behind.imag).sum(axis=(0, 1))
    lags /= max(1, len(boxes)) * EDGE**2 * max(1, depth)
    return StackNoise(len(boxes), sample.grid.spacing, lags)


def _boxes(sample: Sample, boxes: NDArray[np.intp], depth: int) -> Iterator[NDArray[np.float64]]:
    """[n, depth, EDGE, EDGE], some of a row of boxes at a time."""
    data = sample.data[0]
    together = max(1, AT_ONCE // max(1, depth))
    for i in np.unique(boxes[:, 0]):
        row = boxes[boxes[:, 0] == i]
        for start in range(0, len(row), together):
            here = [data[i : i + EDGE, j : j + EDGE, k : k + depth] for _, j, k in row[start : start + together]]
            yield np.stack(here).transpose(0, 3, 1, 2).astype(np.float64)
        scratch.release(data)
