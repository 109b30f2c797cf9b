"""An input that excites a unit: gradient ascent on its activation, from noise, as strong as real inputs may be.

Activation maximisation (Erhan et al. 2009) with total variation (Mahendran & Vedaldi 2015), shifts of a few samples at
every step and steps by frequency (Olah, Mordvintsev & Schubert 2017, doi 10.23915/distill.00007).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nst_nd import nd
from nst_nd.boxes import Box, Span, size_of
from nst_nd.domains.shared import on_device
from nst_nd.engine.field import Field
from nst_nd.engine.memory import room
from nst_nd.engine.optimisers import Adam
from nst_nd.engine.plan import Demand, make_plan
from nst_nd.engine.sweep import StagePlan, Sweep
from nst_nd.engine.team import ALONE
from nst_nd.errors import ComputationError, Interrupted
from nst_nd.features.convolution import Convolution, MultiWidth
from nst_nd.features.costs import out_of_range, total_variation
from nst_nd.features.extractor import ChainStage, Extractor
from nst_nd.features.iterate import Iterate
from nst_nd.features.power_law import PowerLaw
from nst_nd.features.receptive import ReceptiveField
from nst_nd.patches.found import Found, Synthetic
from nst_nd.patches.network import Watched
from nst_nd.patches.search import Told
from nst_nd.patches.views import view

# of the objective, in which the best patch's activation counts as 1, and values in units of the inputs' range
TV_WEIGHT, RANGE_WEIGHT = 0.3, 100.0
# of the range: the noise to begin with, and the length of a step
NOISE, STEP = 0.02, 0.01
# steps are full ones for this share of the way, and fall to 0 from there
FULL = 0.6
EXPONENT = 0.5
# shifts: this share of the field, so many samples at most
SHIFT, MOST_SHIFT = 0.1, 16
# positions per axis where a unit sees everything
EVERYTHING = 64


@dataclass(frozen=True)
class _Canvas:
    """An input of `size` with room for shifts around `field`, what `position` of the layer sees."""

    size: tuple[int, ...]
    position: tuple[int, ...]
    field: Box
    shift: tuple[int, ...]


def maximised(
    found: Found,
    steps: int,
    seed: int,
    told: Told = lambda *_: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Found:
    """The same with an input made for each unit. steps: of Adam, for each.

    Raises ValueError for a search without ranges, ComputationError where an activation is not finite, ConfigError where
    the memory is too little, Interrupted once `should_stop` is true.
    """
    found.watched.forget()
    ascent = _Ascent(found)
    made = {}
    for done, unit in enumerate(found.patches):
        told(done, len(found.patches), f"making an input for unit {unit}")
        made[unit] = ascent.climb(unit, steps, seed, should_stop)
    told(len(found.patches), len(found.patches), "")
    return replace(found, synthetic=made)


class _Ascent:
    """What all units have in common: the network as far as it is differentiable, the canvas, and its memory."""

    def __init__(self, found: Found) -> None:
        self.found, watched = found, found.watched
        self.device, self.tap = watched.device, watched.tap
        self.rectified, plain = unrectified(watched.plain)
        self.extractor = on_device(plain, self.device)
        self.canvas = _canvas(watched, self.extractor.least_size)
        nc = self.extractor.nc
        if not found.low.numel():
            raise ValueError("the search did not measure the ranges of the inputs")
        self.low, self.high = (limit.to(self.device) for limit in (found.low, found.high))
        self.range = float((self.high - self.low).max())
        taps = frozenset([self.tap])
        demand = Demand(((self.extractor, taps, frozenset()),), self.canvas.size, nc, "adam", 1)
        plans: tuple[StagePlan, ...] = ()
        if all(stage.known for stage in self.extractor.stages):
            plan = make_plan(demand, room(found.settings.max_memory, self.device, ALONE)[0])
            plans = plan.tiling.branches[0]
        self.sweep = Sweep(self.extractor, taps, self.canvas.size, plans or None)

    def climb(self, unit: int, steps: int, seed: int, should_stop: Callable[[], bool]) -> Synthetic:
        """From noise about the middle of the model's range; where a patch does more, from its ends too."""
        best = max((patch.activation for patch in self.found.patches[unit]), default=0.0)
        middle = torch.zeros_like(self.low).clamp(self.low, self.high)
        made = self._climb(unit, middle, best, steps, seed, should_stop)
        if made.activation >= best:
            return made
        others = [self._climb(unit, level, best, steps, seed, should_stop) for level in (self.low, self.high)]
        return max([made, *others], key=lambda one: one.activation)

    def _climb(
        self, unit: int, level: Tensor, best: float, steps: int, seed: int, should_stop: Callable[[], bool]
    ) -> Synthetic:
        """From noise about a level [C], in shifts that are drawn anew at every step."""
        draw = torch.Generator().manual_seed(seed)
        noise = torch.randn((1, self.extractor.nc, *self.canvas.size), generator=draw) * (NOISE * self.range)
        base = nd.channels_last(noise.to(self.device) + level.reshape(1, -1, *(1,) * len(self.canvas.size)))
        iterate = Iterate(base, shaping=PowerLaw(EXPONENT))
        z = torch.zeros_like(base)
        start = self.activation(base, unit)
        scale = abs(best or start) or 1.0
        optimiser = Adam(STEP * self.range)
        for step in range(steps):
            if should_stop():
                raise Interrupted("interrupted; nothing is written")
            shift = [int(torch.randint(-s, s + 1, (), generator=draw)) for s in self.canvas.shift]
            gradient = self.gradient(iterate.signal(z), unit, shift, scale)
            optimiser.learning_rate = STEP * self.range * min(1.0, (1.0 - step / steps) / (1.0 - FULL))
            optimiser.step(z, iterate.vjp(gradient))
        return self._done(iterate.signal(z), unit, start, steps, seed)

    def _done(self, x: Tensor, unit: int, start: float, steps: int, seed: int) -> Synthetic:
        """Within the range of the inputs, and in their own unit."""
        across = (1, -1) + (1,) * len(self.canvas.size)
        x = x.clamp(self.low.view(across), self.high.view(across))
        best = self.found.patches[unit]
        scaling = best[0].scaling if best else self.found.scaling
        sample = self.found.first.replace(data=scaling.decode(x))
        reached, begun = (max(0.0, a) if self.rectified else a for a in (self.activation(x, unit), start))
        return Synthetic(reached, begun, steps, seed, size_of(self.canvas.field), view(sample, self.canvas.field))

    def activation(self, x: Tensor, unit: int) -> float:
        """Of the unit at the middle. Raises ComputationError where it is not finite."""
        found: list[float] = []

        def read(_: str, box: Box, activations: Tensor) -> None:
            place = _inside(self.canvas.position, box)
            if place is not None:
                found.append(float(activations[(0, unit, *place)]))

        self.sweep.forward(Field.of(x), read, back=False)
        if not math.isfinite(found[0]):
            raise ComputationError(f"the activation of unit {unit} is not finite; try fewer --steps")
        return found[0]

    def gradient(self, x: Tensor, unit: int, shift: list[int], scale: float) -> Tensor:
        """Of the objective, at a signal that the network sees shifted."""
        axes = list(range(2, x.dim()))
        moved = nd.channels_last(torch.roll(x, shift, axes))
        into = Field.of(nd.empty(x.shape, x).zero_())

        def seed(_: str, box: Box, activations: Tensor, grad: Tensor | None) -> Tensor:
            here = torch.zeros_like(activations)
            place = _inside(self.canvas.position, box)
            if place is not None:
                here[(0, unit, *place)] = -1.0 / scale
            return here if grad is None else grad.add_(here)

        self.sweep.forward(Field.of(moved), lambda *_: None)
        self.sweep.backward(seed, into)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            cost = TV_WEIGHT * total_variation(leaf / self.range) + RANGE_WEIGHT * out_of_range(
                leaf, self.low, self.high
            )
            (other,) = torch.autograd.grad(cost, leaf)
        return torch.roll(into.data, [-s for s in shift], axes) + other


def _canvas(watched: Watched, least: tuple[int, ...]) -> _Canvas:
    receptive = watched.receptive
    if receptive.extent is None or not watched.known:
        # of a module: the size on which its field was measured, since it may take no other
        size = tuple(max(n, EVERYTHING) for n in least) if watched.known else watched.probe
        position = tuple(n // 2 for n in watched.output(size))
        field = receptive.clipped(position, size)
        room = [min(MOST_SHIFT, f.start, n - f.stop) for f, n in zip(field, size, strict=True)]
        shift = tuple(min(r, int(SHIFT * f.length)) for r, f in zip(room, field, strict=True))
        return _Canvas(size, position, field, shift)
    return _canvas_around(receptive, least)


def _canvas_around(receptive: ReceptiveField, least: tuple[int, ...]) -> _Canvas:
    """As small as the field and its shifts allow."""
    assert receptive.extent is not None
    size, position, field, shifts = [], [], [], []
    for h, e, s, n in zip(receptive.halo, receptive.extent, receptive.stride, least, strict=True):
        shift = min(MOST_SHIFT, int(SHIFT * e))
        place = max(0, math.ceil((h + shift) / s))
        start = place * s - h
        size.append(max(n, start + e + shift))
        position.append(place)
        field.append(Span(start, start + e))
        shifts.append(shift)
    return _Canvas(tuple(size), tuple(position), tuple(field), tuple(shifts))


def _inside(position: tuple[int, ...], box: Box) -> tuple[int, ...] | None:
    """Where a position lies in a box; None where it does not."""
    if all(span.start <= p < span.stop for p, span in zip(position, box, strict=True)):
        return tuple(p - span.start for p, span in zip(position, box, strict=True))
    return None


def unrectified(extractor: Extractor) -> tuple[bool, Extractor]:
    """Whether the last layer ends in a ReLU, and the network without it: where it gives 0 there is no slope."""
    last = extractor.stages[-1]
    if not isinstance(last, ChainStage):
        return False, extractor
    *before, layer = last.layers
    if isinstance(layer, Convolution) and layer.rectify:
        plain: Convolution | MultiWidth = replace(layer, rectify=False)
    elif isinstance(layer, MultiWidth) and all(branch.rectify for branch in layer.branches):
        plain = replace(layer, branches=tuple(replace(branch, rectify=False) for branch in layer.branches))
    else:
        return False, extractor
    return True, replace(extractor, stages=(*extractor.stages[:-1], ChainStage((*before, plain))))
