"""Samples of each kind, and what a figure says in words and bars."""

import numpy as np

from nst_nd.sample import Grid, Sample


def image(*shape, spacing=(1.0, 1.0), unit="px", seed=0):
    data = np.random.default_rng(seed).random(shape or (3, 20, 30)).astype(np.float32)
    return Sample(data, "image", "full scale", Grid(spacing, unit))


def volume(shape=(12, 16, 8), spacing=(1.0, 1.0, 1.0), affine=None, units="arbitrary", nc=1, data=None):
    """Every voxel has a value of its own, so that it can be found in a picture."""
    values = np.arange(nc * np.prod(shape), dtype=np.float32).reshape(nc, *shape) if data is None else data
    return Sample(values, "volume", units, Grid(spacing, "mm", affine=affine))


def ecg(seconds=6.0, rate=250.0, leads=2, peak=1.0):
    time = np.arange(round(seconds * rate)) / rate
    wave = peak * np.exp(-0.5 * (((time % 0.8) - 0.4) / 0.012) ** 2)
    data = np.stack([wave * (1 - 0.05 * i) for i in range(leads)]).astype(np.float32)
    return Sample(data, "ecg", "mV", Grid((1 / rate,), "s", rate), ("I", "II", "III")[:leads] if leads < 4 else ())


def audio(seconds=1.0, rate=16000.0, amplitude=0.2, nc=1):
    wave = amplitude * np.sin(2 * np.pi * 1000.0 * np.arange(round(seconds * rate)) / rate)
    return Sample(np.tile(wave, (nc, 1)).astype(np.float32), "audio", "full scale", Grid((1 / rate,), "s", rate))


def inches(figure, axes):
    """Left, bottom, width and height of axes."""
    wide, high = figure.get_size_inches()
    box = axes.get_position()
    return box.x0 * wide, box.y0 * high, box.width * wide, box.height * high


def bars(figure):
    """(length in inches, number, unit) of every scale bar."""
    wide = figure.get_size_inches()[0]
    found = []
    for line in figure.artists:
        start, end = line.get_xdata()
        _, number, unit = line.get_gid().split(" ")
        found.append(((end - start) * wide, float(number), unit))
    return found


def words(figure):
    """All that is written beside the panels."""
    return [text.get_text() for text in figure.texts]
