"""Metrics that every kind of signal has."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nst_nd import nd, scratch
from nst_nd.domains.metrics.running import Running
from nst_nd.domains.selection import percentiles
from nst_nd.features.extractor import Extractor
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
    ours, theirs = _grams(extractor, g), _grams(extractor, a)
    return float(sum((ours[t] - theirs[t]).norm() / theirs[t].norm() for t in ours) / len(ours))


def gradient_correlation(content: Sample, result: Sample) -> float:
    """Pearson correlation of the gradient magnitudes of the channels' mean; constants correlate with themselves."""
    found, same = Running(2), True
    for piece in scratch.chunks((content.nc, *content.shape), 1):
        a, b = (_gradient_magnitude(s.data, piece) for s in (content, result))
        found.add(a, b)
        same = same and np.array_equal(a, b)
        scratch.release(content.data, result.data)
    return float(same) if np.isnan(found.correlation) else found.correlation


def content_change(content: Sample, result: Sample) -> dict[str, float]:
    """Root mean square and largest absolute difference, in the sample's unit."""
    total, largest = 0.0, 0.0
    for piece in scratch.chunks((content.nc, *content.shape), 1):
        difference = result.data[:, piece].astype(np.float64) - content.data[:, piece]
        total += float(np.sum(difference**2))
        largest = max(largest, float(np.abs(difference).max()))
        scratch.release(content.data, result.data)
    return {"change_rms": float(np.sqrt(total / content.data.size)), "change_max": largest}


def _grams(extractor: Extractor, x: Tensor) -> dict[str, Tensor]:
    """One signal after the other, so that the activations of one are in memory."""
    with torch.no_grad():
        return {tap: gram(features) for tap, features in extractor(x).items()}


def _gradient_magnitude(data: Data, piece: slice) -> NDArray[np.floating[Any]]:
    """Of the channels' mean, at these positions of the first axis; their neighbours take part."""
    start = max(0, piece.start - 1)
    mean = data[:, start : piece.stop + 1].mean(axis=0, dtype=np.float64)
    axes = [i for i, n in enumerate(data.shape[1:]) if n > 1]
    inner = slice(piece.start - start, piece.stop - start)
    squares = [np.gradient(mean, axis=i)[inner] ** 2 for i in axes]
    return np.sqrt(np.sum(squares, axis=0)) if squares else np.zeros_like(mean)


def _range(sample: Sample) -> tuple[float, float]:
    low, high = percentiles(sample.data, PERCENTILES)
    if low == high:
        lows, highs = scratch.extremes(sample.data)
        low, high = lows.min(), highs.max()
    return float((low + high) / 2.0), float(max(high - low, np.finfo(np.float32).tiny))


def _normalised(data: Data, middle_and_width: tuple[float, float], same_channels: bool) -> Tensor:
    keep = round(MIDDLE ** (1.0 / (data.ndim - 1)))
    middle = tuple(slice((n - keep) // 2, (n + keep) // 2) if n > keep else slice(None) for n in data.shape[1:])
    data, whole = data[(slice(None), *middle)], data
    if not same_channels:
        data = data.mean(axis=0, keepdims=True)
    centre, width = middle_and_width
    normalised = np.ascontiguousarray((data - centre) / width, dtype=np.float32)
    scratch.release(whole)
    return torch.from_numpy(normalised)[None]
