"""The spectral method: noise of CT given another spectrum by a linear filter and by what the filter cannot make.

With P the noise power spectrum of the content and T that of the style, both measured in quiet soft tissue:

    filter    gain g = sqrt(T / P), at most MOST_GAIN, on each tissue's own detail, faded out at edges of the content
    noise     Gaussian with the power T - g^2 P that is missing then

Spectra are those of squares in the plane with their covariance from slice to slice, at every lag that has squares: a
three-dimensional spectrum by Blackman & Tukey (1958). Style and content are compared in mm. It takes seconds (minutes
on the largest volumes), and is where the optimiser starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from nst_nd import scratch
from nst_nd.domains.filters import detail, filtered, filtered_bytes, smoothed
from nst_nd.domains.metrics.noise import EDGE, residuals
from nst_nd.domains.metrics.running import pieces
from nst_nd.domains.tissues import flatness, lock_of, tissue_detail
from nst_nd.sample import Sample

Corners = Int[NDArray[np.intp], "_ 3"]
# positions of a filter in the plane
FINE = 2 * EDGE
# slices apart at which covariance is still looked for, in mm, and never more than so many
REACH_MM, MOST_LAGS = 6.0, 8
# amplifying more would bring up rounding and anatomy instead of noise
MOST_GAIN = 2.0
# frequencies below are anatomy's, and locked: gain 1 and no noise; from FULL on everything is done
NONE_PER_MM, FULL_PER_MM = 0.08, 0.12
# without a lock, tissues lose what is slower than this
LOCK_MM = 3.0
# of measuring what was reached and aiming again, on at most so many voxels
ROUNDS, MEASURED = 5, 16 * 2**20


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


@dataclass(frozen=True)
class Recipe:
    """What the method does. gain: [FINE, FINE, depth], 1: nothing. missing: HU^2 mm^2 there, to be added."""

    gain: Float[NDArray[np.float64], "u v w"]
    missing: Float[NDArray[np.float64], "u v w"]

    @classmethod
    def of(cls, own: Spectrum, aim: Float[NDArray[np.float64], "u v w"]) -> Recipe:
        """From a content's spectrum and the one to be reached, both as `spectrum3` gives them."""
        power = spectrum3(own.power)
        ramp = _ramp(own)
        gain = 1.0 + ramp * (
            np.minimum(np.sqrt(aim / np.maximum(power, max(1e-6 * float(power.max()), 1e-12))), MOST_GAIN) - 1.0
        )
        return cls(gain, ramp**2 * np.maximum(aim - gain**2 * power, 0.0))


@dataclass(frozen=True)
class Place:
    """A content, or some of its slices, as the method sees it.

    data: [i, j, k] in HU; spacing: mm; squares: first voxels of the quiet ones. within: see tissue_detail; flat: see
    flatness; free: [1, 1, i, j, k], 1 where anything may change. lock: sigma in samples per axis, None: no lock.
    """

    data: NDArray[Any]
    spacing: tuple[float, ...]
    squares: Corners
    within: NDArray[np.float32]
    flat: NDArray[np.float32]
    free: Tensor
    lock: tuple[float, ...] | None

    def spectrum(self, plus: NDArray[np.float32] | None = None) -> Spectrum:
        """Of its noise; plus: [i, j, k] in HU, counted as added to it."""
        return spectrum_at(self.data, self.squares, self.spacing, plus)

    def made(self, recipe: Recipe, white: NDArray[np.float32]) -> NDArray[np.float32]:
        """[i, j, k] in HU: what a recipe adds here, after the lock and the borders. white: noise of variance 1."""
        made = filtered(self.within, kernel_of(recipe.gain - 1.0))
        noise = filtered(white, kernel_of(np.sqrt(recipe.missing / (self.spacing[0] * self.spacing[1]))))
        for i in pieces(made, self.flat, noise):
            made[i] = made[i] * self.flat[i] + noise[i]
        return self.allowed(made)

    def allowed(self, change: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the lock and the borders let through."""
        given = torch.from_numpy(change)[None, None]
        found: NDArray[np.float32] = detail(given, self.lock, self.free, self.reach)[0, 0].numpy()
        return found

    @cached_property
    def reach(self) -> Tensor | None:
        """[1, 1, i, j, k]: how much of the lock's low-pass is over free voxels."""
        return smoothed(self.free, self.lock) if self.lock else None

    def sample_of(self) -> Place:
        """The slices, side by side, with the most squares in at most MEASURED voxels; itself if it is no larger."""
        _, _, slices = self.data.shape
        depth = max(MOST_LAGS, MEASURED // (self.data.size // slices))
        if depth >= slices:
            return self
        counts = np.bincount(self.squares[:, 2], minlength=slices)
        first = int(np.argmax(np.convolve(counts, np.ones(depth, np.intp), mode="valid")))
        some = slice(first, first + depth)
        squares = self.squares[(self.squares[:, 2] >= some.start) & (self.squares[:, 2] < some.stop)]
        return replace(
            self,
            data=_slices(self.data, some),
            squares=squares - np.array([0, 0, first]),
            within=_slices(self.within, some),
            flat=_slices(self.flat, some),
            free=torch.from_numpy(_slices(self.free[0, 0].numpy(), some))[None, None],
        )


def _slices(volume: NDArray[Any], some: slice) -> NDArray[Any]:
    """A copy of these slices of [i, j, k]."""
    out = scratch.empty((*volume.shape[:2], some.stop - some.start), volume.dtype)
    for i in pieces(out, volume):
        out[i] = volume[i][..., some]
    return out


class SpectralMethod:
    """The method for one content and its styles.

    styles: sample, share of the whole, and first voxels of its quiet squares; squares: those of the content. free:
    where anything may change. lock_mm: lower frequencies than this Gaussian's stay the content's; 0: none do.
    """

    def __init__(
        self,
        content: Sample,
        styles: Sequence[tuple[Sample, float, Corners]],
        squares: Corners,
        free: Bool[NDArray[np.bool_], "i j k"],
        lock_mm: float,
    ) -> None:
        mask = scratch.piecewise(np.positive, free[None].view(np.uint8), nc=1, dtype=np.float32)
        self.place = Place(
            content.data[0],
            content.grid.spacing,
            squares,
            tissue_detail(content, free, lock_mm or LOCK_MM),
            flatness(content, squares, EDGE),
            torch.from_numpy(mask)[None],
            lock_of(content, lock_mm) if lock_mm else None,
        )
        self.own = self.place.spectrum()
        goal = np.zeros_like(self.own.power)
        for style, share, corners in styles:
            goal += share * spectrum_at(style.data[0], corners, style.grid.spacing).like(self.own)
        self.target = spectrum3(goal)

    def change(self, seed: int) -> NDArray[np.float32]:
        """[i, j, k] in HU: what to add to the content. seed: of the noise.

        What the lock and the borders take away is made up for: the result is measured and aimed again, ROUNDS times.
        On a large volume that is found out on a sample of its slices.
        """
        white = white_noise(self.place.data.shape, seed)
        near = self.place.sample_of()
        whole = near is self.place
        here = white if whole else white_noise(near.data.shape, seed)
        own = self.own if whole else near.spectrum()
        aim, found = self.target, np.zeros(0, np.float32)
        for _ in range(ROUNDS):
            found = near.made(Recipe.of(own, aim), here)
            reached = spectrum3(near.spectrum(plus=found).power)
            aim = aim * np.clip(self.target / np.maximum(reached, 1e-9), 0.5, 2.0)
        return found if whole else self.place.made(Recipe.of(self.own, aim), white)

    def closed(self, change: NDArray[np.float32]) -> NDArray[np.float32]:
        """A change [i, j, k] in HU after one more filter, which gives the result the styles' spectrum.

        A filter that hardly differs from nothing leaves the texture as it is, and makes its power right.
        """
        place = self.place
        gain = Recipe.of(place.spectrum(plus=change), self.target).gain
        whole: NDArray[np.float32] = scratch.empty(change.shape, np.float32)
        for i in pieces(whole, place.within, change):
            whole[i] = place.within[i] + change[i]
        more = filtered(whole, kernel_of(gain - 1.0))
        for i in pieces(more, place.flat):
            more[i] *= place.flat[i]
        more = place.allowed(more)
        for i in pieces(more, change):
            more[i] += change[i]
        return more


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


def kernel_of(response: NDArray[np.float64]) -> NDArray[np.float32]:
    """The kernel, odd sizes, whose transfer is this real, even response, up to a taper at its ends."""
    kernel = np.fft.fftshift(np.fft.ifftn(response).real)
    kernel = kernel[tuple(slice(1 - n % 2, None) for n in kernel.shape)]  # an odd size has a middle
    for axis, n in enumerate(kernel.shape):
        if axis < 2:
            window = np.hanning(n + 2)[1:-1] ** 0.5
            kernel = kernel * window.reshape([-1 if a == axis else 1 for a in range(3)])
    return kernel.astype(np.float32)


def _ramp(spectrum: Spectrum) -> NDArray[np.float64]:
    """[FINE, FINE, 1]: 0 where frequencies are anatomy's, 1 where they are noise's."""
    u, v = (np.fft.fftfreq(FINE, mm) for mm in spectrum.step[:2])
    f = np.hypot(u[:, None], v[None, :])
    rise = np.clip((f - NONE_PER_MM) / (FULL_PER_MM - NONE_PER_MM), 0.0, 1.0)
    ramp: NDArray[np.float64] = (0.5 - 0.5 * np.cos(np.pi * rise))[..., None]
    return ramp


def white_noise(shape: Sequence[int], seed: int) -> NDArray[np.float32]:
    """[i, j, k], mean 0, variance 1; a plane does not depend on how many there are."""
    out: NDArray[np.float32] = scratch.empty(shape, np.float32)
    for i in range(shape[0]):
        out[i] = np.random.default_rng([seed, i]).standard_normal(tuple(shape[1:]), dtype=np.float32)
        scratch.release(out)
    return out


def working_bytes(shape: Sequence[int]) -> int:
    """What the method takes at a time for a content of this size; what is as large as the content is in files."""
    kernel = (FINE - 1, FINE - 1, 2 * MOST_LAGS - 1)
    return filtered_bytes(shape, kernel) + 40 * scratch.PIECE
