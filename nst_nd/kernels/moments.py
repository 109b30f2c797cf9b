"""Weighted first and second moments of features over positions, and their way back, by what suits the device.

`moments` and `moments_vjp` choose by device and dtype alone; `implementation` says which it is.
"""

from __future__ import annotations

import functools
from importlib.util import find_spec
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from nst_nd.kernels import moments_torch

Implementation = Literal["torch", "triton"]
# of a tile of tensor cores in bfloat16: older GPUs have no kernel
LEAST_CAPABILITY = (8, 0)


def implementation(device: torch.device, dtype: torch.dtype = torch.float32) -> Implementation:
    """What computes moments there: triton on a GPU of compute capability 8.0 or more, for 16 and 32 bits; else torch.

    Triton comes with torch on Linux; where it cannot be imported, torch it is, and `nst-nd doctor` says so.
    """
    short = dtype in (torch.float32, torch.bfloat16, torch.float16)
    return "triton" if short and device.type == "cuda" and _capable(device.index or 0) else "torch"


@functools.cache
def _capable(index: int) -> bool:
    # HIP devices call themselves cuda as well; nobody has seen the kernels there
    ours = torch.version.hip is None and find_spec("triton") is not None
    return ours and torch.cuda.get_device_capability(index) >= LEAST_CAPABILITY


def moments(
    features: Float[Tensor, "*batch channel position"],
    weight: Float[Tensor, "*items position"] | None,
    pivot: Float[Tensor, " channel"] | None,
    *,
    with_sum: bool = True,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch channel"] | None, Float[Tensor, "*batch channel channel"]]:
    """count, sum and outer of features [C, N] less a pivot, in float64; of [B, C, N] item by item.

    See `moments_torch.moments`, the definition. weight: [N], or [B, N] for a batch.
    """
    if implementation(features.device, features.dtype) == "triton":
        # only here: importing triton takes a second, and it is there on Linux alone
        from nst_nd.kernels import moments_triton

        return moments_triton.moments(features, weight, pivot, with_sum=with_sum)
    if features.dim() == 2:
        return moments_torch.moments(features, weight, pivot, with_sum=with_sum)
    items = [moments_torch.moments(f, w, pivot, with_sum=with_sum) for f, w in _items(features, weight)]
    count, total, outer = zip(*items, strict=True)
    return torch.stack(count), torch.stack(total) if with_sum else None, torch.stack(outer)


def moments_vjp(
    features: Float[Tensor, "*batch channel position"],
    weight: Float[Tensor, "*items position"] | None,
    pivot: Float[Tensor, " channel"] | None,
    at_sum: Float[Tensor, " channel"] | None,
    at_outer: Float[Tensor, "channel channel"],
    into: Float[Tensor, "*batch channel position"] | None,
) -> Float[Tensor, "*batch channel position"]:
    """Gradient at features from those at sum [C] and outer [C, C], the same for all items, added to `into`.

    See `moments_torch.moments_vjp`, the definition.
    """
    if implementation(features.device, features.dtype) == "triton":
        from nst_nd.kernels import moments_triton

        return moments_triton.moments_vjp(features, weight, pivot, at_sum, at_outer, into)
    if features.dim() == 2:
        return moments_torch.moments_vjp(features, weight, pivot, at_sum, at_outer, into)
    out = torch.zeros_like(features) if into is None else into
    for item, (f, w) in zip(out, _items(features, weight), strict=True):
        moments_torch.moments_vjp(f, w, pivot, at_sum, at_outer, item)
    return out


def _items(features: Tensor, weight: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
    """The items of a batch, each with its own weight or the one of all."""
    return [(f, weight if weight is None or weight.dim() == 1 else weight[b]) for b, f in enumerate(features)]
