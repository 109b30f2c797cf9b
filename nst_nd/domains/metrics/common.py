"""Metrics that every kind of signal has."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nst_nd import nd
from nst_nd.features.random_conv import random_network
from nst_nd.features.statistics import gram
from nst_nd.sample import Data, Sample

# the held-out network: a seed and widths that no preset uses
SEED = 7919
WIDTHS = (3, 7)
CHANNELS = (16, 32, 32)
TAPS = ("relu1", "relu2", "relu3")
# what is larger is measured on its middle, of about so many positions
MIDDLE = 1 << 21
PERCENTILES = (0.5, 99.5)


def style_distance(sample: Sample, style: Sample, like: Sample) -> float:
    """Mean over three layers of ||G - A||_F / ||A||_F, G and A the Gram matrices of sample and style.

    Both in units of the style's range, so that levels count; arbitrary intensities each in units of their own
    (`like` says whose range the sample has). Where the numbers of channels differ, their mean is compared;
    an image style is brought to the sample's longer side.
    """
    ranges = _range(style), _range(like if sample.units == "arbitrary" else style)
    a, g = (_normalised(s.data, r, s.nc == style.nc == sample.nc) for s, r in ((style, ranges[0]), (sample, ranges[1])))
    if sample.kind == "image":
        share = max(g.shape[2:]) / max(a.shape[2:])
        a = nd.resize(a, [max(1, round(n * share)) for n in a.shape[2:]])
    extractor = random_network(g.shape[1], nd.spatial_axes(g), seed=SEED, widths=WIDTHS, channels=CHANNELS).until(TAPS)
    least = extractor.least_size
    if any(n < m for t in (a, g) for n, m in zip(t.shape[2:], least, strict=True)):
        extractor = extractor.until(TAPS[:1])
    with torch.no_grad():
        ours, theirs = extractor(g), extractor(a)
        parts = [gram(ours[t]) - gram(theirs[t]) for t in ours]
        return float(sum(p.norm() / gram(theirs[t]).norm() for p, t in zip(parts, ours, strict=True)) / len(parts))


def gradient_correlation(content: Sample, result: Sample) -> float:
    """Pearson correlation of the gradient magnitudes of the channels' mean; constants correlate with themselves."""
    a, b = (_gradient_magnitude(s.data) for s in (content, result))
    if a.std() == 0 or b.std() == 0:
        return float(np.array_equal(a, b))
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def content_change(content: Sample, result: Sample) -> dict[str, float]:
    """Root mean square and largest absolute difference, in the sample's unit."""
    difference = result.data.astype(np.float64) - content.data
    return {"change_rms": float(np.sqrt(np.mean(difference**2))), "change_max": float(np.abs(difference).max())}


def _gradient_magnitude(data: Data) -> NDArray[np.floating[Any]]:
    mean = data.mean(axis=0, dtype=np.float64)
    axes = [i for i, n in enumerate(mean.shape) if n > 1]
    squares = [np.gradient(mean, axis=i) ** 2 for i in axes]
    return np.sqrt(np.sum(squares, axis=0)) if squares else np.zeros_like(mean)


def _range(sample: Sample) -> tuple[float, float]:
    low, high = np.percentile(sample.data, PERCENTILES)
    if low == high:
        low, high = float(sample.data.min()), float(sample.data.max())
    return float((low + high) / 2.0), float(max(high - low, np.finfo(np.float32).tiny))


def _normalised(data: Data, middle_and_width: tuple[float, float], same_channels: bool) -> Tensor:
    keep = round(MIDDLE ** (1.0 / (data.ndim - 1)))
    middle = tuple(slice((n - keep) // 2, (n + keep) // 2) if n > keep else slice(None) for n in data.shape[1:])
    data = data[(slice(None), *middle)]
    if not same_channels:
        data = data.mean(axis=0, keepdims=True)
    centre, width = middle_and_width
    return torch.from_numpy(np.ascontiguousarray((data - centre) / width, dtype=np.float32))[None]
