"""Beats of an ECG, and what is left without them: baseline wander, powerline, muscle noise.

The median beat, from BEFORE_S before the R peak to AFTER_S after it, is subtracted under every beat that resembles it.
What does not resemble it (ectopic beats) is left in the rest, and marked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from nst_nd.sample import Sample

BEFORE_S, AFTER_S = 0.25, 0.45
# correlation with the median beat from which a beat resembles it
ALIKE = 0.8
# a smoothing in s that muscle noise does not pass and QRS does, and by how much more than most an unlike beat misses
CALM_S, MISSED = 0.008, 4.0
# the ends of a beat, whose means are its baseline, and over which it is faded
END_S = 0.03
# an R peak lies within so much of where the detector saw it
NEAR_S = 0.05
# of the deepest wave in any lead: what an R wave has at least
UPRIGHT = 0.3
# samples beside a beat that an interpolation looks at
MARGIN = 6
# fewer beats have no median
FEWEST = 3

Signal = Float[NDArray[np.floating], "lead time"]


@dataclass(frozen=True)
class Beats:
    """peaks: samples of the R peaks. alike: which of them resemble the median beat. median: [lead, n] about a baseline
    of 0, whose sample `before` is the R peak. later: by how much of a sample each beat comes after its place: an R wave
    is so steep that half a sample of 360 Hz leaves more than noise.
    """

    peaks: Int[NDArray[np.intp], " beat"]
    alike: Bool[NDArray[np.bool_], " beat"]
    median: Float[NDArray[np.float64], "lead n"]
    before: int
    later: Float[NDArray[np.float64], " beat"]

    def drawn(self, length: int) -> Float[NDArray[np.float64], "lead time"]:
        """The median beat under every beat that resembles it, 0 elsewhere."""
        out = np.zeros((len(self.median), length))
        wide = np.pad(self.median, ((0, 0), (MARGIN, MARGIN)))
        for peak, later in zip(self.peaks[self.alike], self.later[self.alike], strict=True):
            start = int(peak) - self.before - MARGIN
            here = slice(max(0, start), min(length, start + wide.shape[1]))
            out[:, here] += _moved(wide, float(later))[:, here.start - start : here.stop - start]
        return out


def far_from_gaps(there: Bool[NDArray[np.bool_], " time"], rate: float) -> Bool[NDArray[np.bool_], " time"]:
    """What was recorded, less what is so near to a gap that a beat there is not whole; all of it if none is left."""
    from scipy.ndimage import binary_erosion

    far: Bool[NDArray[np.bool_], " time"] = binary_erosion(
        there, np.ones(2 * round(AFTER_S * rate) + 1), border_value=1
    )
    return far if far.any() else there


def r_peaks(sample: Sample) -> Int[NDArray[np.intp], " beat"]:
    """Samples of the R peaks: neurokit2's detector (Makowski et al. 2021) on the root mean square of the cleaned leads.

    Perhaps none, also where the recording is too short or its rate too low for the detector.
    """
    import neurokit2 as nk

    rate = sample.grid.rate or 1.0
    if sample.shape[0] < 2 * rate or rate < 50:
        return np.zeros(0, np.intp)
    leads = []
    for lead in sample.data.astype(np.float64):
        if lead.std() > 0:
            clean = np.asarray(nk.ecg_clean(lead, sampling_rate=round(rate)))
            scale = np.median(np.abs(clean - np.median(clean)))
            leads.append(clean / scale if scale > 0 else clean)
    if not leads:
        return np.zeros(0, np.intp)
    together = leads[0] if len(leads) == 1 else np.sqrt(np.mean(np.square(leads), axis=0))
    found = np.asarray(nk.ecg_findpeaks(together, sampling_rate=round(rate))["ECG_R_Peaks"], np.intp)
    return _aligned(np.stack(leads), found, round(NEAR_S * rate))


def _aligned(leads: NDArray[np.float64], places: NDArray[np.intp], near: int) -> NDArray[np.intp]:
    """Places moved by at most `near`, so that what is round them agrees over all beats, and is largest at each.

    A detector may see R in one beat and S in the next. The median of all is moved along each, as matched filters are.
    """
    places = np.unique(places)
    places = places[(places >= 2 * near) & (places < leads.shape[1] - 2 * near)]
    if not len(places):
        return places
    for _ in range(2):
        model = np.median([leads[:, p - near : p + near + 1] for p in places], axis=0)
        model = model - model.mean(axis=1, keepdims=True)
        moved = []
        for p in places:
            windows = np.lib.stride_tricks.sliding_window_view(
                leads[:, p - 2 * near : p + 2 * near + 1], 2 * near + 1, axis=1
            )
            moved.append(p - near + int(np.argmax(np.einsum("lsn,ln->s", windows, model))))
        places = np.unique(np.clip(moved, 2 * near, leads.shape[1] - 2 * near - 1))
    model = np.median([leads[:, p - near : p + near + 1] for p in places], axis=0)
    # R is upright by definition; only where no lead has one worth the name is it the deepest wave
    up, down = model.max(axis=1), -model.min(axis=1)
    wave = model[int(up.argmax())] if up.max() > UPRIGHT * down.max() else -model[int(down.argmax())]
    return np.unique(places - near + int(np.argmax(wave))).astype(np.intp)


def beats_of(sample: Sample) -> Beats | None:
    """The beats of an ECG in mV; None with fewer than FEWEST whole ones."""
    from scipy.ndimage import gaussian_filter1d

    rate = sample.grid.rate or 1.0
    peaks = r_peaks(sample)
    if len(peaks) < FEWEST:
        return None
    before = round(BEFORE_S * rate)
    # the next beat's P wave is its own
    after = min(round(AFTER_S * rate), max(1, int(np.median(np.diff(peaks))) - before))
    end = max(1, round(END_S * rate))
    whole = peaks[(peaks >= before) & (peaks + after <= sample.shape[0])]
    if len(whole) < FEWEST or before + after < 3 * end:
        return None
    data = sample.data.astype(np.float64)
    later = np.zeros(len(whole))
    near = slice(max(0, before - 2 * round(NEAR_S * rate)), before + 2 * round(NEAR_S * rate))
    for _ in range(3):
        places = zip((whole - before).tolist(), later.tolist(), strict=True)
        cut = np.stack([_levelled(_cut(data, start, before + after, late), end) for start, late in places])
        median = np.median(cut, axis=0)
        calm, model = (gaussian_filter1d(x, CALM_S * rate, axis=-1, mode="nearest")[..., near] for x in (cut, median))
        later += [_lag(beat, model) for beat in calm]
    alike = _alike(cut, median, rate)
    if alike.sum() < FEWEST:
        return None
    median = np.median(cut[alike], axis=0)
    fade = np.minimum(1.0, np.minimum(np.arange(median.shape[1]), np.arange(median.shape[1])[::-1]) / end)
    median = _levelled(median, end) * (0.5 - 0.5 * np.cos(np.pi * fade))
    # beats at the ends of the recording are not whole: they count as what most are
    resembles, moved = np.ones(len(peaks), bool), np.zeros(len(peaks))
    among = np.searchsorted(peaks, whole)
    resembles[among], moved[among] = alike, later
    return Beats(peaks, resembles, median, before, moved)


def _alike(
    cut: Float[NDArray[np.float64], "beat lead n"], median: Float[NDArray[np.float64], "lead n"], rate: float
) -> Bool[NDArray[np.bool_], " beat"]:
    """Which beats resemble the median: by their correlation, or because they miss it by no more than noise does.

    In noise as large as the waves no beat correlates well; one that is unlike misses the median by more than others.
    """
    from scipy.ndimage import gaussian_filter1d

    smooth, model = (gaussian_filter1d(x, CALM_S * rate, axis=-1, mode="nearest") for x in (cut, median))
    misses = np.sum((smooth - model) ** 2, axis=(1, 2))
    alike: Bool[NDArray[np.bool_], " beat"] = np.array([_correlation(beat, model) > ALIKE for beat in smooth])
    alike |= misses <= MISSED * np.median(misses)
    return alike


def _cut(data: NDArray[np.float64], start: int, n: int, later: float) -> NDArray[np.float64]:
    """[lead, n] from a place between two samples on; beyond the ends the last value."""
    places = np.clip(np.arange(start - MARGIN, start + n + MARGIN), 0, data.shape[1] - 1)
    return _moved(data[:, places], -later)[:, MARGIN:-MARGIN]


def _moved(signal: NDArray[np.float64], later: float) -> NDArray[np.float64]:
    """By a part of a sample, with cubic splines."""
    from scipy.ndimage import shift

    moved: NDArray[np.float64] = shift(signal, (0.0, later), order=3, mode="nearest") if later else signal
    return moved


def _lag(beat: NDArray[np.float64], model: NDArray[np.float64]) -> float:
    """By how many samples, one at most, a beat comes after a model: the top of a parabola through correlations.

    Both without what is faster than a QRS complex: slopes are mostly that, in noise.
    """
    steps = np.diff(beat, axis=1), np.diff(model, axis=1)  # slopes: a baseline has none
    inner = steps[1][:, 1:-1]
    early, here, late = (float((steps[0][:, k : k + inner.shape[1]] * inner).sum()) for k in range(3))
    bend = early - 2.0 * here + late
    return float(np.clip(0.5 * (early - late) / bend, -1.0, 1.0)) if bend < 0 else 0.0


def _levelled(beat: NDArray[np.float64], end: int) -> NDArray[np.float64]:
    """Less the line through the means of both ends."""
    first, last = beat[:, :end].mean(axis=1, keepdims=True), beat[:, -end:].mean(axis=1, keepdims=True)
    level: NDArray[np.float64] = beat - first - (last - first) * np.linspace(0.0, 1.0, beat.shape[1])
    return level


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return float((a * b).sum() / size) if size > 0 else 0.0


def median_beat(signal: Signal, beats: Beats) -> Float[NDArray[np.float64], "lead n"]:
    """Of a signal at the beats alike of another, about its own baseline; 0 with fewer than FEWEST whole ones."""
    return _over(signal, beats, np.median)


def synchronous(signal: Signal, beats: Beats) -> Float[NDArray[np.float64], "lead time"]:
    """What a signal has under every beat alike: its mean there, about its own baseline, drawn under every one."""
    n = beats.median.shape[1]
    fade = np.minimum(1.0, np.minimum(np.arange(n), np.arange(n)[::-1]) / _end_of(beats))
    mean = _over(signal, beats, np.mean) * (0.5 - 0.5 * np.cos(np.pi * fade))
    return replace(beats, median=mean).drawn(signal.shape[1])


def _over(signal: Signal, beats: Beats, statistic: Callable[..., NDArray[np.float64]]) -> NDArray[np.float64]:
    n = beats.median.shape[1]
    pairs = zip(beats.peaks[beats.alike] - beats.before, beats.later[beats.alike], strict=True)
    whole = [(int(start), float(later)) for start, later in pairs if start >= 0 and start + n <= signal.shape[1]]
    if len(whole) < FEWEST:
        return np.zeros((len(signal), n))
    data = signal.astype(np.float64)
    cut = [_levelled(_cut(data, start, n, later), _end_of(beats)) for start, later in whole]
    found: NDArray[np.float64] = statistic(cut, axis=0)
    return found


def _end_of(beats: Beats) -> int:
    """Samples of an end, at a rate that `before` tells."""
    return max(1, round(beats.before * END_S / BEFORE_S))
