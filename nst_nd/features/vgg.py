"""VGG-19 in any number of dimensions: as trained in 2-D, inflated to 3-D, collapsed to 1-D."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nst_nd import nd
from nst_nd.errors import ConfigError
from nst_nd.features.convolution import Convolution, Rectifier
from nst_nd.features.extractor import ChainStage, Extractor
from nst_nd.features.layer import Layer, Pool
from nst_nd.features.weights import VGG19_BLOCKS, vgg19_weights

MEAN_RGB = (123.68, 116.779, 103.939)
VOLUME_AXES = 3


def vgg19(
    nc: int,
    ndim: int,
    *,
    pooling: nd.Pooling = "average",
    padding: nd.Padding = "zeros",
    pool_kernel: tuple[int, ...] | None = None,
    blocks: int = len(VGG19_BLOCKS),
    plane: tuple[int, int] | None = None,
) -> Extractor:
    """VGG-19's convolutional base with taps conv1_1, relu1_1, ..., relu5_4, pool1 .. pool5.

    Input: [1, nc, *space], RGB in 0..255 less MEAN_RGB for nc = 3, and the like for others.
    nc: the three colour kernels serve other numbers of channels as `adapt_channels` says.
    ndim: 3 inflates each kernel along the last axis, 1 collapses it, as `adapt_axes` says.
    pool_kernel: positions joined per axis by each pool (2 everywhere by default). blocks: only the first so many are
    made, without the memory of the others. plane: the two axes of a volume that everything extends along, slice by
    slice; None: all of them.
    Raises ConfigError for nc < 1, a kernel of another length than ndim, a number of blocks outside of 1..5, or a plane
    that is none.
    """
    kernel = pool_kernel or (2,) * ndim
    if nc < 1 or ndim not in nd.AXES or len(kernel) != ndim or min(kernel) < 1:
        raise ConfigError(f"vgg19 got nc={nc}, ndim={ndim}, pool_kernel={kernel}; nc >= 1 and one size >= 1 per axis")
    if not 1 <= blocks <= len(VGG19_BLOCKS):
        raise ConfigError(f"vgg19 got blocks={blocks}; allowed: 1 to {len(VGG19_BLOCKS)}")
    kernel = within_plane(kernel, plane)
    weights = {
        name: (adapt_axes(w, ndim) if plane is None else in_plane(w, plane), b)
        for name, (w, b) in vgg19_weights(blocks).items()
    }
    weights["1_1"] = (adapt_channels(weights["1_1"][0], nc), weights["1_1"][1])
    ones = (1,) * ndim
    layers_of: dict[str, list[Layer]] = {}
    for name, (w, b) in weights.items():
        layers = layers_of.setdefault(name[0], [])
        layers.append(Convolution(f"conv{name}", nd.channels_last(w), b, ones, ones, padding, rectify=False))
        layers.append(Rectifier(f"relu{name}", ndim))
    for block, layers in layers_of.items():
        layers.append(Pool(f"pool{block}", kernel, pooling))
    stages = tuple(ChainStage(tuple(layers)) for layers in layers_of.values())
    where = "" if plane is None else f", plane={plane}"
    return Extractor(f"vgg19(nc={nc}, ndim={ndim}, {pooling}, {padding}, {kernel}{where})", nc, ndim, stages)


def adapt_axes(weight: Float[Tensor, "out channel k k"], ndim: int) -> Float[Tensor, "out channel *kernel"]:
    """[O, I, 3, 3] -> [O, I, 3, 3, 3] or [O, I, 3], so that activations stay the same on signals that allow it.

    3-D: each kernel is repeated along a new last axis and divided by its length: a signal that is constant along that
    axis has the activations of its 2-D section (Carreira & Zisserman 2017, arXiv 1705.07750, section 2.2).
    1-D: kernels are summed over their second axis: a signal has the activations of the image that repeats it.
    """
    if ndim == weight.dim() - 2:
        return weight
    if ndim < weight.dim() - 2:
        return weight.sum(-1)
    length = weight.shape[-1]
    return weight.unsqueeze(-1).expand(*weight.shape, length) / length


def within_plane(sizes: tuple[int, ...], plane: tuple[int, int] | None) -> tuple[int, ...]:
    """Sizes per axis, 1 outside of a plane. Raises ConfigError unless it is two axes of a volume, in order."""
    if plane is None:
        return sizes
    allowed = [(0, 1), (0, 2), (1, 2)]
    if len(sizes) != VOLUME_AXES or plane not in allowed:
        raise ConfigError(f"plane is {plane} of {len(sizes)} axes; allowed: {', '.join(map(str, allowed))} of a volume")
    return tuple(n if axis in plane else 1 for axis, n in enumerate(sizes))


def in_plane(weight: Float[Tensor, "out channel k k"], plane: tuple[int, int]) -> Float[Tensor, "out channel *kernel"]:
    """[O, I, 3, 3] with a third axis of one position, outside of the plane."""
    (missing,) = set(range(VOLUME_AXES)) - set(plane)
    return weight.unsqueeze(2 + missing)


def adapt_channels(weight: Float[Tensor, "out 3 *kernel"], nc: int) -> Float[Tensor, "out nc *kernel"]:
    """[O, 3, *k] -> [O, nc, *k]: colour kernels used in turn, scaled by 3 / nc.

    One channel gets the sum of the three, so that gray gives what an RGB image of three equal channels gives. Any
    other number takes red, green, blue, red, ... so that neighbouring channels are told apart; where nc is a multiple
    of three, equal channels again give what gray gives.
    """
    if nc == weight.shape[1]:
        return weight
    if nc == 1:
        return weight.sum(1, keepdim=True)
    return weight[:, torch.arange(nc) % weight.shape[1]] * (weight.shape[1] / nc)
