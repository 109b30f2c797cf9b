"""What of a signal one position of a tap sees: its receptive field, exact, from the geometry of the layers before it.

A torch module hides its geometry: there it is measured, by values that are no numbers and taint all they reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from nst_nd.boxes import Box, Span, overlap, whole
from nst_nd.features.extractor import ChainStage, Extractor
from nst_nd.features.module import ModuleStage, named_outputs
from nst_nd.features.window import Geometry

# positions of a probe, at most
LARGEST_PROBE = 2**18
# neighbours whose fields are measured: a module may look from each a little differently
NEIGHBOURS = 4


@dataclass(frozen=True)
class ReceptiveField:
    """Position i of a tap sees positions i * stride - halo ... i * stride - halo + extent - 1 of the signal.

    extent is None where every position sees everything (a module that normalises over the signal, say).
    """

    halo: tuple[int, ...]
    extent: tuple[int, ...] | None
    stride: tuple[int, ...]

    def box(self, position: Sequence[int], size: Sequence[int]) -> Box:
        """What a position sees of a signal of `size`, those positions included that lie beyond its ends."""
        if self.extent is None:
            return whole(size)
        axes = zip(position, self.halo, self.extent, self.stride, strict=True)
        return tuple(Span(i * s - h, i * s - h + e) for i, h, e, s in axes)

    def clipped(self, position: Sequence[int], size: Sequence[int]) -> Box:
        """The part of `box` that lies within the signal."""
        return tuple(overlap(span, Span(0, n)) for span, n in zip(self.box(position, size), size, strict=True))

    def inside(self, tap: Sequence[int], size: Sequence[int]) -> Box:
        """The positions of a tap of size `tap` whose field lies within a signal of `size`; there may be none."""
        if self.extent is None:
            return whole(tap)
        axes = zip(self.halo, self.extent, self.stride, tap, size, strict=True)
        return tuple(overlap(Span(-(-h // s), (n - e + h) // s + 1), Span(0, last)) for h, e, s, last, n in axes)

    def reach(self, size: Sequence[int]) -> tuple[int, ...]:
        """Positions of a tap of `size`, per axis, up to which two of them see something in common."""
        if self.extent is None:
            return tuple(size)
        return tuple((e - 1) // s for e, s in zip(self.extent, self.stride, strict=True))


def receptive_field(extractor: Extractor, tap: str, probe: Sequence[int] | None = None) -> ReceptiveField:
    """The field of a tap's positions.

    probe: a size that a module accepts, 64 per axis by default; larger ones are tried where its field does not fit in.
    Raises ConfigError for a layer that is not there.
    """
    extractor.check([tap])
    field = ReceptiveField((0,) * extractor.ndim, (1,) * extractor.ndim, (1,) * extractor.ndim)
    for stage in extractor.stages:
        if isinstance(stage, ModuleStage):
            return _measured(stage, tap, tuple(probe or (64,) * extractor.ndim))
        assert isinstance(stage, ChainStage)
        for layer in stage.layers:
            field = _through(field, layer)
            if layer.name == tap:
                return field
    raise AssertionError(tap)


def _through(field: ReceptiveField, layer: Geometry) -> ReceptiveField:
    """The field of a layer's output, from that of its input."""
    assert field.extent is not None
    return ReceptiveField(
        tuple(h * s + own for h, s, own in zip(layer.halo, field.stride, field.halo, strict=True)),
        tuple((e - 1) * s + own for e, s, own in zip(layer.extent, field.stride, field.extent, strict=True)),
        tuple(a * b for a, b in zip(layer.stride, field.stride, strict=True)),
    )


def _measured(stage: ModuleStage, tap: str, size: tuple[int, ...]) -> ReceptiveField:
    """From probes of this size, twice of it and so on until two agree; the last counts where none may be larger.

    On a small probe, wide gaps between what a position sees (dilation) cannot be told from an end.
    """
    everything = ReceptiveField((0,) * len(size), None, stage.stride_at(tap))
    before: ReceptiveField | None = None
    probed = False
    while torch.Size(size).numel() <= LARGEST_PROBE:
        try:
            here = _on_probe(stage, tap, size)
        except (RuntimeError, ValueError):
            if not probed:
                raise
            break  # it takes no larger ones
        if here is not None and here == before:
            return here
        probed, before, size = True, here, tuple(2 * n for n in size)
    return before or everything


def _on_probe(stage: ModuleStage, tap: str, size: tuple[int, ...]) -> ReceptiveField | None:
    """The hull of what several neighbours see; None where that reaches an end of the probe."""
    stride, places = stage.stride_at(tap), _places(stage.output_at(tap, size))
    found = _seen(stage, tap, size, places)
    if any(span.start == 0 or span.stop == n for box in found for span, n in zip(box, size, strict=True)):
        return None
    low, high = [], []
    for axis, step in enumerate(stride):
        low.append(min(box[axis].start - place[axis] * step for place, box in zip(places, found, strict=True)))
        high.append(max(box[axis].stop - place[axis] * step for place, box in zip(places, found, strict=True)))
    return ReceptiveField(tuple(-a for a in low), tuple(b - a for a, b in zip(low, high, strict=True)), stride)


def _places(size: Sequence[int]) -> list[tuple[int, ...]]:
    """Neighbours along the diagonal through the middle of a tap of `size`."""
    middle = [max(0, (n - NEIGHBOURS) // 2) for n in size]
    return [tuple(min(m + step, n - 1) for m, n in zip(middle, size, strict=True)) for step in range(NEIGHBOURS)]


def _seen(stage: ModuleStage, tap: str, size: tuple[int, ...], places: Sequence[tuple[int, ...]]) -> list[Box]:
    """What positions of the tap see of a probe of `size`: what is NaN up to a place, or from one on, taints them."""
    reference = next(stage.module.parameters(), torch.zeros(()))
    x = torch.rand(1, stage.nc, *size, generator=torch.Generator().manual_seed(0)).to(reference)
    flat = np.ravel_multi_index(np.transpose(places).tolist(), stage.output_at(tap, size))

    @cache  # neighbours ask for the same
    @torch.no_grad()
    def tainted(axis: int, start: int, stop: int) -> list[bool]:
        probe = x.clone()
        probe.movedim(2 + axis, 0)[start:stop] = torch.nan
        there = named_outputs(stage.module, probe, frozenset([tap]))[tap]
        answers: list[bool] = there[0].flatten(1)[:, flat].isnan().any(0).tolist()
        return answers

    def one(number: int, axis: int) -> Callable[[int, int], bool]:
        return lambda start, stop: tainted(axis, start, stop)[number]

    return [tuple(_span(one(number, axis), n) for axis, n in enumerate(size)) for number in range(len(places))]


def _span(tainted: Callable[[int, int], bool], n: int) -> Span:
    """The first position that matters and the one after the last, each by halving."""
    low, high = 0, n - 1  # the smallest t of which positions 0..t taint
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if tainted(0, middle + 1) else (middle + 1, high)
    start = low
    low, high = 0, n - 1  # the largest t of which positions t..n - 1 taint
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if tainted(middle, n) else (low, middle - 1)
    return Span(start, low + 1)
