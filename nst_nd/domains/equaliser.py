"""Mean spectra of sound, and the filters made of them: to equalise one sound by another, and to weigh steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.features.shaping import Shaping
from nst_nd.sample import Data

# bins of a mean spectrum, and the octaves that it is averaged over
BINS, SMOOTHED_OCTAVES = 2049, 1.0 / 6.0
# of a piece, by a mask, against the piece that it covers best
COVERED = 0.9
# of an equaliser, in dB, and how far below its loudest frequency a spectrum is followed
LARGEST_GAIN_DB, FLOOR_DB = 40.0, -110.0
# power of full scale squared: nothing at all
SILENCE = 1e-30
# pieces of a mapped sound, after which their memory goes back
RELEASED_AFTER = 256
# of steps: the loudest frequencies over the quietest
STEPS_DB = -90.0

Spectrum = Float[NDArray[np.float64], " bin"]


def mean_spectrum(data: Data, weight: NDArray[np.floating] | None = None) -> Spectrum:
    """[BINS] from 0 to half the sampling rate: mean power of the channels [C, time], over a sixth octave.

    By Welch's method (1967) with Hann windows. weight: [time], 0..1; pieces that it covers as well as any count.
    """
    from scipy.ndimage import gaussian_filter1d

    length = min(2 * (BINS - 1), data.shape[1])
    window = np.hanning(length + 2)[1:-1] ** 2
    last = data.shape[1] - length
    pieces = [slice(i, i + length) for i in sorted({*range(0, last, max(1, length // 2)), last})]
    shares = [1.0 if weight is None else float(window @ weight[piece]) for piece in pieces]
    kept = [piece for piece, share in zip(pieces, shares, strict=True) if share >= COVERED * max(shares)]
    total = np.zeros(length // 2 + 1)
    for number, piece in enumerate(kept):
        if number % RELEASED_AFTER == 0:
            scratch.release(data)
        waves = np.fft.rfft(data[:, piece] * np.sqrt(window))
        total += np.mean(waves.real**2 + waves.imag**2, axis=0)
    power = total / (len(kept) * window.sum())
    power = np.interp(np.linspace(0.0, 1.0, BINS), np.linspace(0.0, 1.0, power.size), power)
    octaves = np.log2(np.arange(1, BINS + 1))
    even = np.linspace(0.0, octaves[-1], 4 * BINS)
    width = SMOOTHED_OCTAVES / 2.0 * even.size / octaves[-1]
    smooth = gaussian_filter1d(np.interp(even, octaves, power), width, mode="nearest")
    found = np.interp(octaves, even, smooth)
    floored: Spectrum = np.maximum(found, max(found.max() * 10 ** (FLOOR_DB / 10.0), SILENCE))
    return floored


def equaliser(content: Spectrum, style: Spectrum, known: float) -> Shaping:
    """The filter that gives the content's mean spectrum the style's, by LARGEST_GAIN_DB at most.

    known: the share of the frequencies that the style says something about; above it nothing is changed.
    """
    gain = np.sqrt(style / content)
    limit = 10 ** (LARGEST_GAIN_DB / 20.0)
    gain = np.clip(gain, 1.0 / limit, limit)
    gain[round(known * (BINS - 1)) + 1 :] = 1.0
    return Shaping.of(torch.from_numpy(gain))


def steps(spectra: Sequence[Spectrum], rate: float, known: float) -> Shaping:
    """A filter for the iterate: amplitude of the loudest of these spectra in a band as wide as an ear's.

    The cost compares logarithms of levels in such bands (ERB, Glasberg & Moore 1990), so each is to change by as much.
    Its mean square is 1: white noise keeps its level. known: see `equaliser`; nothing changes above.
    """
    hertz = np.linspace(0.0, rate / 2.0, BINS)
    power = np.max(spectra, axis=0) * (24.7 * (1.0 + 0.00437 * hertz))
    power = np.maximum(power, power.max() * 10 ** (STEPS_DB / 10.0))
    power[round(known * (BINS - 1)) + 1 :] = 0.0
    return Shaping.of(torch.from_numpy(np.sqrt(power / power.mean())))


def colour(style: Spectrum) -> Shaping:
    """Gives white noise this spectrum, and keeps its level."""
    return Shaping.of(torch.from_numpy(np.sqrt(style / style.mean())))
