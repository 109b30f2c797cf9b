"""Pictures of signals for people who would rather look than read: ECG on paper, sound as wave and spectrogram.

Content, style and result side by side, on the same scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import ConfigError, OutputError
from nst_nd.io.atomic import publishing, refuse_existing
from nst_nd.sample import Sample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("content", "style", "result")
DPI = 100
MM_PER_INCH = 25.4
# of ECG paper, and what is shown of a recording
MM_PER_S, MM_PER_MV = 25.0, 10.0
ECG_SECONDS = 5.0
# of a lead: as much as the largest wave needs, between these, in whole squares of 5 mm
LEAST_MM, MOST_MM = 30.0, 80.0
MARGIN_MM = 12.0
FINE, COARSE, INK = "#f6d5d5", "#e59a9a", "#1a1a1a"
# of a spectrogram
WINDOW_S, LOWEST_DB = 0.046, -90.0
MOST_POINTS = 4000
SUFFIXES = (".png", ".pdf", ".svg")


def check_figure(path: Path, *, overwrite: bool = False) -> None:
    """ConfigError for a suffix that no picture has; OutputError where there is no folder for it, or a file already."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: not a kind of picture that is drawn; allowed: {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: {path.parent} is not a folder that exists; make it first")
    refuse_existing(path, overwrite)


def draw(content: Sample | None, style: Sample, result: Sample, path: Path, *, overwrite: bool = False) -> None:
    """A picture of content, style and result, of audio or ECG, written to a .png, .pdf or .svg.

    Raises ConfigError for other kinds of signal or suffixes, OutputError where it cannot be written or there is a file
    that `overwrite` does not give up.
    """
    check_figure(path, overwrite=overwrite)
    shown = [(n, s) for n, s in zip(NAMES, (content, style, result), strict=True) if s is not None]
    if result.kind == "ecg":
        figure = ecg_figure(shown)
    elif result.kind == "audio":
        figure = audio_figure(shown)
    else:
        raise ConfigError(f"pictures are drawn of audio and ecg, this is of kind {result.kind}")
    with publishing(path, overwrite=overwrite) as part:
        figure.savefig(part, dpi=DPI)


def ecg_figure(shown: Sequence[tuple[str, Sample]]) -> Figure:
    """Leads below each other, recordings beside each other, 25 mm/s and 10 mm/mV in print; the first five seconds."""
    from matplotlib.figure import Figure

    leads = max(sample.nc for _, sample in shown)
    across = ECG_SECONDS * MM_PER_S
    wide = len(shown) * (across + MARGIN_MM) + MARGIN_MM
    strip = _strip_mm([sample for _, sample in shown])
    high = leads * strip + 2 * MARGIN_MM
    figure = Figure(figsize=(wide / MM_PER_INCH, high / MM_PER_INCH))
    half = strip / MM_PER_MV / 2.0
    for column, (name, sample) in enumerate(shown):
        rate = sample.grid.rate or 1.0
        time = np.arange(min(sample.shape[0], round(ECG_SECONDS * rate))) / rate
        left = MARGIN_MM + column * (across + MARGIN_MM)
        for lead in range(sample.nc):
            bottom = high - MARGIN_MM - (lead + 1) * strip
            axes = figure.add_axes((left / wide, bottom / high, across / wide, strip / high))
            wave = sample.data[lead, : time.size].astype(np.float64)
            level = float(np.median(wave))
            if sample.gaps is not None:
                wave[sample.gaps[lead, : time.size]] = np.nan
            _paper(axes, (level - half, level + half))
            axes.plot(time, wave, color=INK, linewidth=0.7)
            label = sample.channels[lead] if sample.channels else f"lead {lead + 1}"
            axes.text(0.05, level + 0.75 * half, label, fontsize=7, color=INK)
            if lead == 0:
                axes.set_title(f"{name}, {rate:g} Hz", fontsize=9, loc="left")
    figure.text(MARGIN_MM / wide, 0.3 * MARGIN_MM / high, "25 mm/s   10 mm/mV", fontsize=7)
    return figure


def _strip_mm(samples: Sequence[Sample]) -> float:
    """Height of a lead in which every wave of the part that is shown has its place."""
    largest = 0.0
    for sample in samples:
        part = sample.data[:, : round(ECG_SECONDS * (sample.grid.rate or 1.0))]
        largest = max(largest, float(np.abs(part - np.median(part, axis=1, keepdims=True)).max()))
    return float(np.clip(10.0 * np.ceil(1.05 * largest * MM_PER_MV / 5.0), LEAST_MM, MOST_MM))


def _paper(axes: Any, limits: tuple[float, float]) -> None:
    """Squares of 1 mm and of 5 mm."""
    for step, colour, width in ((1.0, FINE, 0.4), (5.0, COARSE, 0.6)):
        seconds = np.arange(0.0, ECG_SECONDS + 1e-9, step / MM_PER_S)
        first = np.floor(limits[0] * MM_PER_MV / step) * step / MM_PER_MV
        levels = np.arange(first, limits[1] + 1e-9, step / MM_PER_MV)
        # one collection each: thousands of lines of their own took nine seconds
        axes.vlines(seconds, *limits, color=colour, linewidth=width, zorder=0)
        axes.hlines(levels, 0.0, ECG_SECONDS, color=colour, linewidth=width, zorder=0)
    axes.set(xlim=(0.0, ECG_SECONDS), ylim=limits, xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color(COARSE)


def audio_figure(shown: Sequence[tuple[str, Sample]]) -> Figure:
    """Every sound's wave (lowest and highest sample of each column) over its spectrogram, in dB of full scale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(shown), 5.4), layout="constrained")
    axes = figure.subplots(2, len(shown), squeeze=False, height_ratios=(1, 2))
    peak = max(float(np.abs(sample.data).max()) for _, sample in shown) or 1.0
    top = min((sample.grid.rate or 1.0) for _, sample in shown) / 2.0
    for column, (name, sample) in enumerate(shown):
        rate = sample.grid.rate or 1.0
        wave, picture = axes[:, column]
        low, high = envelope(sample.data)
        time = np.linspace(0.0, sample.shape[0] / rate, low.size)
        wave.fill_between(time, low, high, color="#33658a", linewidth=0.3)
        wave.set(xlim=(0.0, time[-1] or 1.0), ylim=(-1.05 * peak, 1.05 * peak), title=f"{name}, {rate:g} Hz")
        level, frequencies, times = spectrogram(sample.data.mean(axis=0, dtype=np.float64), rate)
        picture.imshow(
            level,
            origin="lower",
            aspect="auto",
            vmin=LOWEST_DB,
            vmax=-10.0,
            cmap="magma",
            extent=(0.0, times, 0.0, frequencies / 1000.0),
        )
        picture.set(ylim=(0.0, top / 1000.0), xlabel="s", ylabel="kHz" if column == 0 else "")
    return figure


def envelope(data: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest sample of the channels' mean, data [channel, time], in each of at most MOST_POINTS columns."""
    mono = data.mean(axis=0, dtype=np.float64)
    edges = np.unique(np.linspace(0, mono.size, MOST_POINTS + 1).astype(int)[:-1])
    return np.minimum.reduceat(mono, edges), np.maximum.reduceat(mono, edges)


def spectrogram(mono: NDArray[np.float64], rate: float) -> tuple[NDArray[np.float64], float, float]:
    """dB [bin, frame] of full scale of a sound [time] at `rate` Hz, the highest frequency (Hz) and the duration (s)."""
    from scipy.signal import ShortTimeFFT
    from scipy.signal.windows import hann

    length = max(8, min(round(WINDOW_S * rate), mono.size))
    hop = max(1, length // 4, mono.size // MOST_POINTS)
    transform = ShortTimeFFT(hann(length, sym=False), hop, rate, scale_to="magnitude")
    magnitude = np.abs(transform.stft(mono)) if mono.size >= length else np.zeros((length // 2 + 1, 1))
    return 20.0 * np.log10(np.maximum(magnitude, 1e-8)), rate / 2.0, mono.size / rate
