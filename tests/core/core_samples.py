"""Tiny synthetic samples of every kind, and settings that are quick on them."""

import numpy as np

from nst_nd import Grid, Sample

PRESETS = ("image", "audio", "ecg", "volume", "ct")
NETWORK = {"name": "random", "widths": (3, 5), "channels": (6, 8)}
QUICK = {
    "extractor": NETWORK,
    "content_layers": ("relu2",),
    "style_layers": ("relu1", "relu2"),
    "iterations": 4,
    "scales": (0.5, 1.0),
    "device": "cpu",
}


def smooth_noise(shape, seed, width):
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).standard_normal(shape)
    noise = gaussian_filter(noise, (0, *(width,) * (len(shape) - 1)))
    return noise / noise.std()


def image(nc=3, size=(33, 30), *, seed=0, dtype=np.float32):
    data = np.clip(0.5 + 0.15 * smooth_noise((nc, *size), seed, 1.5), 0.0, 1.0)
    return Sample(data.astype(dtype), "image", "full scale", Grid((1.0, 1.0), "px"), ("R", "G", "B")[:nc])


def audio(nc=1, length=4096, *, seed=0, dtype=np.float32, rate=8000.0, peak=0.5):
    data = smooth_noise((nc, length), seed, 1.0)
    data *= peak / np.abs(data).max()
    return Sample(data.astype(dtype), "audio", "full scale", Grid((1.0 / rate,), "s", rate), ("left", "right")[:nc])


def ecg(nc=2, length=2048, *, seed=0, dtype=np.float32, rate=500.0, names=("I", "II", "III")):
    time = np.arange(length) / rate
    beats = np.exp(-0.5 * (((time * 1.2) % 1.0 - 0.4) / 0.02) ** 2)
    data = beats + 0.1 * smooth_noise((nc, length), seed, 3.0)
    return Sample(data.astype(dtype), "ecg", "mV", Grid((1.0 / rate,), "s", rate), names[:nc])


def volume(nc=1, size=(18, 17, 9), *, seed=0, dtype=np.float32, spacing=(1.0, 1.0, 1.2)):
    affine = np.diag([*spacing, 1.0])
    data = 300.0 + 80.0 * smooth_noise((nc, *size), seed, 1.0)
    return Sample(data.astype(dtype), "volume", "arbitrary", Grid(spacing, "mm", affine=affine))


def ct(nc=1, size=(22, 21, 9), *, seed=0, dtype=np.float32):
    """Soft tissue with noise, a slab of air and a rod of bone."""
    sample = volume(nc, size, seed=seed, spacing=(0.8, 0.8, 2.5))
    data = 50.0 + (sample.data.astype(np.float64) - 300.0) / 8.0
    data[:, :3] = -1000.0
    data[:, 16:19, 4:7] = 900.0
    return sample.replace(data=data.astype(dtype), units="HU")


MAKE = {"image": image, "audio": audio, "ecg": ecg, "volume": volume, "ct": ct}


def mask_of(sample, start=0.5):
    """1 in the far part along the last axis, 0 in the near part."""
    inside = np.zeros((1, *sample.shape), dtype=np.float32)
    inside[..., int(start * sample.shape[-1]) :] = 1.0
    return Sample(inside, sample.kind, "share", sample.grid)


def bits(sample):
    return sample.data.tobytes()
