"""Boxes of positions: one span per spatial axis, and what tiling does with them.

Positions count from 0 at the signal's origin. A span may reach below 0 or beyond the end where a border wraps around.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """Positions start .. stop - 1 along one axis."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.stop - self.start

    def holds(self, other: Span) -> bool:
        """Whether every position of the other is one of these."""
        return self.start <= other.start and other.stop <= self.stop


Box = tuple[Span, ...]


def whole(size: Sequence[int]) -> Box:
    """Every position of a signal of this size."""
    return tuple(Span(0, int(n)) for n in size)


def size_of(box: Box) -> tuple[int, ...]:
    """Positions per axis."""
    return tuple(span.length for span in box)


def volume_of(box: Box) -> int:
    """Number of positions."""
    return math.prod(size_of(box))


def hull(boxes: Sequence[Box]) -> Box:
    """The smallest box around all of them."""
    return tuple(Span(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True))


def overlap(a: Span, b: Span) -> Span:
    """The positions of both; of length 0 where there are none."""
    start = max(a.start, b.start)
    return Span(start, max(start, min(a.stop, b.stop)))


def slices(box: Box, origin: Box) -> tuple[slice, ...]:
    """Where a box lies in a tensor [batch, channel, *space] that holds the box `origin`."""
    inside = (slice(s.start - o.start, s.stop - o.start) for s, o in zip(box, origin, strict=True))
    return (slice(None), slice(None), *inside)


def cut(span: Span, length: int, cell: int) -> list[Span]:
    """A span in nearly equal parts of at most `length` positions that start on multiples of `cell`.

    A part has at least one cell, also where a cell is longer than `length`; what does not fill a last cell belongs to
    the last part. The span itself starts on a multiple of the cell.
    """
    cells = max(1, span.length // cell)
    parts = math.ceil(cells / max(1, length // cell))
    edges = [span.start + (i * cells // parts) * cell for i in range(parts)] + [span.stop]
    return [Span(a, b) for a, b in itertools.pairwise(edges)]


def tiles(box: Box, length: Sequence[int], cell: Sequence[int]) -> list[Box]:
    """The box in tiles of at most `length` positions per axis, see `cut`, the last axis running fastest."""
    return list(itertools.product(*(cut(s, n, c) for s, n, c in zip(box, length, cell, strict=True))))


def unwrapped(box: Box, held: Box, size: Sequence[int]) -> Iterator[tuple[Box, Box]]:
    """Pairs (where it is in what is held, where it lies in the box) for a box that wraps around a signal of this size.

    An axis along which everything is held as it is counted in the box is left alone; the others are held whole.
    """
    axes = []
    for span, has, n in zip(box, held, size, strict=True):
        axes.append([(span, span)] if has.holds(span) else list(around(span, n)))
    for parts in itertools.product(*axes):
        yield tuple(p[0] for p in parts), tuple(p[1] for p in parts)


def around(span: Span, length: int) -> Iterator[tuple[Span, Span]]:
    """Pairs (within 0 .. length, as counted in the span) for a span that wraps around."""
    at = span.start
    while at < span.stop:
        start = at % length
        n = min(length - start, span.stop - at)
        yield Span(start, start + n), Span(at, at + n)
        at += n
