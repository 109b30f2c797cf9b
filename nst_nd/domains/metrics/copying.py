"""Whether a result plays the style back: copying is not style transfer."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from nst_nd.sample import Sample

PIECE_S = 2.0
# pieces that are looked at, spread evenly over the result
MOST_PIECES = 40
# of the style, from its middle
LONGEST_S = 120.0
# a piece with less of the result's mean power is silence (60 dB)
SILENCE = 1e-6

Wave = Float[NDArray[np.float64], " time"]


def largest_correlation(result: Sample, style: Sample) -> float:
    """Largest |normalised cross-correlation| of 2 s pieces of the result with the style at any lag, 0..1.

    Both as the mean of their channels, the style at the result's rate. Each product is divided by the norms of the
    piece and of the part of the style under it, so that 1 is a copy, whatever its level. Where one of the two is
    shorter than 2 s, pieces are as long as it. NaN where all pieces are silent.
    """
    rate = result.grid.rate or 1.0
    ours, theirs = (s.data.mean(axis=0, dtype=np.float64) for s in (result, style))
    theirs = _at_rate(theirs, style.grid.rate or rate, rate)
    spare = max(0, theirs.size - round(LONGEST_S * rate))
    theirs = theirs[spare // 2 : theirs.size - (spare - spare // 2)]
    length = max(1, min(round(PIECE_S * rate), ours.size, theirs.size))
    starts = np.arange(0, ours.size - length + 1, max(1, length // 2))
    if starts.size > MOST_PIECES:
        starts = starts[np.linspace(0, starts.size - 1, MOST_PIECES).round().astype(int)]
    least = SILENCE * float(np.mean(ours**2)) * length
    pieces = [ours[start : start + length] for start in starts]
    found = [_largest(piece, theirs) for piece in pieces if 0 < least <= float(np.sum(piece**2))]
    return max(found, default=np.nan)


def _largest(piece: Wave, style: Float[NDArray[np.float64], " longer"]) -> float:
    from scipy.signal import fftconvolve

    products = np.abs(fftconvolve(style, piece[::-1], mode="valid"))
    total = np.concatenate([[0.0], np.cumsum(style**2)])
    energy = total[piece.size :] - total[: -piece.size]
    audible = energy > SILENCE * total[-1] * piece.size / style.size
    norms = np.sqrt(energy[audible] * np.sum(piece**2))
    return float(np.minimum(products[audible] / norms, 1.0).max(initial=0.0))


def _at_rate(wave: Wave, own: float, rate: float) -> Float[NDArray[np.float64], " other"]:
    if own == rate:
        return wave
    from scipy.signal import resample_poly

    ratio = Fraction(rate / own).limit_denominator(100_000)
    return np.asarray(resample_poly(wave, ratio.numerator, ratio.denominator), np.float64)
