"""What is kept of a patch to be drawn: an image, a trace, or three planes through the middle of a volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd.boxes import Box, Span, overlap, size_of
from nst_nd.sample import Kind, Sample

# columns of a trace, positions along an edge of a picture, that are kept at most
MOST_COLUMNS, MOST_EDGE = 2000, 256
# numbers that all pictures together may take
MOST_NUMBERS = 2**25

View = tuple[NDArray[np.float32], ...]


def view(sample: Sample, field: Box, edge: int = MOST_EDGE) -> View:
    """The part `field` of a sample in its own unit; NaN beyond its ends.

    image: one [row, column, C]. audio, ecg: one [C, 2, column] with the lowest and highest value of each column.
    volume: the planes [i, j], [i, k], [j, k] of its first channel through the middle of the field. edge: positions
    along an edge of a picture at most; larger ones are thinned out.
    """
    if sample.kind == "image":
        return (_thinned(np.moveaxis(_cut(sample.data, field), 0, -1), edge),)
    if sample.kind == "volume":
        planes = []
        for kept in combinations(range(len(field)), 2):
            flat = tuple(
                span if axis in kept else Span(at, at + 1)
                for axis, (span, at) in enumerate(zip(field, _middle(field, sample.shape), strict=True))
            )
            plane = _cut(sample.data[:1], flat)
            planes.append(_thinned(plane.reshape([flat[axis].length for axis in kept]), edge))
        return tuple(planes)
    return (envelope(_cut(sample.data, field)),)


def edge_for(kind: Kind, field: Box, nc: int, count: int) -> int:
    """The `edge` with which `count` views of fields like this one stay within MOST_NUMBERS."""
    each = MOST_NUMBERS / count / (nc if kind == "image" else len(field))
    return max(16, min(MOST_EDGE, int(math.sqrt(each))))


def envelope(data: NDArray[Any]) -> NDArray[np.float32]:
    """[C, n] -> [C, 2, columns]: lowest and highest value of each of at most MOST_COLUMNS columns."""
    n = data.shape[1]
    edges = np.unique(np.linspace(0, n, min(n, MOST_COLUMNS) + 1).astype(int)[:-1])
    both = [np.fmin.reduceat(data, edges, axis=1), np.fmax.reduceat(data, edges, axis=1)]
    return np.stack(both, axis=1).astype(np.float32)


def _middle(field: Box, size: Sequence[int]) -> list[int]:
    return [min(max(0, (span.start + span.stop) // 2), n - 1) for span, n in zip(field, size, strict=True)]


def _cut(data: NDArray[Any], field: Box) -> NDArray[np.float32]:
    """[C, *field]; NaN where there is no signal."""
    out = np.full((len(data), *size_of(field)), np.nan, np.float32)
    inside = [overlap(span, Span(0, n)) for span, n in zip(field, data.shape[1:], strict=True)]
    at = tuple(slice(i.start - f.start, i.stop - f.start) for i, f in zip(inside, field, strict=True))
    out[(slice(None), *at)] = data[(slice(None), *(slice(i.start, i.stop) for i in inside))]
    return out


def _thinned(picture: NDArray[np.float32], edge: int) -> NDArray[np.float32]:
    """Every so manieth row and column of [row, column, ...]: means would show what no unit has seen."""
    steps = [max(1, math.ceil(n / edge)) for n in picture.shape[:2]]
    return np.ascontiguousarray(picture[:: steps[0], :: steps[1]])
