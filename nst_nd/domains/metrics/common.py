"""What became of the content, for every kind of signal."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.domains.metrics.running import Running
from nst_nd.sample import Data, Sample


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


def _gradient_magnitude(data: Data, piece: slice) -> NDArray[np.floating[Any]]:
    """Of the channels' mean, at these positions of the first axis; their neighbours take part."""
    start = max(0, piece.start - 1)
    mean = data[:, start : piece.stop + 1].mean(axis=0, dtype=np.float64)
    axes = [i for i, n in enumerate(data.shape[1:]) if n > 1]
    inner = slice(piece.start - start, piece.stop - start)
    squares = [np.gradient(mean, axis=i)[inner] ** 2 for i in axes]
    return np.sqrt(np.sum(squares, axis=0)) if squares else np.zeros_like(mean)
