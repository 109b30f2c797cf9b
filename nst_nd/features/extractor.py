"""Extractors: a fixed network as an ordered list of stages, with named taps where activations are read.

A stage is the unit of the streaming engine: it says how far it looks (halo), how much coarser its output is (stride),
runs forward once, and carries gradients back through what it saved. `Stage.forward` is the definition, in plain
differentiable torch; `run` and `vjp` are the same mathematics as the engine wants it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from nst_nd import nd
from nst_nd.boxes import Box, size_of, slices, volume_of
from nst_nd.errors import ConfigError, InputError
from nst_nd.features.layer import Layer
from nst_nd.features.window import Cut, Windows, can_cut, needed, output_size, windows

# (tap, activation, gradient so far or None) -> gradient with the tap's own added; it may add in place
Seed = Callable[[str, Tensor, Tensor | None], Tensor]
# what a run keeps for the way back: all of it; slopes: what the layers after the last tap need, in little memory
Keep = Literal["all", "slopes", "nothing"]


@dataclass
class Trace:
    """What one forward run of a stage leaves for its way back.

    taps: activations at the wanted taps; of a tile, the part that is the tile's own. saved: by layer; None: not kept.
    """

    out: Tensor
    taps: dict[str, Tensor]
    saved: Any
    tile: Windows | None = None


class Footprint(NamedTuple):
    """float32 numbers held for one tile: `saved` from its run to its way back, `working` on top while it is at work.

    prepared: held from the first way back on, whatever the number of tiles.
    """

    saved: int
    working: int
    prepared: int


@runtime_checkable
class Stage(Protocol):
    """A run of layers between two points at which the streaming engine may stop and resume."""

    @property
    def names(self) -> tuple[str, ...]:
        """Taps inside, in order."""

    @property
    def halo(self) -> tuple[int, ...] | None:
        """Positions of the stage's input needed around a tile; None where the stage looks at everything."""

    def stride_at(self, tap: str | None) -> tuple[int, ...]:
        """Input positions per position of a tap, or of the output for None."""

    def least(self, size: Sequence[int]) -> tuple[int, ...]:
        """The smallest input from which an output of `size` can be made."""

    def forward(self, x: Tensor, wanted: frozenset[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """The output and the wanted taps, differentiable."""

    def output(self, size: Sequence[int]) -> tuple[int, ...]:
        """Size of the output for an input of `size`."""

    def output_at(self, tap: str, size: Sequence[int]) -> tuple[int, ...]:
        """Size of a tap for an input of `size`."""

    def channels(self, nc: int) -> int:
        """Channels of the output for an input of nc."""

    def widest(self, nc: int) -> int:
        """The most channels of any layer, for an input of nc."""

    @property
    def known(self) -> bool:
        """Whether its memory is known, see footprint."""

    def can_cut(self, axis: int, size: Sequence[int]) -> bool:
        """Whether tiles may be smaller than an input of `size` along this axis."""

    def windows(self, core: Box, size: Sequence[int], wanted: frozenset[str]) -> Windows:
        """What the tile whose own part of the input is `core` reads, makes and owns."""

    def run(self, x: Tensor, wanted: frozenset[str], tile: Windows | None = None, *, keep: Keep = "all") -> Trace:
        """The same outside of any graph, keeping for `vjp` what `keep` says; x is what `tile` reads, if it is given."""

    def again(self, read: Callable[[], Tensor], wanted: frozenset[str], tile: Windows | None, trace: Trace) -> Trace:
        """What `vjp` needs, from a trace that is without its taps and without what was not kept; read: gives x."""

    def vjp(self, trace: Trace, seed: Seed, grad: Tensor | None) -> Tensor:
        """Gradient at the input, from `grad` at the output (None: nothing follows) and what `seed` adds at each tap."""

    def footprint(self, nc: int, tile: Windows, wanted: frozenset[str], keep: Keep) -> Footprint:
        """Numbers that one run on a tile holds at once, for an input of nc channels."""

    def carry(self, weight: Tensor, wanted: frozenset[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """A mask [1, 1, *space] at the output and at each wanted tap."""

    def until(self, wanted: frozenset[str]) -> Stage | None:
        """The stage cut after the last wanted tap; None if it has none."""

    def fused(self, wanted: frozenset[str]) -> Stage:
        """The same mathematics with layers joined where no wanted tap lies between them."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Stage:
        """The same stage with its constants there."""


def _seed_inside(seed: Seed, tap: str, own: Tensor, grad: Tensor | None, held: Box, owned: Box) -> Tensor:
    """A tap's gradient on the part of a tile that is its own, added into that on all of it."""
    here = seed(tap, nd.channels_last(own), None)
    if grad is None:
        grad = nd.empty((*own.shape[:2], *size_of(held)), own).zero_()
    grad[slices(owned, held)] += here
    return grad


@dataclass(frozen=True)
class ChainStage:
    """A stage made of layers in a row; every layer's output is a tap."""

    layers: tuple[Layer, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """See Stage.names."""
        return tuple(layer.name for layer in self.layers)

    @property
    def halo(self) -> tuple[int, ...]:
        """Halos of the layers, each in positions of the stage's input, added up."""
        total = [0] * len(self.layers[0].stride)
        scale = [1] * len(total)
        for layer in self.layers:
            for axis, (h, s) in enumerate(zip(layer.halo, layer.stride, strict=True)):
                total[axis] += h * scale[axis]
                scale[axis] *= s
        return tuple(total)

    def stride_at(self, tap: str | None) -> tuple[int, ...]:
        """See Stage.stride_at."""
        strides = []
        for layer in self.layers:
            strides.append(layer.stride)
            if layer.name == tap:
                break
        return tuple(math.prod(axis) for axis in zip(*strides, strict=True))

    def least(self, size: Sequence[int]) -> tuple[int, ...]:
        """See Stage.least."""
        for layer in reversed(self.layers):
            size = layer.least(size)
        return tuple(size)

    def forward(self, x: Tensor, wanted: frozenset[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """See Stage.forward."""
        taps = {}
        for layer in self.layers:
            x = layer(x)
            if layer.name in wanted:
                taps[layer.name] = x
        return x, taps

    def output(self, size: Sequence[int]) -> tuple[int, ...]:
        """See Stage.output."""
        return self.output_at(self.layers[-1].name, size)

    def output_at(self, tap: str, size: Sequence[int]) -> tuple[int, ...]:
        """See Stage.output_at."""
        for layer in self.layers:
            size = output_size(layer, size)
            if layer.name == tap:
                break
        return tuple(size)

    def channels(self, nc: int) -> int:
        """See Stage.channels."""
        for layer in self.layers:
            nc = layer.channels(nc)
        return nc

    def widest(self, nc: int) -> int:
        """See Stage.widest."""
        found = [nc := layer.channels(nc) for layer in self.layers]
        return max(found)

    @property
    def known(self) -> bool:
        """See Stage.known."""
        return True

    def can_cut(self, axis: int, size: Sequence[int]) -> bool:
        """See Stage.can_cut."""
        return can_cut(self.layers, axis, size)

    def windows(self, core: Box, size: Sequence[int], wanted: frozenset[str]) -> Windows:
        """See Stage.windows."""
        return windows(self.layers, self.names, core, size, wanted)

    def run(self, x: Tensor, wanted: frozenset[str], tile: Windows | None = None, *, keep: Keep = "all") -> Trace:
        """See Stage.run."""
        taps, saved = {}, []
        remade = self._remade(wanted, keep)
        for i, (layer, cut) in enumerate(zip(self.layers, self._cuts(tile), strict=True)):
            x, kept = layer.run(x, cut, lean=keep != "all" and i >= remade)
            saved.append(None if i < remade else kept)
            del kept
            if layer.name in wanted:
                taps[layer.name] = x if tile is None or cut is None else x[slices(tile.owned[layer.name], cut.want)]
        return Trace(x, taps, saved, tile)

    def again(self, read: Callable[[], Tensor], wanted: frozenset[str], tile: Windows | None, trace: Trace) -> Trace:
        """See Stage.again: the layers up to the last one of which nothing is there."""
        gone = next((i for i, kept in reversed(list(enumerate(trace.saved))) if kept is None), -1) + 1
        if gone == 0:
            return trace
        start = ChainStage(self.layers[:gone]).run(read(), wanted, tile and replace(tile, cuts=tile.cuts[:gone]))
        return Trace(start.out.new_empty(0), start.taps, start.saved + trace.saved[gone:], tile)

    def _cuts(self, tile: Windows | None) -> Sequence[Cut | None]:
        return [None] * len(self.layers) if tile is None else tile.cuts

    def _remade(self, wanted: frozenset[str], keep: Keep) -> int:
        """How many layers, from the first on, are run again on the way back."""
        if keep == "slopes":
            return max((i for i, name in enumerate(self.names) if name in wanted), default=-1) + 1
        return 0 if keep == "all" else len(self.layers)

    def vjp(self, trace: Trace, seed: Seed, grad: Tensor | None) -> Tensor:
        """See Stage.vjp. What a layer saved is let go as soon as it has been used."""
        tile = trace.tile
        for i, layer in reversed(list(enumerate(self.layers))):
            if layer.name in trace.taps:
                own = trace.taps.pop(layer.name)
                if tile is None or tile.owned[layer.name] == tile.cuts[i].want:
                    grad = seed(layer.name, own, grad)
                else:
                    grad = _seed_inside(seed, layer.name, own, grad, tile.cuts[i].want, tile.owned[layer.name])
                del own
            saved = trace.saved.pop()
            if grad is None:
                raise ConfigError(f"no cost reads {layer.name} or anything after it; cut the stage with until()")
            grad = layer.vjp(saved, grad)
        assert grad is not None
        return grad

    def footprint(self, nc: int, tile: Windows, wanted: frozenset[str], keep: Keep) -> Footprint:
        """See Stage.footprint: what is kept or made again; two neighbours at a time and a tap with its gradient."""
        remade = self._remade(wanted, keep)
        saved, again, steps, taps = 0.0, 0.0, [0], [0]
        here = nc * volume_of(tile.have)
        for i, (layer, cut) in enumerate(zip(self.layers, tile.cuts, strict=True)):
            bordered = needed(layer, cut.want) != cut.have
            before, here = here * (2 if bordered else 1), (nc := layer.channels(nc)) * volume_of(cut.want)
            steps.append(before + here + layer.working(size_of(cut.want)))
            lean, tapped = keep != "all" and i >= remade, layer.name in wanted
            # what comes in is the output of the layer before, which has been counted unless that is lean
            kept = (before if layer.holds_input and (lean or i == 0) else 0) + layer.kept(lean=lean) * here
            if tapped and not lean and kept < here:  # what is kept is not the output itself
                kept += here
            again, saved = (again + kept, saved) if i < remade else (again, saved + kept)
            if tapped:
                taps.append(2 * nc * volume_of(tile.owned[layer.name]))
        working = math.ceil(again) + max(steps) + max(taps)
        return Footprint(math.ceil(saved), working, sum(layer.prepared for layer in self.layers))

    def carry(self, weight: Tensor, wanted: frozenset[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """See Stage.carry."""
        taps = {}
        for layer in self.layers:
            weight = layer.carry(weight)
            if layer.name in wanted:
                taps[layer.name] = weight
        return weight, taps

    def until(self, wanted: frozenset[str]) -> ChainStage | None:
        """See Stage.until."""
        last = max((i for i, name in enumerate(self.names) if name in wanted), default=-1)
        return ChainStage(self.layers[: last + 1]) if last >= 0 else None

    def fused(self, wanted: frozenset[str]) -> ChainStage:
        """See Stage.fused."""
        layers: list[Layer] = []
        for layer in self.layers:
            joined = layers[-1].absorb(layer) if layers and layers[-1].name not in wanted else None
            if joined is None:
                layers.append(layer)
            else:
                layers[-1] = joined
        return ChainStage(tuple(layers))

    def to(self, device: torch.device, dtype: torch.dtype) -> ChainStage:
        """See Stage.to."""
        return ChainStage(tuple(layer.to(device, dtype) for layer in self.layers))


@dataclass(frozen=True)
class Extractor:
    """A fixed network: `stages` in order, for signals of `nc` channels and `ndim` spatial axes.

    name: what the sidecar calls it, with everything that determines its weights.
    stages: run one after the other.
    """

    name: str
    nc: int
    ndim: int
    stages: tuple[Stage, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All taps, in order of depth."""
        return tuple(name for stage in self.stages for name in stage.names)

    def check(self, wanted: Iterable[str]) -> frozenset[str]:
        """The wanted taps as a set; ConfigError names the taps there are."""
        taps = frozenset(wanted)
        unknown = sorted(taps - set(self.names))
        if unknown:
            raise ConfigError(f"{self.name} has no layer {', '.join(unknown)}\nallowed: {', '.join(self.names)}")
        return taps

    def until(self, wanted: Iterable[str]) -> Extractor:
        """The extractor for these taps alone: nothing deeper is computed, and layers are fused."""
        taps = self.check(wanted)
        if not taps:
            raise ConfigError(f"no layer of {self.name} is used; name at least one of: {', '.join(self.names)}")
        last = max(i for i, stage in enumerate(self.stages) if taps & set(stage.names))
        cut = self.stages[last].until(taps)
        assert cut is not None
        return replace(self, stages=tuple(stage.fused(taps) for stage in (*self.stages[:last], cut)))

    def stride_at(self, tap: str) -> tuple[int, ...]:
        """Input positions per position of this tap, per axis."""
        total = (1,) * self.ndim
        for stage in self.stages:
            here = tap in stage.names
            total = tuple(a * b for a, b in zip(total, stage.stride_at(tap if here else None), strict=True))
            if here:
                return total
        raise ConfigError(f"{self.name} has no layer {tap}\nallowed: {', '.join(self.names)}")

    @property
    def least_size(self) -> tuple[int, ...]:
        """The smallest input on which every tap has a position and every border can be made."""
        size: tuple[int, ...] = (1,) * self.ndim
        for stage in reversed(self.stages):
            size = stage.least(size)
        return size

    def check_input(self, x: Tensor, what: str = "the signal") -> None:
        """InputError unless x is [1, nc, *space] and large enough for the deepest stage."""
        if nd.spatial_axes(x) != self.ndim or x.shape[0] != 1 or x.shape[1] != self.nc:
            raise InputError(
                f"{what} has shape {tuple(x.shape)}; {self.name} takes [1, {self.nc}, *space] with {self.ndim} axes"
            )
        least = self.least_size
        if any(n < s for n, s in zip(x.shape[2:], least, strict=True)):
            has, needs = ("x".join(map(str, size)) for size in (x.shape[2:], least))
            raise InputError(
                f"{what} has size {has}; {self.names[-1]} needs at least {needs}\n"
                f"use a larger signal, or layers that are less deep"
            )

    def __call__(self, x: Tensor, wanted: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Activations [1, C, *space / stride] at the wanted taps (all by default), differentiable."""
        taps = self.check(self.names if wanted is None else wanted)
        cut = self.until(taps)
        cut.check_input(x)
        found: dict[str, Tensor] = {}
        for stage in cut.stages:
            x, here = stage.forward(x, taps)
            found |= here
        return found

    def carry(self, weight: Tensor, wanted: frozenset[str]) -> dict[str, Tensor]:
        """A mask [1, 1, *space] of the input at each wanted tap, as area fractions in 0..1."""
        found: dict[str, Tensor] = {}
        for stage in self.stages:
            weight, here = stage.carry(weight, wanted)
            found |= here
        return found

    def to(self, device: torch.device, dtype: torch.dtype) -> Extractor:
        """The same network with its weights there."""
        return replace(self, stages=tuple(stage.to(device, dtype) for stage in self.stages))
