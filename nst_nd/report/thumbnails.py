"""A result at the size of a stamp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from nst_nd.drawing.sound import envelope
from nst_nd.errors import NstError
from nst_nd.io import glance, suffix_of
from nst_nd.report.pictures import THUMBNAIL, image_of, thumbnail
from nst_nd.report.record import Sidecar
from nst_nd.report.volumes import middle_slice
from nst_nd.sample import Sample
from nst_nd.sidecar import sidecar_of

_RATELESS = (".csv", ".npy")
_PAPER, _INK = 245, 40


def thumbnail_of(output: Path, record: Sidecar) -> str:
    """A data URI; "" where the result is not there or cannot be read. Of a volume little but a plane is read."""
    try:
        asked = record.asked
        rate = asked.rate if asked is not None and suffix_of(output) in _RATELESS else None
        channels = asked is not None and asked.channels
        sample = glance(output, kind=record.kind, rate=rate, channels=channels)
    except NstError:
        return ""
    if sample.kind == "image":
        return thumbnail(image_of(sample))
    if sample.kind == "volume":
        return thumbnail(middle_slice(sample, record.settings.get("window")))
    return thumbnail(_wave(sample))


def inside(folder: Path, name: str) -> Path | None:
    """Where the result of this name lies in the folder of a batch; None where the name leads out of it."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        return None
    return folder / path


def has_sidecar(output: Path) -> bool:
    """Whether it is there to be read."""
    return sidecar_of(output).is_file()


def _wave(sample: Sample) -> Image.Image:
    """Lowest and highest sample of each column: of an ECG's first lead, of a sound's mean."""
    low, high = envelope(sample.data[:1] if sample.kind == "ecg" else sample.data)
    edges = np.unique(np.linspace(0, low.size, min(THUMBNAIL, low.size) + 1).astype(int)[:-1])
    low, high = np.minimum.reduceat(low, edges), np.maximum.reduceat(high, edges)
    bottom, top = float(low.min()), float(high.max())
    rows = np.linspace(top, bottom, THUMBNAIL)[:, None]
    half = max(top - bottom, 1e-12) / THUMBNAIL
    drawn = (rows >= low - half) & (rows <= high + half)
    return Image.fromarray(np.where(drawn, _INK, _PAPER).astype(np.uint8))
