"""Sounds: the wave over the spectrogram, in s, kHz and dB of full scale, the same scales for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from nst_nd.drawing.picture import NAME_PT, TEXT_PT, Picture
from nst_nd.drawing.signal import AS_IT_IS, Column, Signal, View, drawable
from nst_nd.errors import ConfigError

# of a spectrogram; a sine of full scale has 0 dB
WINDOW_S, LOWEST_DB, HIGHEST_DB = 0.046, -90.0, 0.0
MOST_POINTS = 4000
MOST_FRAMES = 1500
WAVE = "#33658a"
# inches
ALONE, WIDE, HIGH, BAR = 7.0, 4.6, 4.8, 0.4
# samples of a window, however short the sound
LEAST_WINDOW = 8


def audio_figure(columns: Sequence[Column], view: View) -> Picture:
    """Every sound's wave (lowest and highest sample of all channels) over its spectrogram (mean power of channels).

    Raises ConfigError for a start behind the end of every sound.
    """
    parts = [_part(column.signal, view) for column in columns]
    if not any(part.size for part in parts):
        longest = max(column.signal.shape[0] / (column.signal.grid.rate or 1.0) for column in columns)
        raise ConfigError(f"start: got {view.start:g} s; allowed: less than the {longest:g} s of the sound")
    wide = ALONE if len(columns) == 1 else WIDE * len(columns)
    figure = Picture(figsize=(wide + BAR, HIGH), layout="constrained")
    axes = figure.subplots(2, len(columns), squeeze=False, height_ratios=(1, 2))
    peak = max(float(np.nanmax(np.abs(part), initial=0.0)) for part in parts) or 1.0
    top = min((column.signal.grid.rate or 1.0) for column in columns) / 2000.0
    for n, (column, part) in enumerate(zip(columns, parts, strict=True)):
        rate = column.signal.grid.rate or 1.0
        span = (view.start, view.start + (part.shape[1] / rate or 1.0))
        axes[0, n].set_title(f"{drawable(column.name)}, {rate:g} Hz", fontsize=NAME_PT, loc="left", **AS_IT_IS)
        if part.size:
            _sound(axes[0, n], axes[1, n], part, rate, span)
        else:
            words = f"ends before {view.start:g} s"
            axes[0, n].text(0.5, 0.5, words, transform=axes[0, n].transAxes, ha="center", va="center")
        axes[0, n].set(xlim=span, ylim=(-1.05 * peak, 1.05 * peak))
        axes[1, n].set(xlim=span, ylim=(0.0, top), xlabel="time (s)")
    axes[0, 0].set_ylabel("of full scale")
    axes[1, 0].set_ylabel("frequency (kHz)")
    shown = next(picture.images[0] for picture in axes[1] if picture.images)
    figure.colorbar(shown, ax=list(axes[1]), pad=0.01, aspect=30, label="dB of full scale")
    for one in figure.axes:
        one.tick_params(labelsize=TEXT_PT)
        one.xaxis.label.set_fontsize(TEXT_PT + 1)
        one.yaxis.label.set_fontsize(TEXT_PT + 1)
    return figure


def _sound(wave: Axes, picture: Axes, part: NDArray[Any], rate: float, span: tuple[float, float]) -> None:
    low, high = envelope(part)
    time = np.linspace(*span, low.size)
    wave.fill_between(time, low, high, color=WAVE, linewidth=0.4)
    if low.size == 1:
        # one sample has no width
        wave.plot(time, low, color=WAVE, marker=".")
    extent = (*span, 0.0, rate / 2000.0)
    look: dict[str, Any] = {"origin": "lower", "vmin": LOWEST_DB, "vmax": HIGHEST_DB, "cmap": "magma"}
    picture.imshow(spectrogram(part, rate), extent=extent, aspect="auto", **look)


def _part(signal: Signal, view: View) -> NDArray[Any]:
    """[channel, time] from the start on, a view."""
    rate = signal.grid.rate or 1.0
    first = min(signal.shape[0], round(view.start * rate))
    stop = signal.shape[0] if view.seconds is None else first + max(1, round(view.seconds * rate))
    return signal.data[:, first:stop]


def envelope(data: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest value of all channels of [channel, time], in at most MOST_POINTS stretches of time."""
    edges = np.unique(np.linspace(0, data.shape[1], MOST_POINTS + 1).astype(int)[:-1])
    low = np.minimum.reduceat(data, edges, axis=1).min(axis=0)
    high = np.maximum.reduceat(data, edges, axis=1).max(axis=0)
    return low.astype(np.float64), high.astype(np.float64)


def spectrogram(data: NDArray[Any], rate: float) -> NDArray[np.float64]:
    """dB [bin, frame] from 0 Hz to rate / 2: mean power of the channels of [channel, time] under Hann windows.

    0 dB is a sine that reaches full scale. Of long sounds it is MOST_FRAMES windows at even distances.
    """
    total = data.shape[1]
    length = max(LEAST_WINDOW, min(round(WINDOW_S * rate), total))
    window = np.hanning(length + 1)[:-1]
    hop = max(1, min(length // 4, total), total // MOST_FRAMES)
    # in the middle of what each frame stands for; there is silence before the start and after the end
    centres = np.arange(hop // 2, total, hop)
    places = centres[:, None] + np.arange(length) - length // 2
    inside = (places >= 0) & (places < total)
    power = np.zeros((length // 2 + 1, len(centres)))
    for channel in data:
        frames = np.where(inside, channel[np.clip(places, 0, total - 1)], 0.0)
        # of a sine of amplitude a, half of the window's sum times a is at its frequency
        amplitude = np.abs(np.fft.rfft(frames * window, axis=1)).T / (window.sum() / 2.0)
        power += amplitude**2 / len(data)
    return 10.0 * np.log10(np.maximum(power, 1e-16))
