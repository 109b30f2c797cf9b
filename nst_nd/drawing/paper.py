"""ECG on paper: 25 mm/s and 10 mm/mV in print, leads below each other, recordings beside each other.

1 of another unit than mV has 10 mm too, a sample of no known rate 25 mm; both are said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from nst_nd.drawing.picture import MM_PER_INCH, NAME_PT, TEXT_PT, Picture
from nst_nd.drawing.signal import AS_IT_IS, Column, Signal, View, drawable
from nst_nd.drawing.sound import envelope
from nst_nd.errors import ConfigError

MM_PER_S, MM_PER_MV = 25.0, 10.0
# what is shown of a recording by default, and at most
ECG_SECONDS, MOST_SECONDS = 5.0, 30.0
# of a lead: as much as the largest wave needs, between these, in whole squares of 5 mm
LEAST_MM, MOST_MM = 30.0, 80.0
MARGIN_MM = 12.0
# leads below each other of one recording, from which on there are two columns of them
TALLEST = 6
PAPER, FINE, COARSE, INK = "#ffffff", "#f6d5d5", "#e59a9a", "#1a1a1a"
# samples of a lead from which on only the lowest and highest of neighbours are drawn
MANY = 20000


def ecg_figure(columns: Sequence[Column], view: View) -> Picture:
    """Leads below each other, recordings beside each other; the first five seconds unless `view` says otherwise.

    Raises ConfigError for more seconds than a sheet has, and for a start behind the end of every recording.
    """
    seconds = ECG_SECONDS if view.seconds is None else view.seconds
    if seconds > MOST_SECONDS:
        raise ConfigError(f"seconds: got {seconds:g}; allowed on paper: up to {MOST_SECONDS:g}")
    parts = [Part.of(column.signal, view.start, seconds) for column in columns]
    if not any(part.time.size for part in parts):
        longest = max(column.signal.shape[0] / (column.signal.grid.rate or 1.0) for column in columns)
        raise ConfigError(f"start: got {view.start:g} s; allowed: less than the {longest:g} s that were recorded")
    stacks = [(n, range(len(part.waves))) for n, part in enumerate(parts)]
    if len(parts) == 1 and len(parts[0].waves) > TALLEST and seconds <= ECG_SECONDS:
        half = math.ceil(len(parts[0].waves) / 2)
        stacks = [(0, range(half)), (0, range(half, len(parts[0].waves)))]
    across = seconds * MM_PER_S
    wide = len(stacks) * (across + MARGIN_MM) + MARGIN_MM
    strip = strip_mm([part.waves for part in parts])
    high = max(len(leads) for _, leads in stacks) * strip + 2 * MARGIN_MM
    figure = Picture(figsize=(wide / MM_PER_INCH, high / MM_PER_INCH))
    for place, (n, leads) in enumerate(stacks):
        left = MARGIN_MM + place * (across + MARGIN_MM)
        for row, lead in enumerate(leads):
            bottom = high - MARGIN_MM - (row + 1) * strip
            axes = figure.add_axes((left / wide, bottom / high, across / wide, strip / high))
            _lead(axes, parts[n], lead, (view.start, view.start + seconds), strip)
            _name(axes, columns[n].signal, lead)
            if lead == 0:
                _head(axes, columns[n])
    shown = f"{scales([column.signal for column in columns])}   {view.start:g} to {view.start + seconds:g} s"
    figure.text(MARGIN_MM / wide, 0.5 * MARGIN_MM / high, shown, fontsize=TEXT_PT, va="center", **AS_IT_IS)
    return figure


def scales(signals: Sequence[Signal]) -> str:
    """What a mm of the paper is, in words: 25 mm/s, 10 mm/mV."""
    units = dict.fromkeys(drawable(signal.units) for signal in signals)
    time = "s" if all(signal.grid.rate for signal in signals) else "sample"
    return f"{MM_PER_S:g} mm/{time}, {MM_PER_MV:g} mm/{' or '.join(units)}"


def _name(axes: Axes, signal: Signal, lead: int) -> None:
    name = drawable(signal.channels[lead]) if signal.channels else f"lead {lead + 1}"
    look = {"va": "top", "fontsize": TEXT_PT, "color": INK, **AS_IT_IS}
    axes.text(0.01, 0.95, name, transform=axes.transAxes, **look)


def _head(axes: Axes, column: Column) -> None:
    rate = f"{column.signal.grid.rate:g} Hz" if column.signal.grid.rate else "rate unknown"
    axes.set_title(f"{drawable(column.name)}, {rate}", fontsize=NAME_PT, loc="left", **AS_IT_IS)


class Part:
    """What is shown of a recording: its waves [lead, sample] with NaN in gaps, and the time of each sample in s."""

    def __init__(self, waves: NDArray[np.float64], time: NDArray[np.float64]) -> None:
        self.waves, self.time = waves, time

    @classmethod
    def of(cls, signal: Signal, start: float, seconds: float) -> Part:
        """From `start` on, so many seconds, as far as there are any."""
        rate = signal.grid.rate or 1.0
        first = min(signal.shape[0], round(start * rate))
        stop = min(signal.shape[0], first + max(1, round(seconds * rate)))
        waves = signal.data[:, first:stop].astype(np.float64)
        if signal.gaps is not None:
            waves[signal.gaps[:, first:stop]] = np.nan
        return cls(waves, np.arange(first, stop) / rate)


def strip_mm(waves: Sequence[NDArray[np.float64]]) -> float:
    """Height of a lead in which every wave of the parts that are shown has its place."""
    known = [wave[np.isfinite(wave)] for part in waves for wave in part]
    largest = max((float(np.ptp(wave)) for wave in known if wave.size), default=0.0)
    return float(np.clip(5.0 * np.ceil(1.1 * largest * MM_PER_MV / 5.0), LEAST_MM, MOST_MM))


def _lead(axes: Axes, part: Part, lead: int, span: tuple[float, float], strip: float) -> None:
    wave, half = part.waves[lead], strip / MM_PER_MV / 2.0
    known = wave[np.isfinite(wave)]
    level = _level(known, strip)
    _paper(axes, span, (level - half, level + half))
    if wave.size > MANY:
        # every lowest and highest value, one after the other, of each small stretch of time
        low, high = envelope(wave[None])
        wave, time = np.column_stack([low, high]).ravel(), np.linspace(part.time[0], part.time[-1], 2 * low.size)
    else:
        time = part.time
    # one sample is no line
    axes.plot(time, wave, color=INK, linewidth=0.7, marker="." if known.size == 1 else None)


def _level(known: NDArray[np.float64], strip: float) -> float:
    """mV in the middle of a lead: between its lowest and highest wave; the usual value where they do not fit."""
    if not known.size:
        return 0.0
    fits = np.ptp(known) * MM_PER_MV <= strip
    return float((known.min() + known.max()) / 2.0 if fits else np.median(known))


def _paper(axes: Axes, span: tuple[float, float], limits: tuple[float, float]) -> None:
    """Squares of 1 mm and of 5 mm; those of mV begin at 0 mV."""
    axes.set_facecolor(PAPER)
    for step, colour, width in ((1.0, FINE, 0.4), (5.0, COARSE, 0.6)):
        look: dict[str, Any] = {"colors": colour, "linewidths": width, "zorder": 0}
        axes.vlines(np.arange(span[0], span[1] + 1e-9, step / MM_PER_S), *limits, **look)
        first = np.floor(limits[0] * MM_PER_MV / step) * step / MM_PER_MV
        axes.hlines(np.arange(first, limits[1] + 1e-9, step / MM_PER_MV), *span, **look)
    axes.set(xlim=span, ylim=limits, xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color(COARSE)
