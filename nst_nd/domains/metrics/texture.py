"""How far a texture is from that of the style: Gram matrices of a held-out network, a slab of the signal at a time."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nst_nd import nd, scratch
from nst_nd.boxes import Box
from nst_nd.domains.selection import percentiles
from nst_nd.engine.field import Field
from nst_nd.engine.sweep import StagePlan, Sweep
from nst_nd.errors import InputError
from nst_nd.features.extractor import Extractor
from nst_nd.features.random_conv import random_network
from nst_nd.features.statistics import Moments, gram_of
from nst_nd.kernels.moments_torch import BLOCK
from nst_nd.sample import Data, Sample

# the held-out network: a seed and widths that no preset uses
SEED = 7919
WIDTHS = (3, 7)
CHANNELS = (16, 32, 32)
TAPS = ("relu1", "pool1", "relu2", "pool2", "relu3")
# what is larger is measured on its middle, of about so many positions
MIDDLE = 1 << 21
PERCENTILES = (0.5, 99.5)
# positions of the input that a stage runs on at a time: some MiB of activations, and few enough waits for threads
AT_ONCE = 1 << 15


def style_distance(sample: Sample, style: Sample, like: Sample) -> float:
    """Mean over the layers TAPS of ||G - A||_F / ||A||_F, G and A the Gram matrices of sample and style.

    Both in units of the style's range, so that levels count; arbitrary intensities each in units of their own
    (`like` says whose range the sample has). Where the numbers of channels differ, their mean is compared;
    an image style is brought to the sample's longer side. A signal too small for all layers is heard at the first.
    Raises InputError where activations overflow.
    """
    same = style.nc == sample.nc
    sizes = [_middle_size(sample.data), _middle_size(style.data)]
    if sample.kind == "image":
        share = max(sizes[0]) / max(sizes[1])
        sizes[1] = tuple(max(1, round(n * share)) for n in sizes[1])
    nc, ndim = sample.nc if same else 1, len(sizes[0])
    extractor = random_network(nc, ndim, seed=SEED, widths=WIDTHS, channels=CHANNELS).until(TAPS)
    if any(n < least for size in sizes for n, least in zip(size, extractor.least_size, strict=True)):
        extractor = extractor.until(TAPS[:1])
    # one signal after the other, so that one is in memory
    ours = grams(extractor, _normalised(sample.data, _range(like if sample.units == "arbitrary" else style), same))
    theirs = grams(extractor, nd.resize(_normalised(style.data, _range(style), same), sizes[1]))
    return float(sum((ours[t] - theirs[t]).norm() / theirs[t].norm() for t in ours) / len(ours))


def grams(extractor: Extractor, x: Tensor) -> dict[str, Tensor]:
    """Gram matrix [C, C] in float64 of x [1, nc, *space] at every tap, as `statistics.gram` gives it.

    Raises InputError for a signal that the extractor does not take and for activations that overflow.
    """
    extractor.check_input(x)
    found = {tap: _Blocks() for tap in extractor.names}

    def read(tap: str, box: Box, activations: Tensor) -> None:  # noqa: ARG001
        found[tap].add(activations)

    with torch.no_grad():
        sweep = Sweep(extractor, frozenset(extractor.names), x.shape[2:], _slabs(extractor, x))
        sweep.forward(Field.of(x), read, back=False)
    return {tap: blocks.gram() for tap, blocks in found.items()}


class _Blocks:
    """Moments of positions that come in order, summed in the blocks that all of them at once would be summed in.

    A distance is a small difference of Gram matrices: it would show where the float32 sums of a block begin and end.
    """

    def __init__(self) -> None:
        self._sum: Moments | None = None
        self._rest: list[Tensor] = []

    def add(self, activations: Tensor) -> None:
        """[1, C, *space], the positions that follow."""
        self._rest.append(activations.flatten(2))
        if sum(part.shape[2] for part in self._rest) < BLOCK:
            return
        flat = torch.cat(self._rest, dim=2)
        whole = flat.shape[2] // BLOCK * BLOCK
        self._rest = [flat[:, :, whole:].clone()]
        self._take(flat[:, :, :whole])

    def gram(self) -> Tensor:
        """Of everything that came. Raises InputError where it is not finite."""
        self._take(torch.cat(self._rest, dim=2))
        assert self._sum is not None
        gram = gram_of(self._sum)
        if not torch.isfinite(gram).all():
            raise InputError("activations are not finite, or too large to be squared")
        return gram

    def _take(self, flat: Tensor) -> None:
        if flat.shape[2]:
            here = Moments.of(flat, with_sum=False)
            self._sum = here if self._sum is None else self._sum + here


def _slabs(extractor: Extractor, x: Tensor) -> list[StagePlan]:
    """Slabs of the first axis, so that positions come in order; what lies between stages is in a file where large."""
    plans, size, nc = [], tuple(x.shape[2:]), extractor.nc
    for stage in extractor.stages:
        large = nc * math.prod(size) * x.element_size() >= scratch.LARGE
        tile = (max(1, AT_ONCE // math.prod(size[1:])), *size[1:])
        plans.append(StagePlan(tile, keep="nothing", place="file" if large else "device"))
        size, nc = stage.output(size), stage.channels(nc)
    return plans


def _range(sample: Sample) -> tuple[float, float]:
    low, high = percentiles(sample.data, PERCENTILES)
    if low == high:
        lows, highs = scratch.extremes(sample.data)
        low, high = lows.min(), highs.max()
    return float((low + high) / 2.0), float(max(high - low, np.finfo(np.float32).tiny))


def _middle_size(data: Data) -> tuple[int, ...]:
    """Of about MIDDLE positions at most, the same along every axis that is cut."""
    keep = round(MIDDLE ** (1.0 / (data.ndim - 1)))
    return tuple(min(n, keep) for n in data.shape[1:])


def _normalised(data: Data, middle_and_width: tuple[float, float], same_channels: bool) -> Tensor:
    """[1, C, *middle], the channels' mean where they are not the same; by pieces."""
    pairs = zip(data.shape[1:], _middle_size(data), strict=True)
    middle = tuple(slice((n - keep) // 2, (n + keep) // 2) for n, keep in pairs)
    centre, width = middle_and_width

    def scaled(piece: Data) -> Data:
        part: Data = piece if same_channels else piece.mean(axis=0, keepdims=True)
        return (part - centre) / width

    nc = len(data) if same_channels else 1
    return torch.from_numpy(scratch.piecewise(scaled, data[(slice(None), *middle)], nc=nc, dtype=np.float32))[None]
