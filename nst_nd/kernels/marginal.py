"""Weighted sums and sums of squares of each channel by itself, and their way back.

They are the diagonal of the moments: C N operations in place of C^2 N, so bytes decide on any device, and plain torch
is enough.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nst_nd.kernels.moments_torch import BLOCK, at_least_float32

# numbers that a cache holds
CACHED = 1 << 18


def marginal_moments(
    features: Float[Tensor, "channel position"],
    weight: Float[Tensor, " position"] | None,
    pivot: Float[Tensor, " channel"] | None,
    *,
    with_sum: bool = True,
) -> tuple[Float[Tensor, ""], Float[Tensor, " channel"] | None, Float[Tensor, " channel"]]:
    """count, sum [C] and squares [C] of features [C, N] less a pivot, in float64.

    squares = sum_n w_n (f_n - p)^2 is the diagonal of what `moments` calls outer. Arguments: as there.
    """
    channels, positions = features.shape
    total = features.new_zeros(channels, dtype=torch.float64) if with_sum else None
    squares = features.new_zeros(channels, dtype=torch.float64)
    # as many numbers at a time as a cache holds; on a GPU launches count instead
    length = BLOCK if features.is_cuda else max(1, min(BLOCK, CACHED // channels))
    for start in range(0, positions, length):
        block = at_least_float32(features[:, start : start + length])
        if pivot is not None:
            block = block - pivot[:, None].to(block)
        weighted = block if weight is None else block * weight[start : start + length].to(block)
        squares += (weighted * block).sum(1)
        if total is not None:
            total += weighted.sum(1)
    count = torch.as_tensor(positions, dtype=torch.float64) if weight is None else weight.sum(dtype=torch.float64)
    return count.to(features.device), total, squares


def marginal_vjp(
    features: Float[Tensor, "channel position"],
    weight: Float[Tensor, " position"] | None,
    pivot: Float[Tensor, " channel"] | None,
    at_sum: Float[Tensor, " channel"] | None,
    at_squares: Float[Tensor, " channel"],
    into: Float[Tensor, "channel position"] | None,
) -> Float[Tensor, "channel position"]:
    """Gradient at features [C, N] from those at sum and squares, both [C]: w (2 D (f - p) + d), added to `into`."""
    if features.dtype.itemsize < torch.float32.itemsize:
        made = marginal_vjp(features.float(), weight, pivot, at_sum, at_squares, None)
        return made.to(features) if into is None else into.add_(made)
    slope, shift = 2.0 * at_squares, torch.zeros_like(at_squares) if at_sum is None else at_sum
    if pivot is not None:
        shift = shift - slope * pivot
    slope, shift = slope.to(features)[:, None], shift.to(features)[:, None]
    if weight is None and into is not None:
        return into.addcmul_(features, slope).add_(shift)
    grad = torch.addcmul(shift, features, slope)
    if weight is not None:
        grad.mul_(weight.to(grad))
    return grad if into is None else into.add_(grad)
