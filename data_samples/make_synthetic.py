"""Makes the two synthetic signals: a 12-lead ambulatory ECG (CSV) and a crackling fire (WAV, stereo).

The ECG is a heart dipole (sums of Gaussians in time) seen by nine electrodes, each with its own disturbances. The leads
are differences of electrodes, so that II = I + III and the Goldberger relations hold for the noise too. It is a
texture for style transfer and no model of any disease. Nothing here was recorded.

`python make_synthetic.py` writes both beside itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

RATE_ECG, RATE_AUDIO = 1000, 44100  # Hz
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

# Waves of a beat: centre and width in s (the T wave's at a beat of 1 s), then the dipole to the left, to the feet, to
# the front, in mV.
WAVES = (
    (-0.165, 0.020, (0.05, 0.11, 0.04)),  # P
    (-0.022, 0.008, (-0.12, -0.06, 0.16)),  # septum
    (0.000, 0.011, (0.75, 0.80, 0.15)),  # R
    (0.024, 0.010, (0.00, -0.20, -0.85)),  # base of the heart
    (0.270, 0.045, (0.18, 0.20, 0.10)),  # T
)

# What an electrode sees of the dipole: right arm, left arm, left leg (an equilateral triangle), then V1 to V6.
LIMBS = np.array([(-0.5, -0.289, 0), (0.5, -0.289, 0), (0, 0.577, 0)])
CHEST_ANGLE = np.deg2rad((120, 100, 80, 60, 25, 0))  # from the left towards the front
CHEST_GAIN = np.array((0.9, 1.4, 1.4, 1.4, 1.2, 0.9))
CHEST = np.stack([CHEST_GAIN * np.cos(CHEST_ANGLE), np.full(6, 0.15), CHEST_GAIN * np.sin(CHEST_ANGLE)], axis=1)
ELECTRODES = np.concatenate([LIMBS, CHEST])


def noise(rng: np.random.Generator, shape: tuple[int, int], low: float, high: float, rate: int) -> Array:
    """Gaussian noise [channel, time] of standard deviation 1, with slopes of 12 dB an octave beyond low..high in Hz.

    Shaped in the frequency domain: it is periodic, so that it has no transient at either end.
    """
    f = np.fft.rfftfreq(shape[1], 1 / rate)
    f[0] = f[1]  # spares a division by zero; the mean goes below
    gain = 1 / np.sqrt((1 + (low / f) ** 4) * (1 + (f / high) ** 4))
    gain[0] = 0
    x = np.fft.irfft(gain * np.fft.rfft(rng.standard_normal(shape)), n=shape[1])
    return np.asarray(x / x.std(axis=-1, keepdims=True))


def heart(time: Array, rng: np.random.Generator) -> Array:
    """Dipole [3, time] in mV: sinus beats, about 92 a minute, faster on breathing in."""
    dipole = np.zeros((3, len(time)))
    beat = 0.35
    while beat < time[-1] + 0.3:
        interval = 0.65 + 0.04 * np.sin(2 * np.pi * 0.28 * beat) + rng.normal(0, 0.008)
        for order, (centre, width, vector) in enumerate(WAVES):
            stretch = np.sqrt(interval) if order == len(WAVES) - 1 else 1.0
            wave = np.exp(-((time - beat - centre * stretch) ** 2) / (2 * (width * stretch) ** 2))
            dipole += np.array(vector)[:, None] * wave
        beat += interval
    return dipole


def disturbances(time: Array, rng: np.random.Generator) -> Array:
    """Noise [9, time] in mV on the electrodes: baseline wander, powerline at 50 Hz, bursts of muscle noise."""
    n, count = len(time), len(ELECTRODES)
    wander = 0.08 * noise(rng, (count, n), 0.1, 0.4, RATE_ECG)
    breath = 0.05 * rng.uniform(0.3, 1, (count, 1)) * np.sin(2 * np.pi * 0.28 * time)
    hum = np.sin(2 * np.pi * 50 * time) + 0.15 * np.sin(2 * np.pi * 150 * time + 1)
    hum = 0.02 * rng.uniform(0.2, 1, (count, 1)) * hum * (1 + 0.3 * np.sin(2 * np.pi * 0.1 * time))
    muscle = noise(rng, (count, n), 25, 150, RATE_ECG)
    effort = np.full(n, 0.2)
    for centre, length in ((1.8, 0.5), (4.6, 0.9), (7.9, 0.6)):
        effort += np.exp(-(((time - centre) / length) ** 2))
    return np.asarray(wander + breath + hum + 0.035 * rng.uniform(0.5, 1, (count, 1)) * effort * muscle)


def ambulatory_ecg(seconds: float = 10.0, seed: int = 0) -> NDArray[np.int64]:
    """Twelve leads [12, time] in microvolt, at 1000 Hz; the limb leads agree with each other exactly."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE_ECG)) / RATE_ECG
    potential = ELECTRODES @ heart(time, rng) + disturbances(time, rng)
    right, left, leg, chest = potential[0], potential[1], potential[2], potential[3:]
    # even microvolts, so that half of them is whole and the relations between leads survive the rounding
    one, two = (2 * np.rint(500 * lead).astype(np.int64) for lead in (left - right, leg - right))
    limbs = [one, two, two - one, -(one + two) // 2, one - two // 2, two - one // 2]
    return np.stack([*limbs, *np.rint(1000 * (chest - (right + left + leg) / 3)).astype(np.int64)])


def write_csv(microvolt: NDArray[np.int64], path: Path) -> None:
    """A header row, `time` in seconds, one column a lead in mV."""
    table = np.concatenate([np.arange(microvolt.shape[1])[None], microvolt]).T / 1000
    np.savetxt(path, table, fmt="%.3f", delimiter=",", header=",".join(("time", *LEADS)), comments="")


def crackles(n: int, rng: np.random.Generator) -> Array:
    """Snaps of wood [2, time]: short decaying bursts of noise, a few loud, most soft, each at a place of its own."""
    out = np.zeros((2, n))
    for start in np.flatnonzero(rng.random(n) < 45 / RATE_AUDIO).tolist():
        length = min(int(RATE_AUDIO * rng.uniform(0.002, 0.02)), n - start)
        decay = np.exp(-5 * np.arange(length) / length)
        tone = np.cos(2 * np.pi * rng.uniform(800, 6000) * np.arange(length) / RATE_AUDIO + rng.uniform(0, 6))
        snap = decay * (rng.standard_normal(length) + tone) * min(0.25 * float(rng.pareto(1.7)), 6.0)
        place = rng.uniform(0.15, 0.85)
        out[:, start : start + length] += np.sqrt(np.array((1 - place, place)))[:, None] * snap
    return out


def fire(seconds: float = 5.0, seed: int = 0) -> Array:
    """A crackling fire [2, time] in full scale, peak 0.8, at 44.1 kHz."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE_AUDIO)

    flicker = np.exp(0.5 * noise(rng, (2, n), 0.5, 4, RATE_AUDIO))
    roar, hiss = noise(rng, (2, n), 30, 160, RATE_AUDIO), noise(rng, (2, n), 3000, 15000, RATE_AUDIO)
    body = noise(rng, (2, n), 300, 2500, RATE_AUDIO)
    sound = flicker * (0.10 * roar + 0.03 * body) + 0.012 * hiss + 0.25 * crackles(n, rng)
    return np.asarray(0.8 * np.tanh(sound) / np.abs(np.tanh(sound)).max())


def main() -> None:
    """Write both files beside this script."""
    folder = Path(__file__).parent
    write_csv(ambulatory_ecg(), folder / "ecg_ambulatory_synthetic.csv")
    samples = np.rint(fire().T * 32767).astype(np.int16)
    sf.write(folder / "fire_synthetic.wav", samples, RATE_AUDIO, subtype="PCM_16")


if __name__ == "__main__":
    main()
