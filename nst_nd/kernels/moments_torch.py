"""Weighted first and second moments of features over positions, and their way back: the definition in plain torch.

It is what a kernel has to meet, and what runs where there is none; `kernels.moments` chooses.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

# partial sums of this many positions are float32, their total float64: the error stays that of one block
BLOCK = 1 << 16


def moments(
    features: Float[Tensor, "channel position"],
    weight: Float[Tensor, " position"] | None,
    pivot: Float[Tensor, " channel"] | None,
    *,
    with_sum: bool = True,
) -> tuple[Float[Tensor, ""], Float[Tensor, " channel"] | None, Float[Tensor, "channel channel"]]:
    """count, sum [C] and outer [C, C] of features [C, N] less a pivot, in float64.

    count = sum_n w_n, sum = sum_n w_n (f_n - p), outer = sum_n w_n (f_n - p)(f_n - p)^T.

    weight: [N], 0 or more; None means 1. pivot: [C]; None means 0. with_sum: False saves the pass for the sum.
    features of 16 bits are summed in float32.
    """
    channels, positions = features.shape
    total = features.new_zeros(channels, dtype=torch.float64) if with_sum else None
    outer = features.new_zeros(channels, channels, dtype=torch.float64)
    for start in range(0, positions, BLOCK):
        block = at_least_float32(features[:, start : start + BLOCK])
        if pivot is not None:
            block = block - pivot[:, None].to(block)
        weighted = block if weight is None else block * weight[start : start + BLOCK].to(block)
        outer += weighted @ block.T
        if total is not None:
            total += weighted.sum(1)
    count = torch.as_tensor(positions, dtype=torch.float64) if weight is None else weight.sum(dtype=torch.float64)
    return count.to(features.device), total, outer


def moments_vjp(
    features: Float[Tensor, "channel position"],
    weight: Float[Tensor, " position"] | None,
    pivot: Float[Tensor, " channel"] | None,
    at_sum: Float[Tensor, " channel"] | None,
    at_outer: Float[Tensor, "channel channel"],
    into: Float[Tensor, "channel position"] | None,
) -> Float[Tensor, "channel position"]:
    """Gradient at features [C, N] from those at sum [C] and outer [C, C]: w ((D + D^T)(f - p) + d), added to `into`.

    It has the dtype of the features; those of 16 bits are worked on in float32.
    """
    if features.dtype.itemsize < torch.float32.itemsize:
        made = moments_vjp(features.float(), weight, pivot, at_sum, at_outer, None)
        return made.to(features) if into is None else into.add_(made)
    both = (at_outer + at_outer.T).to(features)
    shift = None if at_sum is None else at_sum.to(features)
    if pivot is not None:
        back = -(both @ pivot.to(features))
        shift = back if shift is None else shift + back
    if weight is None and into is not None:
        into.addmm_(both, features)
        return into if shift is None else into.add_(shift[:, None])
    # a product in the layout of the features: channels innermost stay innermost
    grad = (features.T @ both).T if features.stride(0) == 1 else both @ features
    if shift is not None:
        grad.add_(shift[:, None])
    if weight is not None:
        grad.mul_(weight.to(grad))
    return grad if into is None else into.add_(grad)


def at_least_float32(x: Tensor) -> Tensor:
    """x, or x in float32 where it has 16 bits."""
    return x.float() if x.dtype.itemsize < torch.float32.itemsize else x
