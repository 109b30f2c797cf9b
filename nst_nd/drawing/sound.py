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
MOST_FRAMES, FEWEST_FRAMES = 1500, 50
WAVE = "#33658a"
# inches
ALONE, WIDE, HIGH, BAR = 7.0, 4.6, 4.8, 0.4
# samples of a window, however short the sound
LEAST_WINDOW = 8


def audio_figure(columns: Sequence[Column], view: View) -> Picture:
    """Every sound's wave (lowest and highest sample of all channels) over its spectrogram (mean power of channels).

    Raises ConfigError for a start behind the end of every sound.
    """
    spans = [_span(column.signal, view) for column in columns]
    parts = [column.signal.data[:, slice(*span)] for column, span in zip(columns, spans, strict=True)]
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
            _wave(axes[0, n], part, rate, span)
            _picture(axes[1, n], spectrogram(column.signal.data, rate, spans[n]), rate, span)
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


def _wave(axes: Axes, part: NDArray[Any], rate: float, span: tuple[float, float]) -> None:
    """Every channel as a line, or, of many samples, from the lowest to the highest of all channels."""
    count = part.shape[1]
    if count <= MOST_POINTS:
        # one sample has no width
        dot = "." if count == 1 else None
        axes.plot(span[0] + (np.arange(count) + 0.5) / rate, part.T, color=WAVE, linewidth=0.7, marker=dot)
        return
    low, high = envelope(part)
    axes.fill_between(np.linspace(*span, low.size), low, high, color=WAVE, linewidth=0.4)


def _picture(axes: Axes, level: NDArray[np.float64], rate: float, span: tuple[float, float]) -> None:
    look: dict[str, Any] = {"origin": "lower", "vmin": LOWEST_DB, "vmax": HIGHEST_DB, "cmap": "magma"}
    axes.imshow(level, extent=(*span, 0.0, rate / 2000.0), aspect="auto", **look)


def _span(signal: Signal, view: View) -> tuple[int, int]:
    """First sample that is shown, and the one behind the last."""
    rate = signal.grid.rate or 1.0
    first = min(signal.shape[0], round(view.start * rate))
    stop = signal.shape[0] if view.seconds is None else first + max(1, round(view.seconds * rate))
    return first, min(stop, signal.shape[0])


def envelope(data: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest value of all channels of [channel, time], in at most MOST_POINTS stretches of time."""
    edges = np.unique(np.linspace(0, data.shape[1], MOST_POINTS + 1).astype(int)[:-1])
    low = np.minimum.reduceat(data, edges, axis=1).min(axis=0)
    high = np.maximum.reduceat(data, edges, axis=1).max(axis=0)
    return low.astype(np.float64), high.astype(np.float64)


def spectrogram(data: NDArray[Any], rate: float, span: tuple[int, int]) -> NDArray[np.float64]:
    """dB [bin, frame] from 0 Hz to rate / 2: mean power of the channels of [channel, time] under Hann windows.

    span: samples that the middles of windows lie in, the second one excluded. 0 dB is a sine that reaches full scale.
    Of long sounds it is MOST_FRAMES windows at even distances.
    """
    total, shown = data.shape[1], span[1] - span[0]
    length = max(LEAST_WINDOW, min(round(WINDOW_S * rate), total))
    window = np.hanning(length + 1)[:-1]
    hop = max(1, min(length // 4, shown // FEWEST_FRAMES), shown // MOST_FRAMES)
    # in the middle of what each frame stands for; there is silence before the start and after the end
    centres = np.arange(span[0] + hop // 2, span[1], hop)
    places = centres[:, None] + np.arange(length) - length // 2
    inside = (places >= 0) & (places < total)
    power = np.zeros((length // 2 + 1, len(centres)))
    for channel in data:
        frames = np.where(inside, channel[np.clip(places, 0, total - 1)], 0.0)
        # of a sine of amplitude a, half of the window's sum times a is at its frequency
        amplitude = np.abs(np.fft.rfft(frames * window, axis=1)).T / (window.sum() / 2.0)
        power += amplitude**2 / len(data)
    return 10.0 * np.log10(np.maximum(power, 1e-16))
