"""What part of a signal a layer has, wants and needs: the geometry that lets a network run on a tile.

An output position i of a layer sees the input positions i * stride - halo ... i * stride - halo + extent - 1; a border
supplies what lies outside of the signal. Everything about tiles follows from these three numbers per axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from nst_nd import nd
from nst_nd.boxes import Box, Span, hull


@runtime_checkable
class Geometry(Protocol):
    """The part of a layer that says where it looks."""

    @property
    def halo(self) -> tuple[int, ...]:
        """Positions before its own cell that an output position sees."""

    @property
    def extent(self) -> tuple[int, ...]:
        """Input positions that an output position sees, per axis."""

    @property
    def stride(self) -> tuple[int, ...]:
        """Input positions from one output position to the next."""

    @property
    def border(self) -> nd.Padding | None:
        """What continues the signal beyond its ends; None where nothing is needed there."""


class Cut(NamedTuple):
    """A layer's share of a tile: it has `have` of an input of `size`, and makes `want` of its output."""

    have: Box
    want: Box
    size: tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """One tile of a stage.

    have: what it reads of the stage's input, which may wrap around. cuts: one per layer. owned: per tap, the positions
    that are this tile's own and no other's. out: the same of the stage's output.
    """

    have: Box
    cuts: tuple[Cut, ...]
    owned: dict[str, Box]
    out: Box


def output_size(layer: Geometry, size: Sequence[int]) -> tuple[int, ...]:
    """Size of a layer's output for an input of `size`."""
    axes = zip(size, layer.halo, layer.extent, layer.stride, strict=True)
    return tuple(max(0, (n + 2 * h - e) // s + 1) for n, h, e, s in axes)


def needed(layer: Geometry, want: Box) -> Box:
    """The input positions, those beyond the borders included, that an output box is made of."""
    axes = zip(want, layer.halo, layer.extent, layer.stride, strict=True)
    return tuple(Span(w.start * s - h, (w.stop - 1) * s - h + e) for w, h, e, s in axes)


def sources(layer: Geometry, want: Box, size: Sequence[int]) -> Box:
    """The input positions that have to be at hand for an output box; along an axis that is wanted whole, all of them.

    A mirrored border needs the positions that it shows again; a circular one wraps around: then the span leaves 0..n.
    """
    found = []
    for w, need, n, out in zip(want, needed(layer, want), size, output_size(layer, size), strict=True):
        span = need
        if w == Span(0, out):
            span = Span(0, n)
        elif layer.border not in (None, "circular"):  # without a border nothing is beyond it but what wraps around
            start, stop = max(0, need.start), min(n, need.stop)
            if layer.border == "reflect":
                stop = max(stop, min(n, 1 - need.start)) if need.start < 0 else stop
                start = min(start, max(0, 2 * n - 1 - need.stop)) if need.stop > n else start
            span = Span(start, stop)
        found.append(span)
    return tuple(found)


def windows(
    layers: Sequence[Geometry], names: Sequence[str], core: Box, size: Sequence[int], wanted: frozenset[str]
) -> Windows:
    """The tile of a chain of layers whose own part of the input is `core`; see Windows.

    core starts on multiples of the chain's stride, and ends there or at the end of the signal.
    """
    sizes = [tuple(size)]
    for layer in layers:
        sizes.append(output_size(layer, sizes[-1]))
    own, owned = core, {}
    stops_at_end = [span.stop == n for span, n in zip(core, size, strict=True)]
    for name, layer, out in zip(names, layers, sizes[1:], strict=True):
        own = tuple(
            Span(o.start // s, n if last else o.stop // s)
            for o, s, n, last in zip(own, layer.stride, out, stops_at_end, strict=True)
        )
        owned[name] = own
    taken = {name: box for name, box in owned.items() if name in wanted}
    cuts: list[Cut] = []
    want = own
    for i in reversed(range(len(layers))):
        have = sources(layers[i], want, sizes[i])
        if i and names[i - 1] in taken:  # its own part may hold positions that fill no last cell of a pool
            have = hull([have, taken[names[i - 1]]])
        cuts.insert(0, Cut(have, want, sizes[i]))
        want = have
    return Windows(want, tuple(cuts), taken, own)


def can_cut(layers: Sequence[Geometry], axis: int, size: Sequence[int]) -> bool:
    """Whether a chain can run on parts of this axis.

    Everywhere, but for circular borders where some layer has another border or leaves a remainder: then a position
    beyond the end is not that many strides away from the start.
    """
    borders = {layer.border for layer in layers if layer.border is not None}
    if "circular" not in borders:
        return True
    here = tuple(size)
    for layer in layers:
        following = output_size(layer, here)
        if following[axis] * layer.stride[axis] != here[axis]:
            return False
        here = following
    return len(borders) == 1
