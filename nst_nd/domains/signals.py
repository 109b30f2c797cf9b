"""What audio and ECG share: one time axis, a rate, and one gain for content and style so that levels are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.domains.domain import Scaling, uniform_scaling
from nst_nd.errors import InputError
from nst_nd.sample import Data, Sample

# root mean square of the louder input in model units
LEVEL = 64.0
LARGEST_RATIO = 100_000
# how many times faster or slower a style may be sampled than its content
FARTHEST = 1000.0
# of the low-pass, in samples of the faster rate: half its length, and the beta of its Kaiser window
FILTER_HALF, FILTER_BETA = 10, 5.0
# samples that are resampled at a time
PIECE = 2**20


def common_scaling(samples: Sequence[Sample], nc: int) -> Scaling:
    """One gain for all, so that the level is part of the style; no offset, so that silence is 0.

    By what varies: a constant part (a DC-coupled amplifier's) may be far larger than the signal.
    """
    level = max(float(np.sqrt(np.mean(variance(s.data)))) for s in samples)
    return uniform_scaling(nc, LEVEL / level, 0.0)


def variance(data: Data) -> NDArray[np.float64]:
    """Of each channel, [C] of [C, time], in float64; piece by piece where it is large."""
    if data.nbytes < scratch.LARGE:
        return np.asarray(np.var(data, axis=1, dtype=np.float64))
    total = np.zeros((2, len(data)))
    for piece in scratch.chunks(data, 1):
        total[0] += data[:, piece].sum(axis=1, dtype=np.float64)
        scratch.release(data)
    mean = total[0] / data.shape[1]
    for piece in scratch.chunks(data, 1):
        total[1] += np.square(data[:, piece] - mean[:, None]).sum(axis=1)
        scratch.release(data)
    variance: NDArray[np.float64] = total[1] / data.shape[1]
    return variance


def resample(sample: Sample, rate: float | None, notes: list[str]) -> Data:
    """The data at this rate (polyphase low-pass); a note says so where it changes.

    Raises InputError where a rate is missing or the two have no common measure.
    """
    own = sample.grid.rate
    if own == rate:
        return sample.data
    if own is None or rate is None:
        raise InputError("content and style need a sampling rate each; give `rate` for files that carry none")
    ratio = Fraction(rate / own).limit_denominator(LARGEST_RATIO)
    if not 1.0 / FARTHEST <= ratio <= FARTHEST:
        raise InputError(f"cannot resample a style at {own:g} Hz to {rate:g} Hz: more than {FARTHEST:g} times apart")
    notes.append(f"style resampled from {own:g} Hz to the content's {rate:g} Hz")
    return _polyphase(sample.data, ratio.numerator, ratio.denominator)


def _polyphase(data: Data, up: int, down: int) -> Data:
    """[C, time] at up / down times its rate, piece by piece: hours of sound take a file, and memory for seconds.

    The filter of scipy.signal.resample_poly; beyond its ends the signal goes on as the line from its first sample to
    its last.
    """
    from scipy.signal import firwin, resample_poly

    half = FILTER_HALF * max(up, down)
    window = firwin(2 * half + 1, 1.0 / max(up, down), window=("kaiser", FILTER_BETA)).astype(data.dtype)
    # of input: pieces begin where a sample of the output does, and so do the samples before them that it needs
    margin = math.ceil(math.ceil((half + 1) / up) / down) * down
    piece = math.ceil(PIECE / len(data) / down) * down
    n = data.shape[1]
    out = scratch.empty((len(data), -(-n * up // down)), data.dtype)
    for start in range(0, n, piece):
        first = start // down * up
        stop = min(out.shape[1], first + piece // down * up)
        seen = _extended(data, start - margin, min(n, start + piece) + margin)
        skipped = margin // down * up
        made = resample_poly(seen, up, down, axis=-1, window=window)
        out[:, first:stop] = made[:, skipped : skipped + stop - first]
        scratch.release(data, out)
    return out


def _extended(data: Data, start: int, stop: int) -> Data:
    """Samples `start` to `stop`, beyond the ends too; see _polyphase."""
    n = data.shape[1]
    inside = data[:, max(0, start) : min(n, stop)]
    slope = (data[:, -1:] - data[:, :1]) / max(1, n - 1)
    before = data[:, :1] + slope * np.arange(min(0, start), 0, dtype=data.dtype)
    after = data[:, -1:] + slope * np.arange(1, max(0, stop - n) + 1, dtype=data.dtype)
    return np.concatenate([before, inside, after], axis=1, dtype=data.dtype)
