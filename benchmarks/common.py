"""What benchmarks share: a clock, words for the machine, tables on disk, and the in-memory run to measure against.

`plain_value_and_grad` uses nothing of the engine. It is torch autograd as someone would tune it by hand for the CPU:
channels innermost from the first layer on (also for one channel, where torch has to be told by the strides), ReLU in
place, weights without gradient, and one product instead of two on the way back through a Gram matrix.
"""

from __future__ import annotations

import csv
import platform
import re
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nst_nd.engine.memory import in_words
from nst_nd.engine.objective import Objective
from nst_nd.features.convolution import Convolution, MultiWidth
from nst_nd.features.extractor import Extractor
from nst_nd.features.layer import Pool
from nst_nd.kernels import winograd
from nst_nd.nd import correlate


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def machine() -> str:
    """Processor, threads, memory and torch of this process."""
    info = _text("/proc/cpuinfo"), _text("/proc/meminfo")
    name = re.search(r"^model name\s*: (.+)$", info[0], re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", info[1], re.MULTILINE)
    size = f", {in_words(int(memory[1]) * 1024)}" if memory else ""
    processor = name[1] if name else platform.machine()
    return f"{processor}, {torch.get_num_threads()} threads{size}, torch {torch.__version__}"


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def save(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table as CSV, its folder made if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def innermost(x: Tensor) -> Tensor:
    """x [B, C, *space] with the channels innermost, and strides that say so even where C is 1."""
    _, nc, *space = x.shape
    dense = x.movedim(1, -1).contiguous()
    strides = [nc]
    for n in reversed(space):
        strides.insert(0, strides[0] * n)
    return dense.as_strided(x.shape, (strides[0], 1, *strides[1:]))


def bare_convolutions(
    extractor: Extractor, size: Sequence[int], twice: Collection[str] = (), *, chosen: bool
) -> Callable[[], None]:
    """Forward and input gradient of every convolution of a network, at its own size, and nothing else.

    twice: layers whose forward is done again on the way back. chosen: by the method that the layer is planned with;
    otherwise all of them as direct convolutions.
    """
    work: list[tuple[Callable[[], object], Callable[[], object], int]] = []
    nc, here = extractor.nc, tuple(size)
    for layer in (layer for stage in extractor.stages for layer in stage.layers):  # type: ignore[attr-defined]
        for one in layer.branches if isinstance(layer, MultiWidth) else [layer]:
            if isinstance(one, Convolution):
                x, grad = (innermost(torch.rand(1, n, *here)) for n in (nc, one.weight.shape[0]))
                back = one.weight.transpose(0, 1).flip(*range(2, one.weight.dim()))
                by = one.winograd and chosen and x[0, 0].numel() >= winograd.LEAST_POSITIONS
                way = _by_winograd if by else _directly
                work.append((way(x, one.weight, one), way(grad, back, one), 1 + (layer.name in twice)))
        nc = layer.channels(nc)
        here = tuple(n // s for n, s in zip(here, layer.stride, strict=True))

    def run() -> None:
        for there, back, times in work:
            for _ in range(times):
                there()
            back()

    return run


def _directly(x: Tensor, weight: Tensor, like: Convolution) -> Callable[[], object]:
    weight, ones = innermost(weight), (1,) * len(like.halo)
    return lambda: correlate(x, weight, None, like.halo, ones, like.dilation)


def _by_winograd(x: Tensor, weight: Tensor, like: Convolution) -> Callable[[], object]:
    filters = winograd.filters_of(weight)
    return lambda: winograd.correlate(x, filters, None, like.halo, rectify=False)


class _Gram(torch.autograd.Function):
    """F F^T of features [C, N]; the way back is one product, since the result is symmetric."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        return features @ features.T

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        features: Tensor = ctx.saved_tensors[0]
        return (features.T @ (grad + grad.T)).T


def plain_value_and_grad(objective: Objective, dtype: torch.dtype) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The first branch of an objective as a plain network in `dtype`: x to its value and its gradient at x.

    Relative costs and Gram matrices only; layers as in `_layers`.
    """
    branch = objective.branches[0]
    layers = _layers(branch.extractor, dtype)
    style = {term.tap: (term.weight, term.target.to(dtype)) for term in branch.style}
    content = {term.tap: (term.weight, innermost(term.target.to(dtype))) for term in branch.content}  # type: ignore[union-attr]
    ndim = branch.extractor.ndim
    convolve, pool = getattr(F, f"conv{ndim}d"), getattr(F, f"avg_pool{ndim}d")

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        leaf = innermost(x.to(dtype)).requires_grad_()
        y, loss = leaf, leaf.new_zeros(())
        for name, weight, bias in layers:
            y = pool(y, 2) if weight is None else convolve(y, weight, bias, padding=1).relu_()
            if name in style:
                share, target = style[name]
                gram = _Gram.apply(y.squeeze(0).flatten(1)) / y[0, 0].numel()
                loss = loss + share * (gram - target).square().sum() / target.square().sum()
            if name in content:
                share, target = content[name]
                loss = loss + share * (y - target).square().sum() / target.square().sum()
        return loss.detach(), torch.autograd.grad(loss, leaf)[0]

    return run


def _layers(extractor: Extractor, dtype: torch.dtype) -> list[tuple[str, Tensor | None, Tensor | None]]:
    """Name, weight and bias of 3-wide convolutions with ReLU and zeros at the border; None, None: average pool by 2."""
    found: list[tuple[str, Tensor | None, Tensor | None]] = []
    for layer in (layer for stage in extractor.stages for layer in stage.layers):  # type: ignore[attr-defined]
        if isinstance(layer, Convolution) and layer.rectify and layer.padding == "zeros" and set(layer.halo) == {1}:
            found.append((layer.name, innermost(layer.weight.to(dtype)), layer.bias.to(dtype)))
        elif isinstance(layer, Pool) and layer.mode == "average" and set(layer.kernel) == {2}:
            found.append((layer.name, None, None))
        else:
            raise SystemExit(f"{layer.name}: the plain network has no such layer")
    return found
