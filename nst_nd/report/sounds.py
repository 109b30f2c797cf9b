"""Sounds: a player of bounded length, the wave and a spectrogram."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nst_nd.drawing.sound import HIGHEST_DB, LOWEST_DB, envelope, spectrogram
from nst_nd.report.pictures import Panel, Role, data_uri, diverging, largest_change, png
from nst_nd.sample import Sample

# of each sound, and bytes before it is packed: less than that of 192 kHz; 20 s of stereo music take about 2 MB
MOST_SECONDS, MOST_BYTES = 20.0, 4_000_000
# what browsers play
RATES, MOST_CHANNELS = (3000.0, 192_000.0), 2
# of a spectrogram
WIDE, HIGH = 720, 240
# of the wave, in units of its own
WAVE_HIGH = 100.0
# a difference of levels in dB is shown up to this at most
MOST_DB = 40.0


def sound_panels(shown: Sequence[tuple[Role, Sample]]) -> list[Panel]:
    """One for each sound, all with the same scales, and one of the difference of content and result in dB."""
    top = min(sample.grid.rate or 1.0 for _, sample in shown) / 2.0
    peak = max(float(np.abs(sample.data).max()) for _, sample in shown) or 1.0
    levels = {role: _levels(sample, top) for role, sample in shown}
    panels = [_panel(role, sample, levels[role], peak, top) for role, sample in shown]
    if "content" in levels:
        panels.append(_difference(dict(shown)["result"], levels["content"], levels["result"], top))
    return panels


def player(sample: Sample) -> tuple[str, str]:
    """The first seconds as FLAC of 16 bits in a data URI, and what was done to it, in words; "" where none can play."""
    import soundfile

    rate = sample.grid.rate or 0.0
    if not RATES[0] <= rate <= RATES[1] or rate != round(rate):
        return "", f"no player: browsers do not play {rate:g} Hz"
    seconds = min(MOST_SECONDS, MOST_BYTES / (2 * rate * min(sample.nc, MOST_CHANNELS)))
    data = sample.data[:, : round(seconds * rate)]
    said = ["16 bits"]
    if data.shape[1] < sample.shape[0]:
        said.append(f"the first {seconds:.3g} s of {sample.shape[0] / rate:.1f} s")
    if sample.nc > MOST_CHANNELS:
        data = data.mean(axis=0, keepdims=True)
        said.append(f"the mean of {sample.nc} channels")
    if np.abs(data).max() > 1.0:
        said.append("clipped at full scale")
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(data.T, -1.0, 1.0), round(rate), format="FLAC", subtype="PCM_16")
    return data_uri(buffer.getvalue(), "audio/flac"), "; ".join(said)


def _panel(role: Role, sample: Sample, level: NDArray[Any], peak: float, top: float) -> Panel:
    sound, words = player(sample)
    seconds = sample.shape[0] / (sample.grid.rate or 1.0)
    picture = Image.fromarray(_coloured(level))
    alt = f"{role}: spectrogram, 0 to {top / 1000:.3g} kHz upwards, {seconds:.3g} s to the right"
    frame = {"wave": _wave(sample, peak), "seconds": seconds, "top_khz": top / 1000.0}
    return Panel(role, (png(picture),), (WIDE, HIGH), alt, words, sound, frame)


def _difference(result: Sample, before: NDArray[Any], after: NDArray[Any], top: float) -> Panel:
    change = np.clip(after, LOWEST_DB, 0.0) - np.clip(before, LOWEST_DB, 0.0)
    largest = min(MOST_DB, largest_change(change))
    seconds = result.shape[0] / (result.grid.rate or 1.0)
    frame = {"wave": "", "seconds": seconds, "top_khz": top / 1000.0}
    words = f"level of the result less the content's: blue {largest:.3g} dB less, red {largest:.3g} dB more"
    picture = diverging(change, largest)
    return Panel("difference", (png(picture),), (WIDE, HIGH), "difference of the spectrograms in dB", words, "", frame)


def _levels(sample: Sample, top: float) -> NDArray[np.float32]:
    """dB [rows, columns] of a picture, 0 Hz at the bottom and `top` at its upper edge."""
    rate = sample.grid.rate or 1.0
    level = spectrogram(sample.data, rate, (0, sample.shape[0]))
    level = level[: max(1, round(level.shape[0] * min(1.0, top / (rate / 2.0))))]
    picture = Image.fromarray(level[::-1].astype(np.float32))
    return np.asarray(picture.resize((WIDE, HIGH), Image.Resampling.BOX if level.shape[1] > WIDE else 2))


def _coloured(level: NDArray[Any]) -> NDArray[np.uint8]:
    from matplotlib import colormaps

    share = (level - LOWEST_DB) / (HIGHEST_DB - LOWEST_DB)
    return colormaps["magma"](np.clip(share, 0.0, 1.0), bytes=True)[..., :3].copy()


def _wave(sample: Sample, peak: float) -> str:
    """The path of an SVG of WIDE x WAVE_HIGH: lowest and highest sample of each column."""
    low, high = envelope(sample.data)
    edges = np.unique(np.linspace(0, low.size, min(WIDE, low.size) + 1).astype(int)[:-1])
    low, high = np.minimum.reduceat(low, edges), np.maximum.reduceat(high, edges)
    x = (np.arange(low.size) + 0.5) * WIDE / low.size
    up, down = (WAVE_HIGH / 2.0 * (1.0 - values / peak) for values in (high, low))
    points = [*zip(x, up, strict=True), *zip(x[::-1], down[::-1], strict=True)]
    return "M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in points) + "Z"
