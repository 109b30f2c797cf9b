"""Convolution and rectifier as layers, and the fused pair that VGG and the random networks are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nst_nd import nd
from nst_nd.borders import window, window_adjoint
from nst_nd.boxes import whole
from nst_nd.features.extractor import ChainStage, Extractor
from nst_nd.features.faces import add_faces
from nst_nd.features.layer import AutogradLayer, Layer, PointwiseLayer
from nst_nd.features.window import Cut, needed
from nst_nd.kernels import winograd


class _Kept(NamedTuple):
    """What a convolution of stride 1 leaves for its way back: weights are constants, so its input is not needed.

    slope: see _masked; None without a rectifier. amount: zeros that the convolution itself put around. cut: what was
    made of a tile, or of a signal with a border of another kind, before it. thick: it went Winograd's way. faces: the
    signal was whole and had a border of another kind, whose way back is that of `features/faces.py`.
    """

    slope: Tensor | None
    amount: tuple[int, ...]
    cut: Cut | None
    thick: bool = False
    faces: bool = False


def _masked(grad: Tensor, slope: Tensor) -> Tensor:
    """The gradient in place through a rectifier whose output, or the signs of it, is `slope`."""
    if slope.dtype == torch.int8:
        return nd.masked(grad, slope)
    masked: Tensor = torch.ops.aten.threshold_backward.grad_input(grad, slope, 0, grad_input=grad)
    return masked


def _correlated(
    x: Tensor, weight: Tensor, bias: Tensor | None, amount: Sequence[int], dilation: Sequence[int], rectify: bool
) -> Tensor:
    """Cross-correlation with stride 1 and `amount` zeros around, then ReLU: in one pass where oneDNN does it."""
    ones = (1,) * len(amount)
    if x.device.type == "cpu" and x.dtype == torch.float32 and torch._C._has_mkldnn:
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, amount, ones, dilation, 1, "relu" if rectify else "none", [], ""
        )
        return y
    y = nd.correlate(x, weight, bias, amount, ones, dilation)
    return y.relu_() if rectify else y


@dataclass(frozen=True)
class Convolution(AutogradLayer):
    """A convolution with constant weights, size-keeping (odd kernels) but for its stride.

    weight: [C_out, C_in, *kernel]. bias: [C_out]. rectify: a ReLU follows in the same layer. winograd: whole signals of
    many positions take the way of `kernels/winograd.py`.
    """

    name: str
    weight: Tensor
    bias: Tensor
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: nd.Padding
    rectify: bool
    winograd: bool = False

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

    @property
    def holds_input(self) -> bool:
        """See Layer.holds_input: only where there is a stride."""
        return not self._plain

    def kept(self, *, lean: bool) -> float:
        """See Layer.kept: the output, or a byte for each of its signs."""
        return 0.25 if lean and self._plain else 1.0

    @property
    def prepared(self) -> int:
        """See Layer.prepared: the reversed kernel, or what both become."""
        if self.winograd:
            return 2 * winograd.numbers_of(self.weight.shape)
        return self.weight.numel() if self._plain else 0

    def working(self, space: Sequence[int]) -> int:
        """See Layer.working: the strips of a transform, of the way there or back."""
        if not self.winograd:
            return 0
        out, channels = self.weight.shape[:2]
        space = space if self.border in (None, "zeros") else [n + 2 * h for n, h in zip(space, self.halo, strict=True)]
        return max(winograd.working_numbers(channels, out, space), winograd.working_numbers(out, channels, space))

    def __call__(self, x: Tensor, cut: Cut | None = None) -> Tensor:
        """The definition: convolution, bias, and ReLU where `rectify`."""
        padding: nd.Padding | None = self.padding
        if cut is not None:
            x, padding = window(x, cut.have, needed(self, cut.want), cut.size, self.padding), None
        y = nd.convolve(x, self.weight, self.bias, stride=self.stride, dilation=self.dilation, padding=padding)
        return torch.relu(y) if self.rectify else y

    def run(self, x: Tensor, cut: Cut | None = None, *, lean: bool = False) -> tuple[Tensor, Any]:
        """See Layer.run: convolution and ReLU in one pass where oneDNN has the kernel."""
        if not self._plain:
            return super().run(x, cut, lean=lean)
        amount, thick = self.halo, cut is None and self._thick(x)
        faces = cut is None and self.border not in (None, "zeros") and self._has_faces(x)
        if cut is None and self.border not in (None, "zeros"):
            cut = Cut(whole(x.shape[2:]), whole(x.shape[2:]), tuple(x.shape[2:]))
        if cut is not None:
            x = window(x, cut.have, needed(self, cut.want), cut.size, self.padding)
            amount = (0,) * len(amount)
        x = nd.channels_last(x)
        if thick:
            y = winograd.correlate(x, self._points, self.bias, amount, rectify=self.rectify)
        else:
            y = _correlated(x, self.weight, self.bias, amount, self.dilation, self.rectify)
        slope = None if not self.rectify else nd.signs(y) if lean else y
        return y, _Kept(slope, amount, cut, thick, faces)

    def vjp(self, saved: Any, grad: Tensor) -> Tensor:
        """See Layer.vjp: a convolution with the kernel reversed."""
        if not isinstance(saved, _Kept):
            return super().vjp(saved, grad)
        if saved.slope is not None:
            grad = _masked(grad, saved.slope)
        amount = tuple(e - 1 - a for e, a in zip(self.extent, saved.amount, strict=True))
        amount = self.halo if saved.faces else amount
        at_output = nd.channels_last(grad)
        if saved.thick:
            grad = winograd.correlate(at_output, self._points_back, None, amount, rectify=False)
        else:
            grad = _correlated(at_output, self._reversed, None, amount, self.dilation, False)
        if saved.faces:
            add_faces(grad, at_output, self._turned(), self.padding, self._at_faces)
            return grad
        if saved.cut is None:
            return grad
        have, want, size = saved.cut
        return window_adjoint(grad, have, needed(self, want), size, self.padding)

    def _has_faces(self, x: Tensor) -> bool:
        """Whether a border's way back can be made face by face."""
        return all(d == 1 for d in self.dilation) and all(n >= h for n, h in zip(x.shape[2:], self.halo, strict=True))

    def _at_faces(self, grad: Tensor, kernel: Tensor, amount: Sequence[int]) -> Tensor:
        return _correlated(grad, nd.channels_last(kernel), None, amount, self.dilation, False)

    @property
    def _plain(self) -> bool:
        return all(s == 1 for s in self.stride)

    def _thick(self, x: Tensor) -> bool:
        return self.winograd and x.shape[2:].numel() >= winograd.LEAST_POSITIONS

    @cached_property
    def _reversed(self) -> Tensor:
        """The weight as the way back wants it: inputs and outputs exchanged, every axis reversed."""
        turned = self._turned()
        return nd.empty(turned.shape, turned).copy_(turned)

    def _turned(self) -> Tensor:
        return self.weight.transpose(0, 1).flip(*range(2, self.weight.dim()))

    @cached_property
    def _points(self) -> Tensor:
        return winograd.filters_of(self.weight)

    @cached_property
    def _points_back(self) -> Tensor:
        return winograd.filters_of(self._turned())

    def forget(self) -> None:
        """Give the memory of transformed kernels back; they are made again when they are wanted."""
        for name in ("_points", "_points_back"):
            self.__dict__.pop(name, None)

    def by_winograd(self) -> Convolution:
        """The same, by fewer multiplications where that pays on a CPU; itself elsewhere."""
        out, channels = self.weight.shape[:2]
        plain = self._plain and all(d == 1 for d in self.dilation)
        return replace(self, winograd=True) if plain and winograd.pays(self.weight.shape[2:], channels, out) else self

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
class Rectifier(PointwiseLayer):
    """max(x, 0) as a layer of its own, where the convolution before it is tapped."""

    def __call__(self, x: Tensor, cut: Cut | None = None) -> Tensor:
        """max(x, 0)."""
        return torch.relu(x if cut is None else window(x, cut.have, cut.want, cut.size, "zeros"))

    def kept(self, *, lean: bool) -> float:
        """See Layer.kept: the output, or a byte for each of its signs."""
        return 0.25 if lean else 1.0

    def run(self, x: Tensor, cut: Cut | None = None, *, lean: bool = False) -> tuple[Tensor, Any]:
        """See Layer.run."""
        y = self(x, cut)
        return y, (nd.signs(y) if lean else y, cut)

    def vjp(self, saved: Any, grad: Tensor) -> Tensor:
        """See Layer.vjp."""
        slope, cut = saved
        grad = _masked(grad, slope)
        return grad if cut is None else window_adjoint(grad, cut.have, cut.want, cut.size, "zeros")


@dataclass(frozen=True)
class MultiWidth(AutogradLayer):
    """Convolutions of several widths, each with its ReLU, side by side on one input; their channels are joined.

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

    def kept(self, *, lean: bool) -> float:
        """See Layer.kept: the branches'."""
        return max(b.kept(lean=lean) for b in self.branches)

    @property
    def holds_input(self) -> bool:
        """See Layer.holds_input: where a branch does."""
        return any(b.holds_input for b in self.branches)

    @property
    def prepared(self) -> int:
        """See Layer.prepared: the branches'."""
        return sum(b.prepared for b in self.branches)

    def channels(self, nc: int) -> int:
        """The branches' together."""
        return sum(b.channels(nc) for b in self.branches)

    def __call__(self, x: Tensor, cut: Cut | None = None) -> Tensor:
        """[B, C, *space] -> [B, sum of the branches' channels, *space]."""
        return torch.cat([branch(x, cut) for branch in self.branches], dim=1)

    def run(self, x: Tensor, cut: Cut | None = None, *, lean: bool = False) -> tuple[Tensor, Any]:
        """See Layer.run."""
        runs = [branch.run(x, cut, lean=lean) for branch in self.branches]
        joined = nd.channels_last(torch.cat([y for y, _ in runs], dim=1))
        saved = [kept for _, kept in runs]
        if lean or not all(isinstance(kept, _Kept) and kept.slope is not None for kept in saved):
            return joined, (None, saved)
        # the branches' own outputs go: what is joined has them too, and is one piece of memory
        return joined, (joined, [kept._replace(slope=None) for kept in saved])

    def vjp(self, saved: Any, grad: Tensor) -> Tensor:
        """See Layer.vjp: the branches' together."""
        slope, branches = saved
        grad = grad if slope is None else _masked(grad, slope)
        total: Tensor | None = None
        for branch, part, kept in zip(self.branches, self._parts(grad), branches, strict=True):
            here = branch.vjp(kept, nd.channels_last(part))
            total = here if total is None else total.add_(here)
        assert total is not None
        return total

    def _parts(self, joined: Tensor) -> list[Tensor]:
        """The branches' shares of the channels."""
        return list(torch.split(joined, [b.weight.shape[0] for b in self.branches], dim=1))

    def carry(self, weight: Tensor) -> Tensor:
        """See Layer.carry."""
        return self.branches[0].carry(weight)

    def to(self, device: torch.device, dtype: torch.dtype) -> MultiWidth:
        """See Layer.to."""
        return replace(self, branches=tuple(branch.to(device, dtype) for branch in self.branches))


def by_winograd(extractor: Extractor) -> Extractor:
    """The network with convolutions by fewer multiplications, in more memory, where that pays on a CPU."""
    stages = tuple(
        ChainStage(tuple(layer.by_winograd() if isinstance(layer, Convolution) else layer for layer in stage.layers))
        if isinstance(stage, ChainStage)
        else stage
        for stage in extractor.stages
    )
    return replace(extractor, stages=stages)


def uses_winograd(extractor: Extractor) -> bool:
    """Whether `by_winograd` made something of it."""
    return any(layer.winograd for layer in _convolutions(extractor))


def forget_winograd(extractor: Extractor) -> None:
    """Give the memory of all transformed kernels back."""
    for layer in _convolutions(extractor):
        layer.forget()


def _convolutions(extractor: Extractor) -> list[Convolution]:
    layers = [layer for stage in extractor.stages if isinstance(stage, ChainStage) for layer in stage.layers]
    return [layer for layer in layers if isinstance(layer, Convolution)]
