"""Metrics of ECG: what must stay (rhythm, beat, intervals, the law of leads) and what is restyled (the rest)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from nst_nd.domains.beats import Beats, beats_of, far_from_gaps, median_beat, r_peaks
from nst_nd.domains.metrics.rest import distances, shape_of
from nst_nd.domains.metrics.signals import BANDS_HZ, third_octave_distance
from nst_nd.sample import Sample

# an R peak is found again within so much
MATCH_S = 0.15
# after the end of the QRS complex: where ischaemia is read
ST_S = 0.06
# of intervals: smoothing of slopes and of T, what counts as fast, how long it rests, half the longest QRS, T's start
SMOOTHED_S, T_SMOOTHED_S, STEEP, REST_S, QRS_S, T_AFTER_S = 0.004, 0.01, 0.06, 0.012, 0.1, 0.08

ECG_METRICS = (
    *("lead_correlation", "prdn", "r_peaks_lost", "r_shift_ms", "rr_rmse_ms", "beat_correlation", "beat_gain"),
    *("qrs_change_ms", "qt_change_ms", "st_change_mv", "limb_law_mv"),
    *("residual_distance_before", "residual_distance_after"),
    *(f"rest_{name}_{when}" for name in ("skewness", "kurtosis") for when in ("before", "after", "style")),
    *(f"rest_{name}_distance_{when}" for name in ("amplitude", "correlation") for when in ("before", "after")),
)


def ecg_metrics(content: Sample, style: Sample, result: Sample) -> dict[str, float]:
    """NaN where there are no beats, or not the leads.

    lead_correlation: median over leads of the correlation of content and result. prdn: 100 sqrt(sum (x - y)^2 / sum
    (x - mean x)^2) in percent over all leads. r_peaks_lost: 1 less the F1 score of the content's R peaks found again
    within 150 ms; r_shift_ms: the median of how far they moved; rr_rmse_ms: of the intervals
    between those found again. beat_correlation, beat_gain: of the result's median
    beat with the content's, at the content's R peaks. qrs_change_ms, qt_change_ms: of durations in it, see intervals.
    st_change_mv: largest change in any lead of the level 60 ms after the QRS complex, against the baseline of the
    beat. limb_law_mv: largest change of II - I - III. residual_distance_before, _after: root mean square difference
    in dB to the style's third octaves from 0.6 to 40 Hz, of what is left when the median beat is taken out under
    every beat alike. rest_skewness, rest_kurtosis (0 for Gaussian noise) of that rest: before, after and of the style;
    rest_amplitude_distance (mV), rest_correlation_distance: to the style's, before and after, see rest.py.
    """
    beats = beats_of(content)
    found = _whole(content, result) | _rhythm(content, result) | _beat(content, result, beats)
    found["limb_law_mv"] = _limb_law(content, result)
    rests = [
        _rest(sample, own) for sample, own in ((content, beats), (result, beats_of(result)), (style, beats_of(style)))
    ]
    for name, rest in zip(("before", "after"), rests, strict=False):
        found[f"residual_distance_{name}"] = third_octave_distance(rest, rests[2], BANDS_HZ)
    return found | _shapes(*rests)


def _shapes(before: Sample, after: Sample, style: Sample) -> dict[str, float]:
    shapes = {"before": shape_of(before), "after": shape_of(after), "style": shape_of(style)}
    found: dict[str, float] = {}
    for when, shape in shapes.items():
        found[f"rest_skewness_{when}"] = np.nan if shape is None else float(shape.skewness)
        found[f"rest_kurtosis_{when}"] = np.nan if shape is None else float(shape.kurtosis)
    for when in ("before", "after"):
        amplitude, correlation = distances(shapes[when], shapes["style"])
        found[f"rest_amplitude_distance_{when}"] = amplitude
        found[f"rest_correlation_distance_{when}"] = correlation
    return found


def _whole(content: Sample, result: Sample) -> dict[str, float]:
    pairs = zip(content.data.astype(np.float64), result.data.astype(np.float64), strict=True)
    leads = [float(np.corrcoef(x, y)[0, 1]) for x, y in pairs if x.std() > 0 and y.std() > 0]
    x = content.data.astype(np.float64)
    power = np.sum((x - x.mean(axis=1, keepdims=True)) ** 2)
    error = np.sum((x - result.data) ** 2) / power if power > 0 else np.nan
    return {"lead_correlation": float(np.median(leads)) if leads else np.nan, "prdn": float(100.0 * np.sqrt(error))}


def _rhythm(content: Sample, result: Sample) -> dict[str, float]:
    before, after = r_peaks(content), r_peaks(result)
    if not len(before):
        return {"r_peaks_lost": np.nan, "r_shift_ms": np.nan, "rr_rmse_ms": np.nan}
    reach = MATCH_S * (content.grid.rate or 1.0)
    # every peak of the result is used once, by the nearest of the content's
    shifts, taken, pairs = [], set(), []
    for peak in before:
        near = [
            (abs(int(p) - int(peak)), int(p)) for p in after if abs(int(p) - int(peak)) <= reach and int(p) not in taken
        ]
        if near:
            shift, place = min(near)
            shifts.append(shift)
            taken.add(place)
            pairs.append((int(peak), place))
    f1 = 2.0 * len(shifts) / (len(before) + len(after))
    moved = 1000.0 * float(np.median(shifts)) / (content.grid.rate or 1.0) if shifts else np.nan
    intervals_of = np.diff(np.array(pairs, np.float64), axis=0) if len(pairs) > 1 else np.zeros((0, 2))
    error = np.sqrt(np.mean((intervals_of[:, 0] - intervals_of[:, 1]) ** 2)) if len(intervals_of) else np.nan
    return {
        "r_peaks_lost": 1.0 - f1,
        "r_shift_ms": moved,
        "rr_rmse_ms": 1000.0 * float(error) / (content.grid.rate or 1.0),
    }


def _beat(content: Sample, result: Sample, beats: Beats | None) -> dict[str, float]:
    names = ("beat_correlation", "beat_gain", "qrs_change_ms", "qt_change_ms", "st_change_mv")
    if beats is None:
        return dict.fromkeys(names, np.nan)
    rate = content.grid.rate or 1.0
    pair = [median_beat(sample.data, beats) for sample in (content, result)]
    x, y = (beat - beat.mean(axis=1, keepdims=True) for beat in pair)
    energy = float((x * x).sum())
    if energy == 0:
        return dict.fromkeys(names, np.nan)
    correlation = float((x * y).sum() / np.sqrt(energy * (y * y).sum())) if y.any() else np.nan
    before, after = (intervals(beat, beats.before, rate) for beat in pair)
    place = round(before.offset + ST_S * rate) if np.isfinite(before.offset) else x.shape[1]
    st = float(np.abs(pair[1][:, place] - pair[0][:, place]).max()) if place < x.shape[1] else np.nan
    changes = (abs(after.qrs_ms - before.qrs_ms), abs(after.qt_ms - before.qt_ms))
    return dict(zip(names, (correlation, float((x * y).sum() / energy), *changes, st), strict=True))


@dataclass(frozen=True)
class Intervals:
    """Of a beat, in ms; offset: the sample where QRS ends. NaN where it has none."""

    qrs_ms: float
    qt_ms: float
    offset: float


def intervals(beat: Float[NDArray[np.float64], "lead n"], peak: int, rate: float) -> Intervals:
    """Of a median beat [lead, n] in mV about a baseline of 0, whose R peak is at this sample.

    QRS is where the leads together move faster than STEEP of their fastest, without a rest of REST_S; T ends where the
    tangent at its steepest descent meets the baseline (Lepeschkin & Surawicz 1952), in the leads' root mean square.
    """
    from scipy.ndimage import gaussian_filter1d

    speed = np.sqrt(np.mean(gaussian_filter1d(beat, max(0.5, SMOOTHED_S * rate), axis=1, order=1) ** 2, axis=0))
    near = slice(max(0, peak - round(QRS_S * rate)), peak + round(QRS_S * rate) + 1)
    fast = speed > STEEP * speed[near].max()
    rest = max(1, round(REST_S * rate))
    onset, offset = _end(fast, peak, -1, rest), _end(fast, peak, 1, rest)
    nothing = Intervals(np.nan, np.nan, np.nan)
    if onset is None or offset is None:
        return nothing
    size = gaussian_filter1d(np.sqrt(np.mean(beat**2, axis=0)), T_SMOOTHED_S * rate)
    start = offset + round(T_AFTER_S * rate)
    if start + 3 >= len(size):
        return Intervals(1000.0 * (offset - onset) / rate, np.nan, float(offset))
    top = start + int(np.argmax(size[start:]))
    fall = np.diff(size[top:])
    if not len(fall) or fall.min() >= 0:
        return Intervals(1000.0 * (offset - onset) / rate, np.nan, float(offset))
    steepest = top + int(np.argmin(fall))
    end = steepest + (size[steepest] - size[top:].min()) / -fall.min()
    return Intervals(1000.0 * (offset - onset) / rate, 1000.0 * (end - onset) / rate, float(offset))


def _end(fast: NDArray[np.bool_], peak: int, step: int, rest: int) -> int | None:
    """The first place from the peak on, in steps, that begins a rest; None where there is none."""
    calm = 0
    place = peak
    # the peak itself, where the leads turn, is calm
    seen = False
    while 0 <= place < len(fast):
        seen = seen or bool(fast[place])
        calm = 0 if fast[place] else calm + 1
        if seen and calm == rest:
            return place - step * (rest - 1)
        place += step
    return None


def _limb_law(content: Sample, result: Sample) -> float:
    names = [name.strip().upper() for name in content.channels]
    if not {"I", "II", "III"} <= set(names):
        return np.nan
    one, two, three = (
        result.data[names.index(n)].astype(np.float64) - content.data[names.index(n)] for n in ("I", "II", "III")
    )
    return float(np.abs(two - one - three).max())


def _rest(sample: Sample, beats: Beats | None) -> Sample:
    data, gaps = sample.data.astype(np.float64), sample.gaps
    if gaps is not None:
        far = far_from_gaps(~np.logical_or.reduce(gaps), sample.grid.rate or 1.0)
        gaps = np.broadcast_to(~far, gaps.shape)
    return sample.replace(data=data if beats is None else data - beats.drawn(sample.shape[0]), gaps=gaps)
