"""Content cost, style cost and total variation, each with its named normalisations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from nst_nd import nd
from nst_nd.boxes import Box, Span, slices
from nst_nd.errors import InputError

ContentNormalisation = Literal["relative", "mse", "gatys", "textbook"]
StyleNormalisation = Literal["relative", "gatys", "johnson", "mse"]

# from the sum of squares of the target, and its number of elements
_CONTENT: dict[ContentNormalisation, Callable[[Tensor, int], Tensor | float]] = {
    "relative": lambda energy, numel: 1.0 / energy,  # noqa: ARG005
    "mse": lambda energy, numel: 1.0 / numel,  # noqa: ARG005
    "gatys": lambda energy, numel: 0.5,  # noqa: ARG005
    "textbook": lambda energy, numel: 1.0 / (4.0 * numel),  # noqa: ARG005
}

_STYLE: dict[StyleNormalisation, Callable[[Tensor, int], Tensor | float]] = {
    "relative": lambda target, channels: 1.0 / target.square().sum(),  # noqa: ARG005
    "gatys": lambda target, channels: 1.0 / (4.0 * channels**2),  # noqa: ARG005
    "johnson": lambda target, channels: 1.0 / channels**2,  # noqa: ARG005
    "mse": lambda target, channels: 1.0 / (channels**2 * target.numel()),
}


def content_scale(target: Tensor, normalisation: ContentNormalisation) -> Tensor | float:
    """What the sum of squared differences to target [1, C, *space] is multiplied by.

    With F the activations, T the target, C channels and N positions:

    relative   sum (F - T)^2 / sum T^2               a share, comparable between layers, networks and domains
    mse        sum (F - T)^2 / (C N)                 mean squared error
    gatys      sum (F - T)^2 / 2                     Gatys et al. 2016, eq. 1
    textbook   sum (F - T)^2 / (4 C N)               the usual course exercise: 1 / (4 nH nW nC)

    Raises InputError where the target is 0 everywhere and the normalisation divides by it.
    """
    return content_scale_of(target.double().square().sum(), target.numel(), normalisation)


def content_scale_of(energy: Tensor, numel: int, normalisation: ContentNormalisation) -> Tensor | float:
    """`content_scale` from the target's sum of squares (a float64 scalar) and its number of elements."""
    if normalisation == "relative" and not energy > 0:
        raise InputError(
            "the content has no activation at all in a content layer (is it silent?)\n"
            "use content_weight 0, or make a texture"
        )
    return _CONTENT[normalisation](energy, numel)


def content_cost(activations: Tensor, target: Tensor, normalisation: ContentNormalisation = "relative") -> Tensor:
    """Scalar: scaled sum of squared differences of [1, C, *space] activations. See `content_scale`."""
    if activations.shape != target.shape:
        raise InputError(f"activations of shape {tuple(activations.shape)} against a target of {tuple(target.shape)}")
    return (activations - target).square().sum() * content_scale(target, normalisation)


def log_cost(statistic: Tensor, target: Tensor) -> Tensor:
    """Scalar: mean squared difference of two statistics whose entries are logarithms or of size one."""
    return (statistic - target).square().mean()


def style_cost(
    statistic: Tensor, target: Tensor, channels: int, normalisation: StyleNormalisation = "relative"
) -> Tensor:
    """Scalar: scaled sum of squared differences of two statistics of the same kind.

    With G and A the statistics (Gram matrices are per position: divided by N), C channels, || . || Frobenius:

    relative   || G - A ||^2 / || A ||^2             a share, comparable between layers, networks and domains
    gatys      || G - A ||^2 / (4 C^2)               Gatys et al. 2016, eq. 4: 1 / (4 N^2 C^2) on Gram matrices that are
                                                     sums; also the course exercise's 1 / (2 nH nW nC)^2
    johnson    || G - A ||^2 / C^2                   Johnson et al. 2016, eq. 3 and 4: Gram / (C N)
    mse        || G - A ||^2 / (C^2 n)               mean squared error of Gram / (C N), n its entries

    Raises InputError where the target is 0 everywhere and the normalisation divides by it.
    """
    if statistic.shape != target.shape:
        raise InputError(f"a statistic of shape {tuple(statistic.shape)} against a target of {tuple(target.shape)}")
    if normalisation == "relative" and not target.any():
        raise InputError("the style has no activation at all in this layer (a constant or silent signal?)")
    return (statistic - target).square().sum() * _STYLE[normalisation](target, channels)


def total_variation(x: Tensor, exponent: float = 2.0) -> Tensor:
    """Scalar: sum over axes of the mean of |neighbours' difference| ** exponent, x [1, C, *space].

    exponent 1 is the anisotropic total variation of Rudin, Osher & Fatemi 1992; 2 is the smoother usual one.
    """
    return nd.total_variation(x, exponent)


def out_of_range(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Scalar: mean squared excess beyond [low, high] per channel, in units of the range; 0 where nothing is outside.

    x: [1, C, *space]. low, high: [C]. It keeps a result from being clipped when it is stored.
    """
    return _excess(x, low, high).mean()


def _excess(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    shape = (1, -1) + (1,) * (x.dim() - 2)
    low, high = low.view(shape), high.view(shape)
    return ((x - x.clamp(low, high)) / (high - low)).square()


@runtime_checkable
class AdditiveCost(Protocol):
    """A cost of the signal that is a sum over its parts, so that it can be tiled and shared out.

    halo: positions around a part that its share depends on.
    """

    halo: int

    def __call__(self, x: Tensor) -> Tensor:
        """Of the whole signal."""

    def part(self, x: Tensor, have: Box, core: Box, size: Sequence[int]) -> Tensor:
        """The share of the positions `core` of a signal of `size`, from x, which holds the box `have`."""


@dataclass(frozen=True)
class TotalVariation:
    """`total_variation` as an additive cost: a difference belongs to the lower one of its two positions."""

    exponent: float = 2.0
    halo: int = 1

    def __call__(self, x: Tensor) -> Tensor:
        """See total_variation."""
        return nd.total_variation(x, self.exponent)

    def part(self, x: Tensor, have: Box, core: Box, size: Sequence[int]) -> Tensor:
        """See AdditiveCost.part."""
        total = x.sum() * 0.0  # a signal of one position still has a gradient
        for axis, n in enumerate(size):
            if n > 1:
                box = list(core)
                box[axis] = Span(core[axis].start, min(n, core[axis].stop + 1))
                differences = x[slices(tuple(box), have)].diff(dim=2 + axis)
                count = x.shape[1] * math.prod(size) // n * (n - 1)
                total = total + differences.abs().pow(self.exponent).sum() / count
        return total


@dataclass(frozen=True)
class OutOfRange:
    """`out_of_range` as an additive cost. low, high: [C]."""

    low: Tensor
    high: Tensor
    halo: int = 0

    def __call__(self, x: Tensor) -> Tensor:
        """See out_of_range."""
        return out_of_range(x, self.low, self.high)

    def part(self, x: Tensor, have: Box, core: Box, size: Sequence[int]) -> Tensor:
        """See AdditiveCost.part."""
        return _excess(x[slices(core, have)], self.low, self.high).sum() / (x.shape[1] * math.prod(size))
