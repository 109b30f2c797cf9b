"""The spectral method: noise of CT given another spectrum by a linear filter and by what the filter cannot make.

With P the noise power spectrum of the content and T that of the style, both measured in quiet soft tissue:

    filter    gain g = sqrt(T / P), at most MOST_GAIN, on each tissue's own detail, faded out at edges of the content
    noise     Gaussian with the power T - g^2 P that is missing then

Faint lesions are tissue's own detail. Where they have their contrast, below LESIONS_PER_MM, g is at most LESION_GAIN
times what edges get, and noise does the rest. What g takes away has no such bound: noise of these frequencies goes only
with what looks like it.

In lung and fat both are as much louder or softer as noise is there, see levels.py.

Where another resolution is asked for, everything is filtered with H of resolution.py first, edges included; they get
noise with the power T - H^2 P, and tissue's own detail what is left, g / H, with amplification up to MOST_SHARPER.

Style and content are compared in mm. It takes seconds (a minute or two on the largest volumes), and is where the
optimiser starts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from nst_nd import scratch
from nst_nd.domains.filters import detail, filtered, filtered_bytes, smoothed
from nst_nd.domains.levels import Levels, levels_of
from nst_nd.domains.metrics.noise import EDGE
from nst_nd.domains.metrics.running import pieces
from nst_nd.domains.resolution import MOST_SHARPER, transfer_ratio
from nst_nd.domains.spectrum import FINE, MOST_LAGS, Corners, Spectrum, ramp_of, spectrum3, spectrum_at
from nst_nd.domains.tissues import flatness, lock_of, tissue_detail
from nst_nd.sample import Sample

# amplifying more would bring up rounding and anatomy instead of noise
MOST_GAIN = 2.0
# balls of 3 mm have most of their contrast below the first; from the second on MOST_GAIN alone holds
LESIONS_PER_MM, LESION_GAIN = (0.4, 0.6), 1.1
# where tissue is cut by the image's border: mirrored, since a border voxel repeated is noise that counts many times
BORDER = "reflect"
# without a lock, tissues lose what is slower than this
LOCK_MM = 3.0
# of measuring what was reached and aiming again, on at most so many voxels
ROUNDS, MEASURED = 5, 16 * 2**20


@dataclass(frozen=True)
class Recipe:
    """What the method does. gain: [FINE, FINE, depth], 1: nothing. missing: HU^2 mm^2 there, to be added."""

    gain: Float[NDArray[np.float64], "u v _"]
    missing: Float[NDArray[np.float64], "u v w"]

    @classmethod
    def of(
        cls, own: Spectrum, aim: Float[NDArray[np.float64], "u v w"], most: Float[NDArray[np.float64], "u v _"]
    ) -> Recipe:
        """From a content's spectrum and the one to be reached, as `spectrum3` gives them; most: gain, see most_gain."""
        power = spectrum3(own.power)
        wanted = np.sqrt(aim / np.maximum(power, max(1e-6 * float(power.max()), 1e-12)))
        return cls.with_gain(1.0 + ramp_of(own) * (np.minimum(wanted, most) - 1.0), own, aim)

    @classmethod
    def with_gain(
        cls, gain: Float[NDArray[np.float64], "u v _"], own: Spectrum, aim: Float[NDArray[np.float64], "u v w"]
    ) -> Recipe:
        """With this gain, and the noise that is missing then."""
        return cls(gain, ramp_of(own) ** 2 * np.maximum(aim - gain**2 * spectrum3(own.power), 0.0))


@dataclass(frozen=True)
class Resolved:
    """What another resolution does. gain: [FINE, FINE, 1] on everything; change: [i, j, k] in HU, None: nothing."""

    gain: Float[NDArray[np.float64], "u v _"]
    change: NDArray[np.float32] | None


@dataclass(frozen=True)
class Place:
    """A content, or some of its slices, as the method sees it.

    data: [i, j, k] in HU; spacing: mm; squares: first voxels of the quiet ones. within: see tissue_detail; flat: see
    flatness; free: [1, 1, i, j, k], 1 where anything may change. lock: sigma in samples per axis, None: no lock.
    edges: [i, j, k], 1 where voxels get another resolution; None: nowhere. levels: how loud noise is per tissue.
    """

    data: NDArray[Any]
    spacing: tuple[float, ...]
    squares: Corners
    within: NDArray[np.float32]
    flat: NDArray[np.float32]
    free: Tensor
    lock: tuple[float, ...] | None
    edges: NDArray[np.float32] | None
    levels: Levels

    def spectrum(self, plus: NDArray[np.float32] | None = None) -> Spectrum:
        """Of its noise; plus: [i, j, k] in HU, counted as added to it."""
        return spectrum_at(self.data, self.squares, self.spacing, plus)

    def made(self, recipe: Recipe, white: NDArray[np.float32], resolved: Resolved) -> NDArray[np.float32]:
        """[i, j, k] in HU: what a recipe adds here, after the lock and the borders. white: noise of variance 1.

        resolved: what edges have got already, see there; tissue's own detail has had that gain then.
        """
        made, noise = filtered(self.within, kernel_of(recipe.gain - resolved.gain)), self._noise(recipe, white)
        if resolved.change is not None:
            for i in pieces(noise, self.flat):
                noise[i] *= self.flat[i]
        gain = self.levels.gain if resolved.change is None else np.ones_like(self.levels.gain)
        for i in pieces(made, self.flat, noise, self.within, self.levels.tissue):
            here = gain[self.levels.tissue[i]]
            made[i] = (here * made[i] + (here - 1.0) * self.within[i]) * self.flat[i] + noise[i]
        made = self.allowed(made)
        if resolved.change is not None:
            for i in pieces(made, resolved.change):
                made[i] += resolved.change[i]
        return made

    def resolved(self, recipe: Recipe, white: NDArray[np.float32]) -> Resolved:
        """What a recipe makes of everything, and the noise that edges lack then.

        No lock holds here: the recipe leaves low frequencies alone. What is kept bit for bit does not pass on what its
        own blur would take from it, so that means next to bone and air may move by some HU.
        """
        if self.edges is None:
            return Resolved(recipe.gain, None)
        made, noise = filtered(self.data, kernel_of(recipe.gain - 1.0)), self._noise(recipe, white)
        for i in pieces(made, self.edges, self.flat, noise):
            made[i] = (made[i] + noise[i] * (1.0 - self.flat[i])) * self.edges[i]
        return Resolved(recipe.gain, made)

    def _noise(self, recipe: Recipe, white: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is missing, of white noise of variance 1, in each tissue as loud as noise is there."""
        noise = filtered(white, kernel_of(np.sqrt(recipe.missing / (self.spacing[0] * self.spacing[1]))))
        for i in pieces(noise, self.levels.tissue):
            noise[i] *= self.levels.wanted[self.levels.tissue[i]]
        return noise

    def allowed(self, change: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the lock and the borders let through."""
        given = torch.from_numpy(change)[None, None]
        found: NDArray[np.float32] = detail(given, self.lock, self.free, self.reach, BORDER)[0, 0].numpy()
        return found

    @cached_property
    def reach(self) -> Tensor | None:
        """[1, 1, i, j, k]: how much of the lock's low-pass is over free voxels."""
        return smoothed(self.free, self.lock, BORDER) if self.lock else None

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
            edges=None if self.edges is None else _slices(self.edges, some),
            levels=replace(self.levels, tissue=_slices(self.levels.tissue, some)),
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
    where anything may change. lock_mm: lower frequencies than this Gaussian's stay the content's; 0: none do. edges:
    where edges get the style's resolution; None: nowhere.
    """

    def __init__(
        self,
        content: Sample,
        styles: Sequence[tuple[Sample, float, Corners]],
        squares: Corners,
        free: Bool[NDArray[np.bool_], "i j k"],
        lock_mm: float,
        edges: Bool[NDArray[np.bool_], "i j k"] | None = None,
    ) -> None:
        mask = scratch.piecewise(np.positive, free[None].view(np.uint8), nc=1, dtype=np.float32)
        self.place = Place(
            content.data[0],
            content.grid.spacing,
            squares,
            tissue_detail(content, free, lock_mm or LOCK_MM),
            flatness(content, squares, EDGE),
            torch.from_numpy(mask)[None],
            lock_of(content, lock_mm, slices=True) if lock_mm else None,
            None,
            levels_of(content, [(style, share) for style, share, _ in styles]),
        )
        if edges is not None:
            everywhere = scratch.piecewise(np.positive, edges[None].view(np.uint8), nc=1, dtype=np.float32)
            self.place = replace(self.place, edges=everywhere[0])
        self.own = self.place.spectrum()
        goal: NDArray[np.float64] = np.zeros_like(self.own.power)
        for style, share, corners in styles:
            goal += share * spectrum_at(style.data[0], corners, style.grid.spacing).like(self.own)
        self.target = spectrum3(goal)
        self.ratio = transfer_ratio(self.own, goal[0]) if edges is not None else np.ones((FINE, FINE, 1))
        self.most = most_gain(self.own, self.ratio, MOST_GAIN if edges is None else MOST_SHARPER)

    def change(self, seed: int) -> NDArray[np.float32]:
        """[i, j, k] in HU: what to add to the content. seed: of the noise.

        What the lock and the borders take away is made up for: the result is measured and aimed again, ROUNDS times.
        On a large volume that is found out on a sample of its slices.
        """
        near = self.place.sample_of()
        whole = near is self.place
        sharp = Recipe.with_gain(self.ratio, self.own, self.target)
        white = white_noise(near.data.shape, seed)
        resolved = near.resolved(sharp, white)
        own = self.own if whole else near.spectrum()
        aim, found = self.target, np.zeros(0, np.float32)
        for _ in range(ROUNDS):
            found = near.made(Recipe.of(own, aim, self.most), white, resolved)
            reached = spectrum3(near.spectrum(plus=found).power)
            aim = aim * np.clip(self.target / np.maximum(reached, 1e-9), 0.5, 2.0)
        if whole:
            return found
        white = white_noise(self.place.data.shape, seed)
        return self.place.made(Recipe.of(self.own, aim, self.most), white, self.place.resolved(sharp, white))

    def kept(self, radius_mm: float) -> float:
        """What share of its contrast a faint ball keeps, by the gain: <B, g B> / <B, B> with B its transform.

        Of the mean over the ball, before the loop of `change`; B is that of a solid sphere.
        """
        gain = Recipe.of(self.own, self.target, self.most).gain
        axes = (np.fft.fftfreq(n, mm) for n, mm in zip(gain.shape, self.own.step, strict=True))
        f = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True)))
        x = np.maximum(2.0 * np.pi * radius_mm * f, 1e-3)
        power = ((np.sin(x) - x * np.cos(x)) / x**3) ** 2
        return float((power * gain).sum() / power.sum())

    def closed(self, change: NDArray[np.float32]) -> NDArray[np.float32]:
        """A change [i, j, k] in HU after one more filter, which gives the result the styles' spectrum.

        A filter that hardly differs from nothing leaves the texture as it is, and makes its power right.
        """
        place = self.place
        # edges have their resolution by now, and this is no second one
        most = most_gain(self.own, np.ones_like(self.ratio), MOST_GAIN)
        gain = Recipe.of(place.spectrum(plus=change), self.target, most).gain
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


def most_gain(
    own: Spectrum, ratio: Float[NDArray[np.float64], "fine_u fine_v 1"], most: float
) -> Float[NDArray[np.float64], "fine_u fine_v 1"]:
    """Of tissue's own detail. ratio: the gain of edges, [FINE, FINE, 1]; most: where no lesion has its contrast."""
    f = np.hypot(*np.meshgrid(*(np.fft.fftfreq(FINE, mm) for mm in own.step[:2]), indexing="ij"))[..., None]
    low, high = LESIONS_PER_MM
    free = np.clip((f - low) / (high - low), 0.0, 1.0)
    found: NDArray[np.float64] = (1.0 - free) * np.minimum(LESION_GAIN * ratio, most) + free * most
    return found


def kernel_of(response: NDArray[np.float64]) -> NDArray[np.float32]:
    """The kernel, odd sizes, whose transfer is this real, even response, up to a taper at its ends in the plane."""
    whole = np.fft.fftshift(np.fft.ifftn(response).real)
    kernel: NDArray[np.float64] = whole[tuple(slice(1 - n % 2, None) for n in whole.shape)]  # an odd size has a middle
    u, v = (np.hanning(n + 2)[1:-1] for n in kernel.shape[:2])
    taper = np.outer(u, v)[..., None]
    kernel *= np.sqrt(taper)
    # what a constant becomes is exact
    kernel += taper * ((response[0, 0, 0] - kernel.sum()) / (taper.sum() * kernel.shape[2]))
    return kernel.astype(np.float32)


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
    # beside the filter there are pieces, of volumes small enough some copies
    return filtered_bytes(shape, kernel) + min(40 * scratch.PIECE, 16 * math.prod(shape))
