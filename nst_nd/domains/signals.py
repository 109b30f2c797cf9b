"""What audio and ECG share: one time axis, a rate, and one gain for content and style so that levels are kept."""

from __future__ import annotations

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


def common_scaling(samples: Sequence[Sample], nc: int) -> Scaling:
    """One gain for all, so that the level is part of the style; no offset, so that silence is 0.

    By what varies: a constant part (a DC-coupled amplifier's) may be far larger than the signal.
    """
    level = max(float(np.sqrt(np.mean(_variance(s.data)))) for s in samples)
    return uniform_scaling(nc, LEVEL / level, 0.0)


def _variance(data: Data) -> NDArray[np.float64]:
    """[C] of [C, time], in float64; piece by piece where it is large."""
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
    """The data at this rate (polyphase low-pass, scipy.signal.resample_poly); a note says so where it changes.

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
    from scipy.signal import resample_poly

    notes.append(f"style resampled from {own:g} Hz to the content's {rate:g} Hz")
    out = resample_poly(sample.data, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    return np.asarray(out, dtype=sample.data.dtype)
