"""Layers: one differentiable operation each, on a whole signal or on a tile of it.

`__call__` is the definition in plain differentiable torch; `run` and `vjp` are the same as the engine wants it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from nst_nd import nd
from nst_nd.borders import window, window_adjoint
from nst_nd.features.window import Cut, needed


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

    @property
    def extent(self) -> tuple[int, ...]:
        """Positions of the input that an output position sees, per axis."""

    @property
    def border(self) -> nd.Padding | None:
        """What continues the signal beyond its ends; None where nothing is needed there."""

    @property
    def holds_input(self) -> bool:
        """Whether `vjp` needs what `run` was given; this and the next two are for counting memory."""

    def kept(self, *, lean: bool) -> float:
        """float32 numbers kept from `run` to `vjp` per number of the output, the input not counted."""

    @property
    def prepared(self) -> int:
        """float32 numbers that the first `vjp` makes and keeps for all following ones."""

    def working(self, space: Sequence[int]) -> int:
        """float32 numbers held while it is at work on an output of `space`, beside its input and output."""

    def channels(self, nc: int) -> int:
        """Channels of the output for an input of nc."""

    def __call__(self, x: Tensor, cut: Cut | None = None) -> Tensor:
        """[B, C, *space] -> [B, C', *space / stride], differentiable; of a tile where `cut` says which."""

    def run(self, x: Tensor, cut: Cut | None = None, *, lean: bool = False) -> tuple[Tensor, Any]:
        """The output, outside of any graph, and what `vjp` needs; lean: in little memory, even if that takes time.

        Otherwise what is kept may share the memory of the input or of the output.
        """

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

    @property
    def holds_input(self) -> bool:
        """See Layer.holds_input: a graph does."""
        return True

    def kept(self, *, lean: bool) -> float:  # noqa: ARG002
        """See Layer.kept: the output."""
        return 1.0

    @property
    def prepared(self) -> int:
        """See Layer.prepared: nothing."""
        return 0

    def working(self, space: Sequence[int]) -> int:  # noqa: ARG002
        """See Layer.working: nothing."""
        return 0

    def __call__(self, x: Tensor, cut: Cut | None = None) -> Tensor:
        """Defined by each layer."""
        raise NotImplementedError

    def run(self, x: Tensor, cut: Cut | None = None, *, lean: bool = False) -> tuple[Tensor, Any]:  # noqa: ARG002
        """See Layer.run."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            out = self(leaf, cut)
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
class PointwiseLayer(AutogradLayer):
    """An operation on each number by itself: as large as its input, with as many channels, and nothing around it."""

    name: str
    ndim: int

    @property
    def halo(self) -> tuple[int, ...]:
        """None."""
        return (0,) * self.ndim

    @property
    def stride(self) -> tuple[int, ...]:
        """One."""
        return (1,) * self.ndim

    @property
    def extent(self) -> tuple[int, ...]:
        """One."""
        return (1,) * self.ndim

    @property
    def border(self) -> None:
        """It never looks beyond the ends."""
        return

    @property
    def holds_input(self) -> bool:
        """See Layer.holds_input: its output, or less, is enough."""
        return False

    def channels(self, nc: int) -> int:
        """As many."""
        return nc

    def carry(self, weight: Tensor) -> Tensor:
        """See Layer.carry."""
        return weight

    def to(self, device: torch.device, dtype: torch.dtype) -> PointwiseLayer:  # noqa: ARG002
        """Nothing to move."""
        return self


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

    @property
    def extent(self) -> tuple[int, ...]:
        """The kernel."""
        return self.kernel

    @property
    def border(self) -> None:
        """It never looks beyond the ends."""
        return

    def channels(self, nc: int) -> int:
        """As many."""
        return nc

    def __call__(self, x: Tensor, cut: Cut | None = None) -> Tensor:
        """Each non-overlapping window's maximum or mean."""
        if cut is not None:
            x = window(x, cut.have, needed(self, cut.want), cut.size, "zeros")
        return nd.pool(x, self.kernel, self.mode)

    @property
    def holds_input(self) -> bool:
        """See Layer.holds_input: a maximum remembers its place instead."""
        return False

    def kept(self, *, lean: bool) -> float:  # noqa: ARG002
        """See Layer.kept: a byte for each maximum."""
        return 0.0 if self.mode == "average" else 0.25 if math.prod(self.kernel) <= 128 else 1.0

    def run(self, x: Tensor, cut: Cut | None = None, *, lean: bool = False) -> tuple[Tensor, Any]:  # noqa: ARG002
        """See Layer.run."""
        if cut is not None:
            x = window(x, cut.have, needed(self, cut.want), cut.size, "zeros")
        size, place = tuple(x.shape[2:]), None
        if self.mode == "average":
            out = nd.average(x, self.kernel)
        else:
            out, place = nd.maximum(x, self.kernel)
        return out, (place, size, cut)

    def vjp(self, saved: Any, grad: Tensor) -> Tensor:
        """See Layer.vjp."""
        place, size, cut = saved
        if place is None:
            grad = nd.average_adjoint(grad, self.kernel, size)
        else:
            grad = nd.maximum_adjoint(grad, place, self.kernel, size)
        return grad if cut is None else window_adjoint(grad, cut.have, needed(self, cut.want), cut.size, "zeros")

    def carry(self, weight: Tensor) -> Tensor:
        """See Layer.carry."""
        return nd.pool(weight, self.kernel, "average")

    def to(self, device: torch.device, dtype: torch.dtype) -> Pool:  # noqa: ARG002
        """Nothing to move."""
        return self
