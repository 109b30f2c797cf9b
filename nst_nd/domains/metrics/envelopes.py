"""What a sound's texture is to an ear: statistics of the envelopes of cochlear bands.

McDermott & Simoncelli 2011, "Sound texture perception via statistics of the auditory periphery", Neuron 71. The bands
come from one Fourier transform of the signal; no extractor of a preset takes part.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from nst_nd.sample import Sample

BANDS = 24
LOWEST_HZ, HIGHEST_HZ = 80.0, 5000.0
EXPONENT = 0.3
RATE_HZ = 400.0
MODULATIONS_HZ = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
# what is longer is measured on its middle
LONGEST_S = 60.0
# envelopes so far below the loudest band's mean (80 dB, compressed) count as silence
SILENCE = 10 ** (-80.0 * EXPONENT / 20.0)
# the bands are computed at this multiple of their highest frequency
OVERSAMPLED = 4.0

Statistics = Float[NDArray[np.float64], "band statistic"]


def envelope_distance(sample: Sample, style: Sample) -> float:
    """Root mean square difference of the two sounds' `envelope_statistics`; 0: the same texture. NaN without any."""
    difference = envelope_statistics(sample) - envelope_statistics(style)
    known = np.isfinite(difference)
    return float(np.sqrt(np.mean(difference[known] ** 2))) if known.any() else np.nan


def envelope_statistics(sample: Sample) -> Statistics:
    """[band, statistic] of the channels' mean: log mean, log sd, skewness, and the log modulation power per octave.

    24 bands, equally spaced in ERB-rate from 80 Hz to 5 kHz; the Hilbert envelope of each to the power 0.3, at 400 Hz.
    The modulation power is that of the compressed envelope (full scale is 1), its mean removed, in the octaves from 1
    to 128 Hz. Logarithms are natural. NaN where a band lies above half the sampling rate, is silent, or where the
    signal is too short for an octave.
    """
    found = np.full((BANDS, 3 + len(MODULATIONS_HZ) - 1), np.nan)
    envelopes = band_envelopes(sample)
    if envelopes.shape[1] < 2:
        return found
    means = envelopes.mean(axis=1)
    for row, envelope, mean in zip(found, envelopes, means, strict=True):
        rest = envelope - mean
        sd = float(np.sqrt(np.mean(rest**2)))
        if mean > SILENCE * means.max() and sd > 0:
            row[:3] = np.log(mean), np.log(sd), np.mean(rest**3) / sd**3
            row[3:] = _modulation(rest)
    return found


def band_envelopes(sample: Sample) -> Float[NDArray[np.float64], "band frame"]:
    """Compressed envelopes of the bands at 400 Hz; 0 for a band above half the sampling rate."""
    from scipy.signal import resample_poly

    rate = sample.grid.rate or 1.0
    mono = _middle(sample.data.mean(axis=0, dtype=np.float64), rate)
    duration = mono.size / rate
    spectrum = np.fft.rfft(mono)
    frequency = np.arange(spectrum.size) / duration
    # the analytic signal of a band needs no more samples than this
    count = max(2, round(OVERSAMPLED * HIGHEST_HZ * duration))
    kept = min(spectrum.size, count // 2)
    frames = max(1, round(RATE_HZ * duration))
    found = np.zeros((BANDS, frames))
    low, high = _erb(np.array([LOWEST_HZ, HIGHEST_HZ])).tolist()
    centres = np.linspace(low, high, BANDS + 2)[1:-1]
    width = centres[1] - centres[0]
    place = _erb(frequency[:kept])
    for row, centre in zip(found, centres, strict=True):
        if _hertz(centre + width) > 0.5 * rate:
            break
        gain = np.cos(0.5 * np.pi * np.clip((place - centre) / width, -1.0, 1.0))
        band = np.zeros(count, np.complex128)
        band[:kept] = 2.0 * gain * spectrum[:kept]
        envelope = np.abs(np.fft.ifft(band) * count / mono.size) ** EXPONENT
        step = round(OVERSAMPLED * HIGHEST_HZ / RATE_HZ)
        slow = resample_poly(envelope, 1, step, padtype="line")[:frames]
        row[: slow.size] = np.maximum(slow, 0.0)
    return found


def _modulation(rest: Float[NDArray[np.float64], " frame"]) -> list[float]:
    """Log power of a compressed envelope without its mean, per octave; NaN where the signal is too short for one."""
    power = np.abs(np.fft.rfft(rest)) ** 2 * 2.0 / rest.size**2
    frequency = np.fft.rfftfreq(rest.size, 1.0 / RATE_HZ)
    bands = [power[(frequency >= low) & (frequency < high)].sum() for low, high in pairwise(MODULATIONS_HZ)]
    return [float(np.log(band)) if band > 0 else np.nan for band in bands]


def _middle(mono: Float[NDArray[np.float64], " time"], rate: float) -> Float[NDArray[np.float64], " kept"]:
    spare = max(0, mono.size - round(LONGEST_S * rate))
    return mono[spare // 2 : mono.size - (spare - spare // 2)]


def _erb(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """ERB-rate (Glasberg & Moore 1990)."""
    return np.asarray(21.4 * np.log10(1.0 + 0.00437 * hertz))


def _hertz(erb: float) -> float:
    return float((10.0 ** (erb / 21.4) - 1.0) / 0.00437)
