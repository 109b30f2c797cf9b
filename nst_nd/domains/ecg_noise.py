"""The spectral method for ECG: the rest of a recording, without its beats, given the spectrum of another's rest.

With P the power spectrum of the content's rest in a lead and T that of the style's,

    filter    gain g = min(1, sqrt(T / P)) on the content's rest
    noise     with the power T - g^2 P that is missing then, the style's correlation of leads (by the square root of its
              matrix of cross-spectra), and above SLOW_HZ the style's slow rise and fall (bursts)

Beats that are like no other stay, with what is round them. What would move the median beat is taken out of the change.
Leads that follow Einthoven's law go on following it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from nst_nd.domains.beats import Beats, Signal, beats_of, far_from_gaps, synchronous
from nst_nd.sample import Sample

# of a spectrum: seconds of a piece, and the share of a frequency that it is averaged over where gains come from
PIECE_S, SMOOTHED = 16.0, 0.1
# of measuring what was reached and aiming again
ROUNDS = 5
# baseline wander lies below, muscle noise above: only that comes in bursts, over so many seconds
SLOW_HZ, BURST_S = 2.0, 0.5
# where the last filter begins
LOWEST_HZ = 0.3
BURSTS = (0.2, 4.0)
# before and after the R peak of a beat like no other, and the fade beside it
ECTOPIC_S, FADE_S = (0.25, 0.45), 0.05
# limb leads as multiples of I and II (Einthoven 1908, Goldberger 1942), and how far a recording may be from it in mV
LIMB = {
    "I": (1.0, 0.0),
    "II": (0.0, 1.0),
    "III": (-1.0, 1.0),
    "AVR": (-0.5, -0.5),
    "AVL": (1.0, -0.5),
    "AVF": (-0.5, 1.0),
}
LAWFUL_MV = 0.02


@dataclass(frozen=True)
class Rest:
    """What is left of a recording. cross: [f, lead, lead], 1 for white noise of variance 1; frequencies: Hz.

    bursts: [time], the slow rise and fall of what is fast where it was recorded, its mean square 1.
    """

    signal: Signal
    cross: Complex[NDArray[np.complexfloating], "f lead lead"]
    frequencies: Float[NDArray[np.float64], " f"]
    bursts: Float[NDArray[np.float64], " recorded"]

    @classmethod
    def of(cls, data: Signal, beats: Beats | None, rate: float, known: Tensor | None = None) -> Rest:
        """Of data [lead, time] in mV at this rate, less its beats; known: [1, 1, time], 0 in gaps."""
        signal = data.astype(np.float64) - (0.0 if beats is None else beats.drawn(data.shape[1]))
        there = np.ones(signal.shape[1]) if known is None else known[0, 0].double().numpy()
        signal = (signal - (signal @ there)[:, None] / max(float(there.sum()), 1.0)) * there
        # what is left of a beat beside a gap is no noise
        counts = there * far_from_gaps(there > 0, rate)
        frequencies, cross = _cross(signal * (counts > 0), rate, counts)
        return cls(signal, cross, frequencies, _bursts(signal[:, counts > 0], rate))

    @property
    def power(self) -> Float[NDArray[np.float64], "lead f"]:
        """Of each lead."""
        found: NDArray[np.float64] = np.einsum("fll->lf", self.cross).real
        return found


class RestMethod:
    """The method for one content and its styles: data at the content's rate, where it was recorded, and shares.

    known: the same of the content, as `Rest.of` takes it.
    """

    def __init__(
        self,
        content: Sample,
        styles: Sequence[tuple[Signal, Tensor | None, float]],
        beats: Beats,
        known: Tensor | None = None,
    ) -> None:
        self.content, self.beats, self.known, self.rate = content, beats, known, content.grid.rate or 1.0
        self.own = Rest.of(content.data, beats, self.rate, known)
        self.rests = [
            (Rest.of(data, beats_of(content.replace(data=data, gaps=None)), self.rate, there), share)
            for data, there, share in styles
        ]
        f = self.own.frequencies
        goal = np.sum([share * _at(rest.power, rest.frequencies, f) for rest, share in self.rests], axis=0)
        self.target = _smoothed(goal, f)
        self.usual = _usual(beats, content.shape[0], self.rate)

    def change(self, seed: int) -> NDArray[np.float64]:
        """[lead, time] in mV: what to add to the content. seed: of the noise.

        What pieces, beats and the law of leads take away is made up for: it is measured and aimed again, ROUNDS times.
        """
        aim, change = self.target, np.zeros(self.own.signal.shape)
        for _ in range(ROUNDS):
            made = _once(self.own, self.rests, aim, self.rate, seed) * self.usual
            change = kept(self.content, made, self.beats)
            aim = aim * np.clip(self.target / np.maximum(self._reached(change), 1e-30), 0.5, 2.0)
        return change

    def closed(self, change: NDArray[np.float64]) -> NDArray[np.float64]:
        """A change after one more, gentle filter towards the styles' spectrum, and what must stay."""
        change = kept(self.content, change * self.usual, self.beats)
        gain = np.sqrt(np.clip(self.target / np.maximum(self._reached(change), 1e-30), 0.5, 2.0)) - 1.0

        def above(f: NDArray[Any]) -> NDArray[Any]:
            # slower waves are too few to be counted
            share = np.clip((f - LOWEST_HZ) / LOWEST_HZ, 0.0, 1.0)
            found: NDArray[Any] = share * _at(gain, self.own.frequencies, f)
            return found

        more = _filtered(self.own.signal + change, self.rate, above)
        return kept(self.content, change + more * self.usual, self.beats)

    def _reached(self, change: NDArray[np.float64]) -> NDArray[np.float64]:
        rest = Rest.of(self.own.signal + change, None, self.rate, self.known)
        return _smoothed(rest.power, self.own.frequencies)


def kept(content: Sample, change: Signal, beats: Beats) -> NDArray[np.float64]:
    """A change [lead, time] in mV that leaves the median beat and the law of leads as they are."""
    return _lawful(content, change - synchronous(change, beats))


def _once(
    own: Rest,
    rests: Sequence[tuple[Rest, float]],
    aim: NDArray[np.float64],
    rate: float,
    seed: int,
) -> NDArray[np.float64]:
    """The content's rest filtered, and the missing noise. aim: [lead, f], the power to reach."""
    length = own.signal.shape[1]
    ours = _smoothed(own.power, own.frequencies)
    gain = np.minimum(1.0, np.sqrt(aim / np.maximum(ours, 1e-12 * ours.max())))
    f = np.fft.rfftfreq(length, 1.0 / rate)
    change = _filtered(own.signal, rate, lambda at: _at(gain, own.frequencies, at) - 1.0)
    missing = np.maximum(aim - gain**2 * ours, 0.0)
    draw = np.random.default_rng(seed)
    for rest, share in rests:
        theirs = _smoothed(_at(rest.power, rest.frequencies, own.frequencies), own.frequencies)
        wanted = np.sqrt(share * missing / np.maximum(theirs, 1e-30))
        change += _noise(rest, _at(wanted, own.frequencies, f), f, rate, length, draw)
    return change


def _filtered(
    signal: NDArray[Any], rate: float, response: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[np.float64]:
    """A signal through a real response of [f] in Hz, without delay; mirrored at its ends, which need not meet."""
    there = np.concatenate([signal, signal[:, ::-1]], axis=1)
    waves = np.fft.rfft(there) * response(np.fft.rfftfreq(there.shape[1], 1.0 / rate))
    found: NDArray[np.float64] = np.fft.irfft(waves, there.shape[1])[:, : signal.shape[1]]
    return found


def _cross(signal: NDArray[np.float64], rate: float, there: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Welch's average of the matrices of cross-spectra, of a signal that is 0 where `there` [time] is."""
    n = min(round(PIECE_S * rate), signal.shape[1])
    window = np.hanning(n + 2)[1:-1]
    starts = range(0, signal.shape[1] - n + 1, max(1, n // 2))
    total, seen = np.zeros((n // 2 + 1, len(signal), len(signal)), np.complex128), 0.0
    for start in starts:
        waves = np.fft.rfft(signal[:, start : start + n] * window).T
        total += waves[:, :, None] * waves[:, None, :].conj()
        seen += float(np.sum((window * there[start : start + n]) ** 2))
    return np.fft.rfftfreq(n, 1.0 / rate), total / max(seen, 1e-12)


def _noise(
    rest: Rest, share: NDArray[np.float64], f: NDArray[Any], rate: float, length: int, draw: np.random.Generator
) -> NDArray[np.float64]:
    """[lead, time]: noise with the rest's cross-spectra times a share of each lead's amplitude at the frequencies f."""
    values, vectors = np.linalg.eigh(rest.cross)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))[:, None]) @ vectors.conj().swapaxes(1, 2)
    waves = np.fft.rfft(draw.standard_normal((len(rest.signal), length)))
    waves[:, 0] = 0.0
    out = np.zeros((len(rest.signal), length))
    for lead in range(len(rest.signal)):
        mixed = sum(_at(root[:, lead, k], rest.frequencies, f) * waves[k] for k in range(len(waves)))
        out[lead] = np.fft.irfft(mixed * share[lead], length)
    slow = _low(out, rate)
    start = int(draw.integers(len(rest.bursts)))
    there = np.concatenate([rest.bursts, rest.bursts[::-1]])  # mirrored, so that it may go round
    bursts = there[(start + np.arange(length)) % len(there)]
    found: NDArray[np.float64] = slow + (out - slow) * bursts
    return found


def _bursts(signal: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    from scipy.ndimage import uniform_filter1d

    fast = signal - _low(signal, rate)
    each = fast / np.maximum(fast.std(axis=1, keepdims=True), 1e-12)
    power = uniform_filter1d(np.mean(each**2, axis=0), max(1, round(BURST_S * rate)), mode="reflect")
    # a running sum may end a little below 0 in a gap
    size = np.sqrt(np.maximum(power, 0.0))
    # what happens within a second is the noise itself
    smooth = uniform_filter1d(size, max(1, round(2 * BURST_S * rate)), mode="reflect")
    level = np.sqrt(np.mean(smooth**2))
    found: NDArray[np.float64] = np.clip(smooth / level, *BURSTS) if level > 0 else np.ones(signal.shape[1])
    unit: NDArray[np.float64] = found / np.sqrt(np.mean(found**2))
    return unit


def _low(signal: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter1d

    low: NDArray[np.float64] = gaussian_filter1d(signal, 0.19 * rate / SLOW_HZ, axis=1, mode="reflect")
    return low


def _at(values: NDArray[Any], own: NDArray[Any], wanted: NDArray[Any]) -> NDArray[Any]:
    """Values [..., f] at other frequencies; those of the ends beyond them."""
    flat = values.reshape(-1, values.shape[-1])
    return np.stack([np.interp(wanted, own, row) for row in flat]).reshape((*values.shape[:-1], len(wanted)))


def _smoothed(power: NDArray[np.float64], f: NDArray[Any]) -> NDArray[np.float64]:
    """Means over SMOOTHED of each frequency, one place to either side at least."""
    total = np.concatenate([np.zeros((len(power), 1)), np.cumsum(power, axis=1)], axis=1)
    places = np.arange(len(f))
    reach = np.maximum(1, np.floor(SMOOTHED * places)).astype(int)
    low, high = np.maximum(0, places - reach), np.minimum(len(f), places + reach + 1)
    mean: NDArray[np.float64] = (total[:, high] - total[:, low]) / (high - low)
    return mean


def _usual(beats: Beats, length: int, rate: float) -> NDArray[np.float64]:
    """[time]: 0 at beats that are like no other, 1 elsewhere."""
    from scipy.ndimage import uniform_filter1d

    inside = np.ones(length)
    for peak in beats.peaks[~beats.alike]:
        inside[max(0, peak - round(ECTOPIC_S[0] * rate)) : peak + round(ECTOPIC_S[1] * rate)] = 0.0
    faded: NDArray[np.float64] = uniform_filter1d(inside, max(1, round(2 * FADE_S * rate)), mode="nearest")
    return faded


def _lawful(content: Sample, change: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest change that follows Einthoven's law, where the content does."""
    names = [name.strip().upper() for name in content.channels]
    places = [names.index(name) for name in LIMB if name in names]
    if len(places) < 3 or len(set(names)) < len(names):
        return change
    law = np.array([LIMB[names[place]] for place in places])
    onto = law @ np.linalg.pinv(law)
    limb = content.data[places].astype(np.float64)
    limb = limb - limb.mean(axis=1, keepdims=True)
    if np.abs(limb - onto @ limb).max() > LAWFUL_MV:
        return change
    out = change.copy()
    out[places] = onto @ change[places]
    return out
