"""Extractors: a fixed network as an ordered list of stages, with named taps where activations are read.

A stage is the unit of the streaming engine: it says how far it looks (halo), how much coarser its output is (stride),
runs forward once, and carries gradients back through what it saved. `Stage.forward` is the definition, in plain
differentiable torch; `run` and `vjp` are the same mathematics as the engine wants it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from nst_nd import nd
from nst_nd.errors import ConfigError, InputError

# (tap, activation, gradient so far or None) -> gradient with the tap's own added; it may add in place
Seed = Callable[[str, Tensor, Tensor | None], Tensor]


@runtime_checkable
class Layer(Protocol):
    """One differentiable operation with the tap name of its output."""

    @property
    def name(self) -> str:
        """Name of the tap at the output."""

    @property
    def halo(self) -> tuple[int, ...]:
        """Positions of the input, on each side, that an output position looks at beyond its own cell."""

    @property
    def stride(self) -> tuple[int, ...]:
        """Input positions per output position, per axis."""

    def __call__(self, x: Tensor) -> Tensor:
        """[B, C, *space] -> [B, C', *space / stride], differentiable."""

    def run(self, x: Tensor) -> tuple[Tensor, Any]:
        """The output, outside of any graph, and what `vjp` needs."""

    def vjp(self, saved: Any, grad: Tensor) -> Tensor:
        """Gradient at the input from the gradient at the output; it may overwrite `grad`."""

    def least(self, size: Sequence[int]) -> tuple[int, ...]:
        """The smallest input from which an output of `size` can be made."""

    def carry(self, weight: Tensor) -> Tensor:
        """A mask [1, 1, *space] at the input's resolution, brought to the output's as area fractions."""

    def absorb(self, following: Layer) -> Layer | None:
        """One layer that does this and the following one faster, if there is such a thing."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Layer:
        """The same layer with its constants there."""


class AutogradLayer:
    """`run` and `vjp` by autograd, for layers whose definition is fast enough."""

    def __call__(self, x: Tensor) -> Tensor:
        """Defined by each layer."""
        raise NotImplementedError

    def run(self, x: Tensor) -> tuple[Tensor, Any]:
        """See Layer.run."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            out = self(leaf)
        return out.detach(), (leaf, out)

    def vjp(self, saved: Any, grad: Tensor) -> Tensor:
        """See Layer.vjp."""
        leaf, out = saved
        at_input: Tensor
        (at_input,) = torch.autograd.grad(out, leaf, grad)
        return at_input

    def least(self: Layer, size: Sequence[int]) -> tuple[int, ...]:
        """See Layer.least: the stride's share, where borders ask for no more."""
        return tuple(n * s for n, s in zip(size, self.stride, strict=True))

    def absorb(self, following: Layer) -> Layer | None:  # noqa: ARG002
        """See Layer.absorb: nothing by default."""
        return None


@dataclass(frozen=True)
class Pool(AutogradLayer):
    """Max or average pooling with stride = kernel."""

    name: str
    kernel: tuple[int, ...]
    mode: nd.Pooling

    @property
    def halo(self) -> tuple[int, ...]:
        """Pooling looks at its own cell only."""
        return (0,) * len(self.kernel)

    @property
    def stride(self) -> tuple[int, ...]:
        """The kernel."""
        return self.kernel

    def __call__(self, x: Tensor) -> Tensor:
        """Each non-overlapping window's maximum or mean."""
        return nd.pool(x, self.kernel, self.mode)

    def carry(self, weight: Tensor) -> Tensor:
        """See Layer.carry."""
        return nd.pool(weight, self.kernel, "average")

    def to(self, device: torch.device, dtype: torch.dtype) -> Pool:  # noqa: ARG002
        """Nothing to move."""
        return self


@dataclass
class Trace:
    """What one forward run of a stage leaves for its way back."""

    out: Tensor
    taps: dict[str, Tensor]
    saved: Any


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

    def run(self, x: Tensor, wanted: frozenset[str]) -> Trace:
        """The same outside of any graph, keeping what `vjp` needs."""

    def vjp(self, trace: Trace, seed: Seed, grad: Tensor | None) -> Tensor:
        """Gradient at the input, from `grad` at the output (None: nothing follows) and what `seed` adds at each tap."""

    def carry(self, weight: Tensor, wanted: frozenset[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """A mask [1, 1, *space] at the output and at each wanted tap."""

    def until(self, wanted: frozenset[str]) -> Stage | None:
        """The stage cut after the last wanted tap; None if it has none."""

    def fused(self, wanted: frozenset[str]) -> Stage:
        """The same mathematics with layers joined where no wanted tap lies between them."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Stage:
        """The same stage with its constants there."""


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

    def run(self, x: Tensor, wanted: frozenset[str]) -> Trace:
        """See Stage.run."""
        taps, saved = {}, []
        for layer in self.layers:
            x, kept = layer.run(x)
            saved.append(kept)
            if layer.name in wanted:
                taps[layer.name] = x
        return Trace(x, taps, saved)

    def vjp(self, trace: Trace, seed: Seed, grad: Tensor | None) -> Tensor:
        """See Stage.vjp. What a layer saved is let go as soon as it has been used."""
        for layer in reversed(self.layers):
            if layer.name in trace.taps:
                grad = seed(layer.name, trace.taps.pop(layer.name), grad)
            saved = trace.saved.pop()
            if grad is None:
                raise ConfigError(f"no cost reads {layer.name} or anything after it; cut the stage with until()")
            grad = layer.vjp(saved, grad)
        assert grad is not None
        return grad

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
            raise InputError(
                f"{what} has size {_times(x.shape[2:])}; {self.names[-1]} needs at least {_times(least)}\n"
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


def _times(size: Sequence[int]) -> str:
    return "x".join(str(n) for n in size)
