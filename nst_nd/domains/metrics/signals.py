"""Metrics of audio, and the third octaves that ECG shares with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd.sample import Sample

ONSET_WINDOW_S = 0.03
LOWEST_HZ = 50.0
# third-octave bands of an ECG, lowest and highest centre in Hz
BANDS_HZ = (0.6, 40.0)

_SPECTRUM = ("spectrum_distance_before", "spectrum_distance_after")
AUDIO_METRICS = ("peak", "onset_correlation", *_SPECTRUM)


def audio_metrics(content: Sample, style: Sample, result: Sample) -> dict[str, float]:
    """peak: largest absolute sample. onset_correlation: of the half-wave rectified flux of log(1 + 100 |STFT|), 30 ms
    windows, of content and result. spectrum_distance_before/_after: root mean square difference in dB to the
    style's mean spectrum in third-octave bands.
    """
    top = 0.45 * min(s.grid.rate or 0.0 for s in (content, style))
    before, after = (third_octave_distance(s, style, (LOWEST_HZ, top)) for s in (content, result))
    flux = [_onsets(s) for s in (content, result)]
    varied = all(f.size > 1 and f.std() > 0 for f in flux)
    return {
        "peak": float(np.abs(result.data).max()),
        "onset_correlation": float(np.corrcoef(flux[0], flux[1])[0, 1]) if varied else np.nan,
        "spectrum_distance_before": before,
        "spectrum_distance_after": after,
    }


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
    from scipy.signal import welch

    rate = sample.grid.rate or 1.0
    length = min(sample.shape[0], 1 << 14)
    frequency, density = welch(sample.data, rate, nperseg=length, detrend="constant", axis=-1)
    power = density.mean(axis=0)
    centres = limits[0] * 2.0 ** np.arange(0.0, np.log2(limits[1] / limits[0]), 1.0 / 3.0)
    bands = [power[(frequency >= c * 2 ** (-1 / 6)) & (frequency < c * 2 ** (1 / 6))] for c in centres]
    return np.array([10.0 * np.log10(b.mean()) if b.size and b.mean() > 0 else np.nan for b in bands])


def _onsets(sample: Sample) -> NDArray[np.floating[Any]]:
    from scipy.signal import stft

    rate = sample.grid.rate or 1.0
    window = max(16, round(ONSET_WINDOW_S * rate))
    if sample.shape[0] < 2 * window:
        return np.zeros(0)
    spectrum = stft(sample.data.mean(axis=0), rate, nperseg=window)[2]
    level = np.log1p(100.0 * np.abs(spectrum))
    return np.maximum(np.diff(level, axis=1), 0.0).sum(axis=0)  # type: ignore[no-any-return]
