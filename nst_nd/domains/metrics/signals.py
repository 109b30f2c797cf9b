"""Metrics of audio, and the third octaves that ECG shares with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.domains.metrics.copying import largest_correlation
from nst_nd.domains.metrics.envelopes import envelope_distance
from nst_nd.sample import Sample

ONSET_WINDOW_S = 0.03
LOWEST_HZ = 50.0
# one step of 16 bits below full scale
FULL = 1.0 - 2.0**-15
# third-octave bands of an ECG, lowest and highest centre in Hz
BANDS_HZ = (0.6, 40.0)

# samples per window of the mean spectrum, at most
WELCH = 2048

_DISTANCES = ("spectrum_distance", "log_spectral_distance", "envelope_distance")
AUDIO_METRICS = (
    "peak",
    "clipped",
    "onset_correlation",
    "spectral_convergence",
    "style_correlation",
    *(f"{name}_{when}" for name in _DISTANCES for when in ("before", "after")),
)


def audio_metrics(content: Sample, style: Sample, result: Sample) -> dict[str, float]:
    """What became of the content, and how near the result is to the style; _before: the content, _after: the result.

    peak: largest absolute sample, full scale is 1. clipped: samples at full scale where the content has none.
    onset_correlation: of the half-wave rectified flux of log(1 + 100 |STFT|), 30 ms windows, of content and result.
    spectral_convergence: || |C| - |G| || / || |C| || of the short-time magnitudes of content and result, Frobenius.
    style_correlation: see `largest_correlation`; near 1 where the result plays the style back.
    spectrum_distance: root mean square difference in dB of the mean spectra in third-octave bands from 50 Hz.
    log_spectral_distance: the same of the mean spectra bin by bin. envelope_distance: see `envelopes`.
    """
    flux = [_onsets(s) for s in (content, result)]
    varied = all(f.size > 1 and f.std() > 0 for f in flux)
    return {
        "peak": float(np.abs(result.data).max()),
        "clipped": float(np.count_nonzero(_at_full_scale(result) & ~_at_full_scale(content))),
        "onset_correlation": float(np.corrcoef(flux[0], flux[1])[0, 1]) if varied else np.nan,
        "spectral_convergence": spectral_convergence(content, result),
        "style_correlation": largest_correlation(result, style),
        **_distances(content, style, "before"),
        **_distances(result, style, "after"),
    }


def texture_metrics(style: Sample, result: Sample) -> dict[str, float]:
    """Of a texture, which has no content: see audio_metrics."""
    return {
        "peak": float(np.abs(result.data).max()),
        "clipped": float(clipped(result)),
        "style_correlation": largest_correlation(result, style),
        **_distances(result, style, "after"),
    }


def spectral_convergence(content: Sample, result: Sample) -> float:
    """How far the result's short-time magnitudes (2048 samples, of the channels' mean) are from the content's; 0: same.

    NaN for a silent content.
    """
    from scipy.signal import stft

    length = min(WELCH, content.shape[0])
    a, b = (np.abs(stft(s.data.mean(axis=0), nperseg=length)[2]) for s in (content, result))
    size = float(np.linalg.norm(a))
    return float(np.linalg.norm(a - b)) / size if size > 0 else np.nan


def clipped(sample: Sample) -> int:
    """Samples at full scale (-1, or 1 less one step of 16 bits) or beyond it."""
    found = 0
    for piece in scratch.chunks(sample.data, 1):
        found += int(np.count_nonzero(np.abs(sample.data[:, piece]) >= FULL))
        scratch.release(sample.data)
    return found


def _at_full_scale(sample: Sample) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.abs(sample.data) >= FULL
    return found


def _distances(sample: Sample, style: Sample, when: str) -> dict[str, float]:
    limits = (LOWEST_HZ, 0.45 * min(s.grid.rate or 0.0 for s in (sample, style)))
    return {
        f"spectrum_distance_{when}": third_octave_distance(sample, style, limits),
        f"log_spectral_distance_{when}": log_spectral_distance(sample, style, limits),
        f"envelope_distance_{when}": envelope_distance(sample, style),
    }


def log_spectral_distance(sample: Sample, style: Sample, limits: tuple[float, float]) -> float:
    """dB, root mean square over the bins between `limits` in Hz of the difference of the mean spectra; NaN without any.

    Welch 1967 with Hann windows of 2048 samples (of the whole signal where it is shorter), the channels' mean power.
    """
    from scipy.signal import welch

    length = min(WELCH, sample.shape[0], style.shape[0])
    spectra = []
    for s in (sample, style):
        frequency, density = welch(s.data, s.grid.rate or 1.0, nperseg=length, axis=-1)
        spectra.append((frequency, density.mean(axis=0)))
    at = spectra[0][0]
    at = at[(at >= limits[0]) & (at <= limits[1])]
    a, b = (np.interp(at, *pair) for pair in spectra)
    both = (a > 0) & (b > 0)
    return float(np.sqrt(np.mean((10.0 * np.log10(a[both] / b[both])) ** 2))) if both.any() else np.nan


def third_octave_distance(sample: Sample, style: Sample, limits: tuple[float, float]) -> float:
    """dB, root mean square over third octaves between `limits` in Hz in which both have power; NaN without any."""
    if limits[1] <= limits[0]:
        return np.nan
    a, b = (_third_octaves(s, limits) for s in (sample, style))
    both = np.isfinite(a) & np.isfinite(b)
    if not both.any():
        return np.nan
    return float(np.sqrt(np.mean((a[both] - b[both]) ** 2)))


def _third_octaves(sample: Sample, limits: tuple[float, float]) -> NDArray[np.floating[Any]]:
    rate = sample.grid.rate or 1.0
    length = min(sample.shape[0], 1 << 14)
    frequency, power = _density(sample, rate, length)
    centres = limits[0] * 2.0 ** np.arange(0.0, np.log2(limits[1] / limits[0]), 1.0 / 3.0)
    bands = [power[(frequency >= c * 2 ** (-1 / 6)) & (frequency < c * 2 ** (1 / 6))] for c in centres]
    return np.array([10.0 * np.log10(b.mean()) if b.size and b.mean() > 0 else np.nan for b in bands])


def _density(sample: Sample, rate: float, length: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Frequencies and the channels' mean density by Welch's method (1967); gaps have no weight."""
    window = np.hanning(length + 1)[:-1]
    there = np.ones(sample.shape[0])
    if sample.gaps is not None:
        there[np.logical_or.reduce(sample.gaps)] = 0.0
    total, seen = np.zeros(length // 2 + 1), 0.0
    for start in range(0, sample.shape[0] - length + 1, max(1, length // 2)):
        piece = slice(start, start + length)
        here: NDArray[np.float64] = there[piece]
        weight = window * here
        if weight.any():
            data = sample.data[:, piece].astype(np.float64)
            level = (data @ here)[:, None] / here.sum()
            total += np.mean(np.abs(np.fft.rfft((data - level) * weight)) ** 2, axis=0)
            seen += float(np.sum(weight**2))
    return np.fft.rfftfreq(length, 1.0 / rate), 2.0 * total / (rate * max(seen, 1e-12))


def _onsets(sample: Sample) -> NDArray[np.floating[Any]]:
    from scipy.signal import stft

    rate = sample.grid.rate or 1.0
    window = max(16, round(ONSET_WINDOW_S * rate))
    if sample.shape[0] < 2 * window:
        return np.zeros(0)
    spectrum = stft(sample.data.mean(axis=0), rate, nperseg=window)[2]
    level = np.log1p(100.0 * np.abs(spectrum))
    return np.maximum(np.diff(level, axis=1), 0.0).sum(axis=0)  # type: ignore[no-any-return]
