"""Tissues of a CT by its smoothed HU: what each has beside its own mean, and where it is flat."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.domains.filters import eroded, gaussian
from nst_nd.domains.metrics.running import pieces
from nst_nd.sample import Sample

# an axis sampled this much more coarsely than the finest one is not smoothed over, and not pooled
ANISOTROPY = 1.8
# smoothing before voxels are told apart: noise must not decide which voxels count, which would bias what is measured
SMOOTHING_MM = 1.5
# tissues by the HU that they lie below; between lung and fat is where lung meets others
TISSUES_BY_HU = (("lung", -400.0), ("mixed", -150.0), ("fat", -25.0), ("soft", 130.0), ("dense", np.inf))
BORDERS_HU = tuple(top for _, top in TISSUES_BY_HU[:-1])
# slopes of the smoothed content: of this width, and where they start and end to count as edges, in sds of their noise
EDGES_MM, EDGES_SD = 1.5, (3.0, 6.0)
# squares whose slopes say what noise makes of them
SLOPE_SQUARES = 200


def smoothed(sample: Sample, channel: int = 0) -> Float[NDArray[np.floating[Any]], "i j k"]:
    """A channel after a Gaussian of SMOOTHING_MM along the finely sampled axes."""
    sigma = [SMOOTHING_MM / mm if fine else 0.0 for mm, fine in zip(sample.grid.spacing, finely(sample), strict=True)]
    return gaussian(sample.data[channel], sigma, sample.data.dtype)


def finely(sample: Sample) -> list[bool]:
    """Per axis: whether it is sampled finely enough to be smoothed along."""
    return [mm < ANISOTROPY * min(sample.grid.spacing) for mm in sample.grid.spacing]


def lock_of(sample: Sample, mm: float, *, slices: bool) -> tuple[float, ...]:
    """Sigma in samples per axis of the low-pass that locks; 0 along coarsely sampled axes, whose slices stay apart.

    slices: they stay apart however fine they are: what is slow in the plane is then locked even where it alternates
    from slice to slice, which one Gaussian over all axes lets through.
    """
    along = finely(sample)
    if slices:
        along[-1] = False
    return tuple(mm / step if fine else 0.0 for step, fine in zip(sample.grid.spacing, along, strict=True))


def tissue_detail(sample: Sample, free: Bool[NDArray[np.bool_], "i j k"], lock_mm: float) -> NDArray[np.float32]:
    """[i, j, k] in HU: what each tissue has beside its own local mean (a Gaussian of lock_mm over that tissue alone).

    0 where tissues meet and outside of `free`: the steps between them, a hundred times the noise, are not part of it.
    """
    low, data = smoothed(sample), sample.data[0]
    sigma = lock_of(sample, lock_mm, slices=True)
    reach = [3 if fine else 1 for fine in finely(sample)]
    out = scratch.zeros(data.shape, np.float32)
    for floor, top in pairwise((-np.inf, *BORDERS_HU, np.inf)):
        tissue: NDArray[np.bool_] = scratch.empty(data.shape, np.bool_)
        for i in pieces(tissue, low, free):
            tissue[i] = free[i] & (low[i] > floor) & (low[i] <= top)
        inner = eroded(tissue, reach, 1, border=True)
        if inner.any():
            _add_detail(out, data, inner, sigma)
    return out


def _add_detail(out: NDArray[np.float32], data: NDArray[Any], inner: NDArray[np.bool_], sigma: Sequence[float]) -> None:
    """The normalised high-pass of the voxels `inner` of data (Knutsson & Westin 1993), added to out."""
    here: NDArray[np.float32] = scratch.empty(data.shape, np.float32)
    mask: NDArray[np.float32] = scratch.empty(data.shape, np.float32)
    level = float(data[np.unravel_index(int(np.argmax(inner)), inner.shape)])  # a common mean would cost digits
    for i in pieces(here, mask, data, inner):
        mask[i] = inner[i]
        here[i] = (data[i] - level) * inner[i]
    mean, near = gaussian(here, sigma, np.float32), gaussian(mask, sigma, np.float32)
    for i in pieces(out, here, mean, near, inner):
        out[i] += np.where(inner[i], here[i] - mean[i] / np.maximum(near[i], 1e-6), 0.0)


def flatness(sample: Sample, corners: Int[NDArray[np.intp], "square 3"], edge: int) -> NDArray[np.float32]:
    """[i, j, k]: 1 where the sample is flat in the plane but for its noise, 0 at its edges.

    corners: of squares of `edge` voxels with nothing but noise; they say how steep noise alone is.
    """
    dx, dy, _ = sample.grid.spacing
    sigma = [EDGES_MM / dx, EDGES_MM / dy, 0.0]
    low = gaussian(sample.data[0], sigma, np.float32)
    slope: NDArray[np.float32] = scratch.empty(low.shape, np.float32)
    for i in pieces(slope, low):
        start = max(0, i.start - 1)
        near = low[start : i.stop + 1]
        inner = slice(i.start - start, i.stop - start)
        along = [np.gradient(near, mm, axis=a)[inner] if near.shape[a] > 1 else 0.0 for a, mm in ((0, dx), (1, dy))]
        slope[i] = np.hypot(along[0], along[1])
    every = max(1, len(corners) // SLOPE_SQUARES)
    quiet = [slope[i : i + edge, j : j + edge, k] for i, j, k in corners[::every]]
    usual = max(float(np.sqrt(np.mean(np.square(quiet)) / 2.0)), 1e-6)  # both components of a slope have it
    for i in pieces(slope):
        over = np.clip((slope[i] / usual - EDGES_SD[0]) / (EDGES_SD[1] - EDGES_SD[0]), 0.0, 1.0)
        slope[i] = 0.5 - 0.5 * np.cos(np.pi * over)
    rough = gaussian(slope, sigma, np.float32)
    for i in pieces(rough):
        rough[i] = 1.0 - rough[i]
    return rough
