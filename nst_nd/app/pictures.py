"""What a browser can show of a signal: one PNG, and facts in words and numbers for what stands around it."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.drawing.scale import USUAL_HU, WINDOWS
from nst_nd.drawing.signal import Column
from nst_nd.drawing.signal import View as Part
from nst_nd.io.atomic import publishing
from nst_nd.sample import Sample

# positions of a picture's longer side; of all slices of a volume together, and how many of them
MOST_SIDE, MOST_PIXELS, MOST_SLICES = 900, 3_000_000, 24
# columns and rows of a spectrogram
COLUMNS, ROWS = 900, 320
# of paper, per inch
DPI = 100
# leads of an ECG
MOST_LEADS = 3
# HU, black and white of CT
CT_WINDOW = WINDOWS[USUAL_HU]
# values; larger signals are not looked at, since that would take as much memory again
MOST_VALUES = 2**28
# of a volume without a window, percentiles that are black and white; of so many values
PERCENTILES, LOOKED_AT = (0.5, 99.5), 1_000_000

Window = tuple[float, float]


@dataclass(frozen=True)
class View:
    """A picture. facts: its form ("picture", "spectrogram", "paper" or "slices"), size, and a caption in words."""

    png: bytes
    facts: dict[str, Any]


def view_of(sample: Sample, window: Window | None = None) -> View:
    """The picture of a signal. window: of a volume, the values that are black and white; None: its own range."""
    draw = {"image": _picture, "audio": _spectrogram, "ecg": _paper}.get(sample.kind)
    return _slices(sample, window or window_of(sample)) if draw is None else draw(sample)


def window_of(sample: Sample) -> Window:
    """The range of nearly all of a volume's values."""
    flat = sample.data[0].ravel()
    low, high = np.percentile(flat[:: max(1, flat.size // LOOKED_AT)], PERCENTILES)
    return float(low), float(high) if high > low else float(low) + 1.0


def put(view: View, folder: Path, name: str) -> None:
    """NAME.png and NAME.json in the folder, each in place of an older one as a whole."""
    for suffix, data in ((".png", view.png), (".json", json.dumps(view.facts).encode())):
        with publishing(folder / f"{name}{suffix}", overwrite=True) as private:
            private.write_bytes(data)


def _picture(sample: Sample) -> View:
    from PIL import Image

    colours = sample.data if sample.nc == 3 else sample.data[:1]
    bytes_ = scratch.piecewise(
        lambda part: np.clip(part * 255.0 + 0.5, 0.0, 255.0), colours, nc=len(colours), dtype=np.uint8
    )
    image = Image.fromarray(bytes_[0] if len(bytes_) == 1 else np.moveaxis(bytes_, 0, -1))
    height, width = sample.shape
    image.thumbnail((MOST_SIDE, MOST_SIDE))
    smaller = "" if image.size == (width, height) else f", shown at {image.width} x {image.height}"
    facts = {"form": "picture", "width": image.width, "height": image.height}
    return View(_png(image), {**facts, "caption": f"{width} x {height}{smaller}"})


def _spectrogram(sample: Sample) -> View:
    import matplotlib
    from PIL import Image

    from nst_nd.drawing.sound import HIGHEST_DB, LOWEST_DB, spectrogram

    rate = sample.grid.rate or 1.0
    level, top, seconds = spectrogram(sample.data, rate, (0, sample.shape[0])), rate / 2.0, sample.shape[0] / rate
    # the loudest of what falls into one place, so that clicks are not averaged away
    level = _pooled(_pooled(level, ROWS, 0), COLUMNS, 1)
    share = np.clip((level - LOWEST_DB) / (HIGHEST_DB - LOWEST_DB), 0.0, 1.0)
    colours = matplotlib.colormaps["magma"](share[::-1], bytes=True)[..., :3]
    image = Image.fromarray(np.ascontiguousarray(colours)).resize((COLUMNS, ROWS))
    axes = {"left": "0 s", "right": f"{seconds:.3g} s", "bottom": "0", "top": f"{top / 1000.0:.3g} kHz"}
    channels = "mono" if sample.nc == 1 else f"{sample.nc} channels, their mean power shown"
    caption = f"{seconds:.3g} s at {rate:g} Hz, {channels}; {LOWEST_DB:g} to {HIGHEST_DB:g} dB of full scale"
    return View(
        _png(image), {"form": "spectrogram", "width": COLUMNS, "height": ROWS, "axes": axes, "caption": caption}
    )


def _pooled(level: NDArray[np.float64], most: int, axis: int) -> NDArray[np.float64]:
    edges = np.unique(np.linspace(0, level.shape[axis], most + 1).astype(int)[:-1])
    return np.asarray(np.maximum.reduceat(level, edges, axis=axis))


def _paper(sample: Sample) -> View:
    from PIL import Image

    from nst_nd.drawing.paper import ECG_SECONDS, ecg_figure, scales

    leads = min(sample.nc, MOST_LEADS)
    gaps = None if sample.gaps is None else sample.gaps[:leads]
    part = sample.replace(data=sample.data[:leads], channels=sample.channels[:leads], gaps=gaps)
    seconds = sample.shape[0] / (sample.grid.rate or 1.0)
    picture = ecg_figure([Column(f"{min(seconds, ECG_SECONDS):.3g} s", part)], Part()).png(DPI)
    with Image.open(io.BytesIO(picture)) as image:
        width, height = image.size
    rate = sample.grid.rate or 1.0
    some = f"; shown are {leads} leads and the first {ECG_SECONDS:g} s at most"
    caption = f"{sample.nc} leads, {seconds:.3g} s at {rate:g} Hz{some}; {scales([sample])}"
    return View(picture, {"form": "paper", "width": width, "height": height, "caption": caption})


def _slices(sample: Sample, window: Window) -> View:
    """Axial slices side by side in one picture; the page shows one at a time."""
    from PIL import Image

    data, spacing, oriented = _canonical(sample)
    width, height = _side_by_mm(data.shape[:2], spacing[:2])
    count = max(1, min(data.shape[2], MOST_SLICES, MOST_PIXELS // (width * height)))
    picked = np.unique(np.linspace(0, data.shape[2] - 1, count).round().astype(int))
    columns = math.ceil(math.sqrt(len(picked)))
    sheet = Image.new("L", (columns * width, math.ceil(len(picked) / columns) * height))
    low, high = window
    for n, k in enumerate(picked):
        # as radiologists have it: seen from the feet, the front up
        values = (data[::-1, ::-1, k].T.astype(np.float32) - low) * (255.0 / (high - low))
        tile = Image.fromarray(np.clip(values, 0.0, 255.0).astype(np.uint8)).resize((width, height))
        sheet.paste(tile, ((n % columns) * width, n // columns * height))
    sizes = " x ".join(map(str, sample.shape))
    mm = " x ".join(f"{step:.3g}" for step in sample.grid.spacing)
    some = "" if len(picked) == data.shape[2] else f"; {len(picked)} of {data.shape[2]} slices shown"
    facts = {
        "form": "slices",
        "width": width,
        "height": height,
        "columns": columns,
        "slices": [int(k) for k in picked],
        "mm": [round(float(k * spacing[2]), 3) for k in picked],
        "sides": ["R", "L"] if oriented else None,
        "window": [float(low), float(high)],
    }
    unit = "HU" if window == CT_WINDOW else "in the file's unit"
    caption = f"{sizes} voxels of {mm} {sample.grid.unit}; {low:g} to {high:g} {unit}{some}"
    return View(_png(sheet), {**facts, "caption": caption})


def _canonical(sample: Sample) -> tuple[NDArray[Any], tuple[float, ...], bool]:
    """The first channel with axes towards right, front and head, its spacing, and whether the file says so."""
    data, spacing = sample.data[0], sample.grid.spacing
    if sample.grid.affine is None:
        return data, spacing, False
    from nibabel.orientations import apply_orientation, io_orientation

    turn = io_orientation(sample.grid.affine)  # type: ignore[no-untyped-call]
    if np.isnan(turn).any():
        return data, spacing, False
    order = np.argsort(turn[:, 0])
    turned = apply_orientation(data, turn)  # type: ignore[no-untyped-call]
    return turned, tuple(spacing[int(axis)] for axis in order), True


def _side_by_mm(shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, int]:
    """Pixels across and down, of the finer spacing, at most MOST_SIDE / 2."""
    finest = min(spacing)
    across, down = (max(1.0, n * step / finest) for n, step in zip(shape, spacing, strict=True))
    factor = min(1.0, MOST_SIDE / 2 / max(across, down))
    return max(1, round(across * factor)), max(1, round(down * factor))


def _png(image: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG", compress_level=1)  # it does not travel far
    return stream.getvalue()
