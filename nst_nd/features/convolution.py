"""Convolution and rectifier as layers, and the fused pair that VGG and the random networks are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nst_nd import nd
from nst_nd.features.layer import AutogradLayer, Layer
from nst_nd.features.window import Cut, needed


class _Fused(NamedTuple):
    """What the fused run keeps: its (padded) input, its output, the padding done inside, the graph of the rest."""

    x: Tensor
    y: Tensor
    amount: tuple[int, ...]
    border: tuple[Tensor, Tensor] | None


def _mask_in_place(grad: Tensor, y: Tensor) -> Tensor:
    masked: Tensor = torch.ops.aten.threshold_backward.grad_input(grad, y, 0, grad_input=grad)
    return masked


@dataclass(frozen=True)
class Convolution(AutogradLayer):
    """A convolution with constant weights, size-keeping (odd kernels) but for its stride.

    weight: [C_out, C_in, *kernel]. bias: [C_out]. rectify: a ReLU follows in the same layer.
    """

    name: str
    weight: Tensor
    bias: Tensor
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: nd.Padding
    rectify: bool

    @property
    def halo(self) -> tuple[int, ...]:
        """Half of the dilated kernel."""
        return tuple((k - 1) * d // 2 for k, d in zip(self.weight.shape[2:], self.dilation, strict=True))

    @property
    def extent(self) -> tuple[int, ...]:
        """The dilated kernel."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.weight.shape[2:], self.dilation, strict=True))

    @property
    def border(self) -> nd.Padding | None:
        """The padding, unless the kernel has length 1."""
        return self.padding if any(self.halo) else None

    def channels(self, nc: int) -> int:  # noqa: ARG002
        """The weight's."""
        return int(self.weight.shape[0])

    def __call__(self, x: Tensor, cut: Cut | None = None) -> Tensor:
        """The definition: convolution, bias, and ReLU where `rectify`."""
        padding: nd.Padding | None = self.padding
        if cut is not None:
            x, padding = nd.window(x, cut.have, needed(self, cut.want), cut.size, self.padding), None
        y = nd.convolve(x, self.weight, self.bias, stride=self.stride, dilation=self.dilation, padding=padding)
        return torch.relu(y) if self.rectify else y

    def run(self, x: Tensor, cut: Cut | None = None) -> tuple[Tensor, Any]:
        """Convolution and ReLU in one pass where the oneDNN kernel exists: the sum is never written out."""
        if not self._fusable(x):
            return super().run(x, cut)
        border, inside, amount = None, x, self.halo
        if cut is not None or (self.padding != "zeros" and any(amount)):
            with torch.enable_grad():
                border = x.detach().requires_grad_()
                padded = (
                    nd.pad(border, amount, self.padding)
                    if cut is None
                    else nd.window(border, cut.have, needed(self, cut.want), cut.size, self.padding)
                )
            inside, amount = nd.channels_last(padded.detach()), (0,) * len(amount)
            if padded is border:  # a tile inside of the signal: nothing was added
                border = None
        y = torch.ops.mkldnn._convolution_pointwise(
            inside, self.weight, self.bias, amount, self.stride, self.dilation, 1, "relu", [], ""
        )
        return y, _Fused(inside, y, amount, None if border is None else (border, padded))

    def vjp(self, saved: Any, grad: Tensor) -> Tensor:
        """Gradient at the input only: the weights are constants."""
        if not isinstance(saved, _Fused):
            return super().vjp(saved, grad)
        grad = _mask_in_place(grad, saved.y)
        mask = [True, False, False]
        zeros = [0] * len(self.stride)
        at_input: Tensor = torch.ops.aten.convolution_backward(
            grad, saved.x, self.weight, None, self.stride, saved.amount, self.dilation, False, zeros, 1, mask
        )[0]
        if saved.border is None:
            return at_input
        leaf, padded = saved.border
        (unpadded,) = torch.autograd.grad(padded, leaf, at_input)
        return unpadded

    def _fusable(self, x: Tensor) -> bool:
        kernel = x.device.type == "cpu" and x.dtype == torch.float32 and torch._C._has_mkldnn
        sound = x.shape[1] > 1 or all(s == 1 for s in self.stride)  # see nd.channels_first
        return self.rectify and kernel and sound

    def least(self, size: Sequence[int]) -> tuple[int, ...]:
        """See Layer.least: a mirror needs one position more than it shows, a circle as many."""
        border = {"reflect": 1, "circular": 0}.get(self.padding)
        needs = [1 if border is None else halo + border for halo in self.halo]
        return tuple(max(n * s, need) for n, s, need in zip(size, self.stride, needs, strict=True))

    def absorb(self, following: Layer) -> Convolution | None:
        """One layer for this convolution and the rectifier after it, under the rectifier's name."""
        if isinstance(following, Rectifier) and not self.rectify:
            return replace(self, name=following.name, rectify=True)
        return None

    def carry(self, weight: Tensor) -> Tensor:
        """A mask keeps its place; a stride averages it over the cells that are joined, the last one perhaps cut."""
        return weight if all(s == 1 for s in self.stride) else nd.cell_means(weight, self.stride)

    def to(self, device: torch.device, dtype: torch.dtype) -> Convolution:
        """See Layer.to."""
        weight = nd.channels_last(self.weight.to(device, dtype))
        return replace(self, weight=weight, bias=self.bias.to(device, dtype))


@dataclass(frozen=True)
class Rectifier(AutogradLayer):
    """max(x, 0) as a layer of its own, where the convolution before it is tapped."""

    name: str
    ndim: int

    @property
    def halo(self) -> tuple[int, ...]:
        """None: it is pointwise."""
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

    def channels(self, nc: int) -> int:
        """As many."""
        return nc

    def __call__(self, x: Tensor, cut: Cut | None = None) -> Tensor:
        """max(x, 0)."""
        return torch.relu(x if cut is None else nd.window(x, cut.have, cut.want, cut.size, "zeros"))

    def carry(self, weight: Tensor) -> Tensor:
        """See Layer.carry."""
        return weight

    def to(self, device: torch.device, dtype: torch.dtype) -> Rectifier:  # noqa: ARG002
        """Nothing to move."""
        return self


@dataclass(frozen=True)
class MultiWidth(AutogradLayer):
    """Convolutions of several widths side by side on one input, their channels joined, then ReLU.

    Source: Antognini et al. 2018, arXiv 1806.08002, section 2: several kernel widths see several time scales at once.
    """

    name: str
    branches: tuple[Convolution, ...]

    @property
    def halo(self) -> tuple[int, ...]:
        """The widest branch's."""
        return tuple(max(axis) for axis in zip(*(b.halo for b in self.branches), strict=True))

    @property
    def stride(self) -> tuple[int, ...]:
        """The branches' common stride."""
        return self.branches[0].stride

    def least(self, size: Sequence[int]) -> tuple[int, ...]:
        """See Layer.least: the most demanding branch's."""
        return tuple(max(axis) for axis in zip(*(b.least(size) for b in self.branches), strict=True))

    @property
    def extent(self) -> tuple[int, ...]:
        """The widest branch's."""
        return tuple(max(axis) for axis in zip(*(b.extent for b in self.branches), strict=True))

    @property
    def border(self) -> nd.Padding | None:
        """The branches' common one."""
        return next((b.border for b in self.branches if b.border is not None), None)

    @property
    def copies(self) -> int:
        """The branches' outputs, and the joined one."""
        return 2

    def channels(self, nc: int) -> int:
        """The branches' together."""
        return sum(b.channels(nc) for b in self.branches)

    def __call__(self, x: Tensor, cut: Cut | None = None) -> Tensor:
        """[B, C, *space] -> [B, sum of the branches' channels, *space]."""
        return torch.relu(torch.cat([branch(x, cut) for branch in self.branches], dim=1))

    def carry(self, weight: Tensor) -> Tensor:
        """See Layer.carry."""
        return self.branches[0].carry(weight)

    def to(self, device: torch.device, dtype: torch.dtype) -> MultiWidth:
        """See Layer.to."""
        return replace(self, branches=tuple(branch.to(device, dtype) for branch in self.branches))
