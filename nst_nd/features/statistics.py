"""Moments of activations over positions, and the statistics read off them: Gram, covariance, correlation, marginals.

Moments are additive: those of a region are the sum of those of its parts, so masks, tiles and processes are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from nst_nd import nd
from nst_nd.errors import ConfigError, InputError
from nst_nd.kernels.marginal import marginal_moments
from nst_nd.kernels.moments import moments

StatisticName = Literal["gram", "covariance", "correlation", "mean_std", "levels", "log_std", "log_moments"]

# a channel whose variance is below this share of the largest counts as constant
CONSTANT = 1e-12
# added to variances and squared means before their logarithm is taken, in squared units of the activations
LOG_FLOOR = 1e-8


@dataclass(frozen=True)
class Moments:
    """Additive first and second moments of features over positions, in float64.

    count: sum of weights. sum: [C] of w (f - pivot), None where nobody asked for it. outer: [C, C] of
    w (f - pivot)(f - pivot)^T, or, marginal, its diagonal alone: [C], for what is read off each channel by itself.
    pivot: [C], fixed beforehand and the same in everything that is added; None means 0.
    It keeps variances exact: without one, float32 loses (mean / sd)^2 times 6e-8 of them.
    """

    count: Tensor
    sum: Tensor | None
    outer: Tensor
    pivot: Tensor | None = None

    @classmethod
    def of(
        cls,
        activations: Float[Tensor, "1 channel *space"],
        weight: Float[Tensor, "..."] | None = None,
        pivot: Float[Tensor, " channel"] | None = None,
        *,
        with_sum: bool = True,
        marginal: bool = False,
    ) -> Moments:
        """Moments of activations [1, C, *space], each position weighted by weight [1, 1, *space]."""
        flat = None if weight is None else weight.reshape(-1)
        sums = marginal_moments if marginal else moments
        count, total, outer = sums(activations[0].flatten(1), flat, pivot, with_sum=with_sum)
        return cls(count, total, outer, pivot)

    @classmethod
    def over(
        cls,
        activations: Tensor,
        weight: Tensor | None = None,
        pivot: Tensor | None = None,
        *,
        with_sum: bool = True,
        marginal: bool = False,
    ) -> Moments:
        """`of` for a part that was cut out of a larger array: brought into one piece first, channels innermost."""
        return cls.of(nd.channels_last(activations), weight, pivot, with_sum=with_sum, marginal=marginal)

    def totalled(self, total: Callable[[Tensor], Tensor]) -> Moments:
        """The moments of all processes together; total: sums a tensor over them."""
        count = total(self.count.double().reshape(1))[0]
        added = None if self.sum is None else total(self.sum)
        return replace(self, count=count, sum=added, outer=total(self.outer))

    def __add__(self, other: Moments) -> Moments:
        """Moments of two disjoint regions together; ValueError if they were taken about different pivots."""
        if self.pivot is not other.pivot and (
            self.pivot is None or other.pivot is None or not torch.equal(self.pivot, other.pivot)
        ):
            raise ValueError("moments about different pivots cannot be added")
        total = None if self.sum is None or other.sum is None else self.sum + other.sum
        return replace(self, count=self.count + other.count, sum=total, outer=self.outer + other.outer)

    @property
    def mean(self) -> Tensor:
        """[C], the pivot included."""
        mean = self._sum / self.count
        return mean if self.pivot is None else mean + self.pivot

    @property
    def squares(self) -> Tensor:
        """[C], the diagonal of outer."""
        return self.outer if self.outer.dim() == 1 else self.outer.diagonal()

    @property
    def variance(self) -> Tensor:
        """[C], with the mean removed."""
        return self.squares / self.count - (self._sum / self.count).square()

    @property
    def _sum(self) -> Tensor:
        if self.sum is None:
            raise ValueError("these moments were taken without their sum; pass with_sum=True")
        return self.sum


def gram_of(m: Moments) -> Float[Tensor, "channel channel"]:
    """[C, C], sum of a a^T over positions divided by their count (Gatys et al. 2016, eq. 3): uncentred."""
    outer = m.outer
    if m.pivot is not None:
        cross = torch.outer(m._sum, m.pivot)
        outer = outer + cross + cross.T + m.count * torch.outer(m.pivot, m.pivot)
    return outer / m.count


def covariance_of(m: Moments) -> Float[Tensor, "channel channel"]:
    """[C, C], with the mean removed."""
    mean = m._sum / m.count
    return m.outer / m.count - torch.outer(mean, mean)


def correlation_of(m: Moments) -> Float[Tensor, "channel channel"]:
    """[C, C], the covariance scaled to a unit diagonal; a constant channel has correlation 0 with every channel."""
    cov = covariance_of(m)
    variance = cov.diagonal()
    alive = variance > CONSTANT * variance.max()
    scale = torch.where(alive, torch.where(alive, variance, 1.0).rsqrt(), 0.0)
    return cov * torch.outer(scale, scale)


def mean_std_of(m: Moments) -> Float[Tensor, " both"]:
    """[2 C], the channels' means, then their standard deviations (Huang & Belongie 2017, arXiv 1703.06868)."""
    variance = m.variance
    alive = variance > CONSTANT * m.squares.max() / m.count
    return torch.cat([m.mean, torch.where(alive, torch.where(alive, variance, 1.0).sqrt(), 0.0)])


def log_std_of(m: Moments) -> Float[Tensor, " channel"]:
    """[C], natural logarithms of the channels' standard deviations, LOG_FLOOR below all."""
    return 0.5 * (m.variance.clamp_min(0.0) + LOG_FLOOR).log()


def log_moments_of(m: Moments) -> Float[Tensor, " three"]:
    """[3 C / 2] of channels f followed by their squares: log |mean|, log sd and skewness of each f.

    The first three moments of a marginal (McDermott & Simoncelli 2011), logarithms natural, LOG_FLOOR below all.
    """
    half, odd = divmod(len(m.outer), 2)
    if odd:
        raise ConfigError(f"log_moments takes channels and their squares, got {len(m.outer)}; use it on layer powers")
    pivot = m._sum.new_zeros(2 * half) if m.pivot is None else m.pivot.to(m._sum)
    p, p2 = pivot[:half], pivot[half:]
    # E a, E a^2 and E a (f^2 - p2) of a = f - p
    first, second = m._sum[:half] / m.count, m.outer.diagonal()[:half] / m.count
    cross = m.outer.diagonal(half)[:half] / m.count
    third = cross - 2.0 * p * second - (p.square() - p2) * first
    variance = (second - first.square()).clamp_min(0.0) + LOG_FLOOR
    skewness = (third - 3.0 * first * second + 2.0 * first.pow(3)) / variance.pow(1.5)
    return torch.cat([0.5 * ((first + p).square() + LOG_FLOOR).log(), 0.5 * variance.log(), skewness])


@dataclass(frozen=True)
class Statistic:
    """A statistic that can be read off additive moments.

    centred: it removes the mean, so it wants a pivot and the sum. logarithmic: its entries are ratios already, and are
    compared as they are; see style_cost. marginal: it looks at each channel by itself, so marginal moments are enough.
    """

    name: StatisticName
    read: Callable[[Moments], Tensor]
    centred: bool
    logarithmic: bool = False
    marginal: bool = False


STATISTICS: dict[StatisticName, Statistic] = {
    "gram": Statistic("gram", gram_of, centred=False),
    "covariance": Statistic("covariance", covariance_of, centred=True),
    "correlation": Statistic("correlation", correlation_of, centred=True),
    "mean_std": Statistic("mean_std", mean_std_of, centred=True, marginal=True),
    "levels": Statistic("levels", mean_std_of, centred=True, logarithmic=True, marginal=True),
    "log_std": Statistic("log_std", log_std_of, centred=True, logarithmic=True, marginal=True),
    "log_moments": Statistic("log_moments", log_moments_of, centred=True, logarithmic=True),
}


def gram(activations: Tensor, weight: Tensor | None = None) -> Tensor:
    """Gram matrix [C, C] in float64 of activations [1, C, *space] or [C, *space], 1 to 3 axes, per position.

    Where the first axis has length 1 and two or more follow, it is the batch. weight: [1, 1, *space] or [*space], 0 or
    more. Repeating a signal along a new axis leaves it as it is.
    Raises InputError for other shapes, values that are not finite, or weights that sum to 0.
    """
    most = 2 + max(nd.AXES)
    if (
        not 2 <= activations.dim() <= most
        or activations.numel() == 0
        or (len(activations) != 1 and activations.dim() == most)
    ):
        raise InputError(f"activations of shape {tuple(activations.shape)}; allowed: [C, *space] or [1, C, *space]")
    # [C, n] against [1, C, n]: a leading axis of one is the batch where at least two axes follow
    flat = activations[0] if activations.dim() > 2 and activations.shape[0] == 1 else activations
    if not torch.isfinite(flat).all():
        raise InputError("activations are not finite")
    if weight is not None and (
        weight.numel() != flat[0].numel() or not torch.isfinite(weight).all() or (weight < 0).any() or weight.sum() <= 0
    ):
        raise InputError("the weight must have one value of 0 or more for every position, not all of them 0")
    return gram_of(Moments.of(flat.unsqueeze(0), weight, with_sum=False))
