"""Tensors as one row of elements in the order of memory, and that row in pieces."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# positions at a time: on a CPU what a cache holds, elsewhere enough that launches do not count
CHUNK = {"cpu": 1 << 15}
LARGE_CHUNK = 1 << 18


def spans(n: int, length: int) -> Iterator[slice]:
    """0 ... n in pieces of `length`, the last one shorter."""
    return (slice(start, min(start + length, n)) for start in range(0, n, length))


def chunk_length(x: Tensor) -> int:
    """Positions to work on at a time where x lives."""
    return CHUNK.get(x.device.type, LARGE_CHUNK)


def memory_order(x: Tensor) -> list[int]:
    """The axes that are longer than 1, the outermost in memory first."""
    strides = x.stride()
    return sorted((axis for axis in range(x.ndim) if x.shape[axis] > 1), key=lambda axis: (-strides[axis], axis))


def flat(x: Tensor) -> Tensor:
    """[n] in the order of memory: a view. ValueError where memory has gaps or is shared between elements."""
    order = memory_order(x)
    x = x.detach().permute(*(axis for axis in range(x.ndim) if axis not in order), *order)
    if not x.is_contiguous():
        raise ValueError(f"not dense in memory: {tuple(x.shape)} with strides {x.stride()}")
    return x.view(-1)


def flat_like(z: Tensor, grad: Tensor) -> Tensor:
    """[n]: the gradient in the memory order of z; a copy only where its own is another, or it has another dtype."""
    if grad.shape != z.shape:
        raise ValueError(f"a gradient {tuple(grad.shape)} of an iterate {tuple(z.shape)}")
    if memory_order(grad) == memory_order(z) and grad.dtype == z.dtype:
        try:
            return flat(grad)
        except ValueError:
            pass
    return flat(torch.empty_like(z, requires_grad=False).copy_(grad))
