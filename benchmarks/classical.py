"""What a physicist would do in an afternoon: two classical ways to give a CT another noise, as rivals.

Both take content and style volumes [i, j, k] in HU with their pixel size, and radial noise power spectra measured in
quiet squares of soft tissue; both work slice by slice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from nst_nd.domains.metrics.noise import BANDS_PER_MM, noise_at, quiet_squares
from nst_nd.sample import Sample

Array = NDArray[np.floating[Any]]
SOFT_HU = (-50.0, 120.0)
LOW_MM, EDGES_MM = 3.0, 1.5


def spectra(content: Sample, style: Sample) -> tuple[Array, Array, Array]:
    """Radial frequency per pixel frequency of the content's slices, and NPS of content and style there."""
    (nx, ny, _), (dx, dy, _) = content.shape, content.grid.spacing
    f = np.hypot(np.fft.fftfreq(nx, dx)[:, None], np.fft.rfftfreq(ny, dy)[None])
    middles = (BANDS_PER_MM[1:] + BANDS_PER_MM[:-1]) / 2.0
    curves = []
    for sample in (content, style):
        spectrum = noise_at(sample, quiet_squares(sample)).spectrum
        seen = np.isfinite(spectrum)
        curves.append(np.interp(f, middles[seen], spectrum[seen]))
    return f, curves[0], curves[1]


def _soft_and_flat(content: Sample) -> tuple[Array, Array, Array]:
    """Weights 0..1 of soft tissue and of what is no edge, and the content's high frequencies."""
    data = content.data[0].astype(np.float64)
    dx, dy, _ = content.grid.spacing
    low = gaussian_filter(data, (EDGES_MM / dx, EDGES_MM / dy, 0.0))
    soft = gaussian_filter(((low > SOFT_HU[0]) & (low < SOFT_HU[1])).astype(float), (1.0, 1.0, 0.0))
    slope = np.hypot(np.gradient(low, dx, axis=0), np.gradient(low, dy, axis=1))
    flat = gaussian_filter(np.clip(2.0 - slope / 8.0, 0.0, 1.0), (1.0, 1.0, 0.0))
    return soft, flat, data - gaussian_filter(data, (LOW_MM / dx, LOW_MM / dy, 0.0))


def filtered(content: Sample, style: Sample) -> Sample:
    """(a): soft tissue's detail times sqrt(NPS_style / NPS_content) in the plane, faded out at edges."""
    soft, flat, high = _soft_and_flat(content)
    _, own, goal = spectra(content, style)
    gain = np.sqrt(goal / np.maximum(own, 1e-9))
    wave = np.fft.rfft2(high, axes=(0, 1))
    change = np.fft.irfft2(wave * (gain[..., None] - 1.0), s=content.shape[:2], axes=(0, 1))
    return _rounded(content, change * soft * flat)


def noised(content: Sample, style: Sample, seed: int = 0) -> Sample:
    """(b): Gaussian noise with the missing spectrum max(NPS_style - NPS_content, 0) on soft tissue."""
    soft, _, _ = _soft_and_flat(content)
    f, own, goal = spectra(content, style)
    dx, dy, _ = content.grid.spacing
    missing = np.maximum(goal - own, 0.0) * np.clip((f - 0.06) / 0.06, 0.0, 1.0)
    white = np.random.default_rng(seed).standard_normal(content.shape)
    shaped = np.fft.rfft2(white, axes=(0, 1)) * np.sqrt(missing / (dx * dy))[..., None]
    return _rounded(content, np.fft.irfft2(shaped, s=content.shape[:2], axes=(0, 1)) * soft)


def _rounded(content: Sample, change: Array) -> Sample:
    data = content.data[0]
    kept = (data < -990) | (data > 400)
    return content.replace(data=np.where(kept, data, np.rint(data + change)).astype(content.data.dtype)[None])
