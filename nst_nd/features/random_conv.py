"""Seeded random networks of several kernel widths, in any number of dimensions: no weights to fetch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from nst_nd import nd
from nst_nd.errors import ConfigError
from nst_nd.features.convolution import Convolution, MultiWidth
from nst_nd.features.extractor import ChainStage, Extractor
from nst_nd.features.layer import Layer, Pool
from nst_nd.features.vgg import within_plane

WIDTHS = (3, 5, 9)
CHANNELS = (24, 48, 96)


def random_network(
    nc: int,
    ndim: int,
    *,
    seed: int = 0,
    widths: Sequence[int] = WIDTHS,
    channels: Sequence[int] = CHANNELS,
    pooling: nd.Pooling = "average",
    padding: nd.Padding = "replicate",
    pool_kernel: tuple[int, ...] | None = None,
    octave: int = 0,
    zero_mean: bool = False,
    plane: tuple[int, int] | None = None,
) -> Extractor:
    """A random network of len(channels) stages with taps relu1, pool1, relu2, ...

    Input: [1, nc, *space] of any scale: without biases, activations scale with the input.
    widths: odd kernel widths that the first stage applies side by side; later stages use the first of them.
    channels: output channels of each stage; those of the first are shared among the widths.
    octave: the signal is first averaged down this many times by pool_kernel (tap "octave").
    zero_mean: the first stage's kernels sum to 0, so that it hears what varies and not the level; together with
        octaves this gives every band of frequencies a say, where otherwise the strongest one speaks for all.
    plane: the two axes of a volume that everything extends along, slice by slice; None: all of them.
    Kernels are Gaussian with variance 2 / fan-in (He et al. 2015), drawn on the CPU from `seed`.
    Sources: Ulyanov & Lebedev 2016; Antognini et al. 2018, arXiv 1806.08002.
    Raises ConfigError for even widths or fewer channels than widths.
    """
    widths, channels = tuple(widths), tuple(channels)
    kernel = pool_kernel or (2,) * ndim
    if ndim not in nd.AXES or octave < 0:
        raise ConfigError(f"random network got ndim={ndim}, octave={octave}; allowed: 1 to 3, and 0 or more")
    if len(kernel) != ndim or min(kernel) < 1:
        raise ConfigError(f"pool_kernel is {kernel}; allowed: {ndim} sizes of 1 or more, one per axis")
    if nc < 1 or not widths or any(w < 1 or w % 2 == 0 for w in widths):
        raise ConfigError(f"random network got nc={nc}, widths={widths}; nc >= 1 and odd widths")
    if not channels or channels[0] < len(widths) or min(channels) < 1:
        raise ConfigError(f"random network got channels={channels} for widths={widths}; at least one for each width")
    kernel = within_plane(kernel, plane)
    generator = torch.Generator().manual_seed(seed)
    shares = [channels[0] // len(widths) + (i < channels[0] % len(widths)) for i in range(len(widths))]
    stages: list[ChainStage] = []
    if octave:
        down = tuple(k**octave for k in kernel)
        stages.append(ChainStage((Pool("octave", down, "average"),)))
    inputs = nc
    for depth, outputs in enumerate(channels, start=1):
        here = list(zip(widths, shares, strict=True)) if depth == 1 else [(widths[0], outputs)]
        balanced = zero_mean and depth == 1
        branches = tuple(
            _random_convolution(inputs, n, within_plane((w,) * ndim, plane), padding, generator, balanced)
            for w, n in here
        )
        layers: list[Layer] = [_layer(f"relu{depth}", branches), Pool(f"pool{depth}", kernel, pooling)]
        stages.append(ChainStage(tuple(layers)))
        inputs = outputs
    name = (
        f"random(nc={nc}, ndim={ndim}, seed={seed}, widths={widths}, channels={channels}, {pooling}, {padding}, "
        f"{kernel}, octave={octave}, zero_mean={zero_mean}{'' if plane is None else f', plane={plane}'})"
    )
    return Extractor(name, nc, ndim, tuple(stages))


def multi_width_layer(name: str, nc: int, ndim: int, widths: Sequence[int], filters: int, seed: int) -> MultiWidth:
    """`filters` random kernels of each width side by side on nc channels, followed by ReLU."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(w,) * ndim for w in widths]
    return MultiWidth(name, tuple(_random_convolution(nc, filters, s, "replicate", generator) for s in shapes))


def _layer(name: str, branches: tuple[Convolution, ...]) -> Layer:
    if len(branches) > 1:
        return MultiWidth(name, branches)
    return replace(branches[0], name=name)


def _random_convolution(
    inputs: int,
    outputs: int,
    widths: tuple[int, ...],
    padding: nd.Padding,
    generator: torch.Generator,
    zero_mean: bool = False,
) -> Convolution:
    shape = (outputs, inputs, *widths)
    weight = torch.randn(shape, generator=generator) * math.sqrt(2.0 / math.prod(shape[1:]))
    if zero_mean:
        weight = weight - weight.mean(dim=tuple(range(2, 2 + len(widths))), keepdim=True)
    ones = (1,) * len(widths)
    return Convolution("", nd.channels_last(weight), torch.zeros(outputs), ones, ones, padding, rectify=True)
