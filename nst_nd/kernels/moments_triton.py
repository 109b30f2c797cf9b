"""The moments kernel on a GPU (Triton): what `moments_torch` defines, in one read of the features per pass.

Forward, a program sums one tile of the lower triangle over one span of positions, in float32, and writes it down; the
spans are added in float64 afterwards, in their order: no atomics, the same bits every time. Backward, a program makes
one tile of the gradient and adds it to what is there in one read and one write. Any strides do: where channels are
innermost nothing is copied.

float16 and bfloat16 go to the tensor cores as they are. So does float32, as three TF32 products of high and low parts
(Markidis et al. 2018, arXiv 1803.04014), which keeps its accuracy; plain TF32 keeps ten bits and has to be asked for.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

Precision = Literal["float32", "tf32", "ieee"]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# positions whose sum is float32, at most; what the plain definition has as well
LONGEST_SPAN = 1 << 16
# programs that keep a large GPU busy, four for each of 132 multiprocessors; fixed, so that sums are the same anywhere
PROGRAMS = 528
# partial sums are written and read once (8 C^2 bytes a span): a quarter of the features' bytes, at most
POSITIONS_PER_CHANNEL = 8
# of positions that a program takes at a time
ROW_BYTES, VJP_ROW_BYTES = 64, 128
_TRITON_NAMES = {"float32": "tf32x3", "tf32": "tf32", "ieee": "ieee"}


@triton.jit
def moments_kernel(
    features,
    weight,
    pivot,
    outer,
    total,
    channels,
    positions,
    span,
    stride_b,
    stride_c,
    stride_n,
    weight_b,
    HAS_WEIGHT: tl.constexpr,
    HAS_PIVOT: tl.constexpr,
    WITH_SUM: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """outer[span, item] and total[span, item] over one span of positions; tiles above the diagonal are left out."""
    tiles = tl.cdiv(channels, BLOCK_C)
    row = tl.program_id(0) // tiles
    column = tl.program_id(0) % tiles
    part = tl.program_id(1)
    item = tl.program_id(2)
    if column > row:
        return
    i = row * BLOCK_C + tl.arange(0, BLOCK_C)
    j = column * BLOCK_C + tl.arange(0, BLOCK_C)
    base = features + item.to(tl.int64) * stride_b
    at_i = base + i[:, None].to(tl.int64) * stride_c
    at_j = base + j[None, :].to(tl.int64) * stride_c
    if HAS_PIVOT:
        pivot_i = tl.load(pivot + i, mask=i < channels, other=0.0).to(tl.float32)
        pivot_j = tl.load(pivot + j, mask=j < channels, other=0.0).to(tl.float32)
    sums = tl.zeros((BLOCK_C, BLOCK_C), tl.float32)
    sum_i = tl.zeros((BLOCK_C,), tl.float32)
    for start in range(0, span, BLOCK_N):
        n = part.to(tl.int64) * span + start + tl.arange(0, BLOCK_N)
        inside = n < positions
        seen_i = (i < channels)[:, None] & inside[None, :]
        seen_j = (j < channels)[None, :] & inside[:, None]
        a = tl.load(at_i + n[None, :] * stride_n, mask=seen_i, other=0.0)
        b = tl.load(at_j + n[:, None] * stride_n, mask=seen_j, other=0.0)
        left = a.to(tl.float32)
        if HAS_PIVOT:
            left = tl.where(seen_i, left - pivot_i[:, None], 0.0)
            b = tl.where(seen_j, b.to(tl.float32) - pivot_j[None, :], 0.0).to(features.dtype.element_ty)
        if HAS_WEIGHT:
            w = tl.load(weight + item.to(tl.int64) * weight_b + n, mask=inside, other=0.0).to(tl.float32)
            left *= w[None, :]
        if WITH_SUM:
            sum_i += tl.sum(left, axis=1)
        a = left.to(features.dtype.element_ty)
        if UPCAST:
            a, b = a.to(tl.float32), b.to(tl.float32)
        sums = tl.dot(a, b, sums, input_precision=PRECISION)
    here = (part * tl.num_programs(2) + item).to(tl.int64)
    square = (i < channels)[:, None] & (j < channels)[None, :]
    tl.store(outer + here * channels * channels + i[:, None] * channels + j[None, :], sums, mask=square)
    if WITH_SUM and row == column:
        tl.store(total + here * channels + i, sum_i, mask=i < channels)


@triton.jit
def vjp_kernel(
    features,
    weight,
    both,
    shift,
    scale,
    out,
    channels,
    positions,
    stride_b,
    stride_c,
    stride_n,
    weight_b,
    out_b,
    out_c,
    out_n,
    HAS_WEIGHT: tl.constexpr,
    HAS_SHIFT: tl.constexpr,
    ADD: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """out = weight (scale both features + shift), added to out where ADD is set; one tile of it."""
    rows = tl.cdiv(channels, BLOCK_C)
    # neighbours share positions, so that what one has read is still in the cache for the next
    i = (tl.program_id(0) % rows) * BLOCK_C + tl.arange(0, BLOCK_C)
    n = (tl.program_id(0) // rows).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    item = tl.program_id(1).to(tl.int64)
    inside = n < positions
    made = tl.zeros((BLOCK_C, BLOCK_N), tl.float32)
    for start in range(0, channels, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        square = (i < channels)[:, None] & (k < channels)[None, :]
        a = tl.load(both + i[:, None] * channels + k[None, :], mask=square, other=0.0).to(features.dtype.element_ty)
        at = features + item * stride_b + k[:, None].to(tl.int64) * stride_c + n[None, :] * stride_n
        f = tl.load(at, mask=(k < channels)[:, None] & inside[None, :], other=0.0)
        if UPCAST:
            a, f = a.to(tl.float32), f.to(tl.float32)
        made = tl.dot(a, f, made, input_precision=PRECISION)
    made = made * tl.load(scale)
    if HAS_SHIFT:
        made += tl.load(shift + i, mask=i < channels, other=0.0)[:, None]
    if HAS_WEIGHT:
        made *= tl.load(weight + item * weight_b + n, mask=inside, other=0.0).to(tl.float32)[None, :]
    to = out + item * out_b + i[:, None].to(tl.int64) * out_c + n[None, :] * out_n
    seen = (i < channels)[:, None] & inside[None, :]
    if ADD:
        made += tl.load(to, mask=seen, other=0.0).to(tl.float32)
    tl.store(to, made.to(out.dtype.element_ty), mask=seen)


def _choices(dtype: torch.dtype, precision: Precision) -> dict[str, str | bool]:
    """How products are made. Triton's interpreter takes bfloat16 for integers there; in float32 they are the same."""
    return {
        "PRECISION": _TRITON_NAMES[precision],
        "UPCAST": triton.knobs.runtime.interpret and dtype == torch.bfloat16,
    }


def tile(channels: int, dtype: torch.dtype, row_bytes: int) -> dict[str, int]:
    """The tile of a program and its warps; more positions at a time would spill registers on sm_80."""
    # a matrix product takes 16 at least
    block_c = min(64, max(16, triton.next_power_of_2(channels)))
    return {"BLOCK_C": block_c, "BLOCK_N": row_bytes // dtype.itemsize, "num_warps": 8 if block_c == 64 else 4}


def spans(channels: int, positions: int, items: int) -> tuple[int, int]:
    """Into how many parts the positions are split, and the positions of each, a multiple of every BLOCK_N."""
    tiles = -(-channels // tile(channels, torch.float32, ROW_BYTES)["BLOCK_C"])
    wanted = -(-PROGRAMS // (items * tiles * (tiles + 1) // 2))
    shortest = max(64, POSITIONS_PER_CHANNEL * channels)
    length = min(LONGEST_SPAN, -(-max(shortest, -(-positions // wanted)) // 64) * 64)
    return max(1, -(-positions // length)), length


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Kernels start on the current device, which need not be that of the data; the interpreter has the CPU."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def moments(
    features: Float[Tensor, "*batch channel position"],
    weight: Float[Tensor, "*items position"] | None,
    pivot: Float[Tensor, " channel"] | None,
    *,
    with_sum: bool = True,
    precision: Precision = "float32",
) -> tuple[Tensor, Tensor | None, Tensor]:
    """See `kernels.moments.moments`. precision: of products of float32."""
    items = features if features.dim() == 3 else features[None]
    weights = None if weight is None else weight.reshape(-1, weight.shape[-1]).contiguous()
    count, channels, positions = items.shape
    parts, span = spans(channels, positions, count)
    outer = items.new_empty((parts, count, channels, channels), dtype=torch.float32)
    total = items.new_empty((parts, count, channels), dtype=torch.float32) if with_sum else None
    sizes = tile(channels, items.dtype, ROW_BYTES)
    tiles = triton.cdiv(channels, sizes["BLOCK_C"])
    with _on(items.device):
        moments_kernel[(tiles * tiles, parts, count)](
            items,
            weights,
            None if pivot is None else pivot.contiguous(),
            outer,
            total,
            channels,
            positions,
            span,
            *items.stride(),
            0 if weights is None or len(weights) == 1 else positions,
            HAS_WEIGHT=weights is not None,
            HAS_PIVOT=pivot is not None,
            WITH_SUM=with_sum,
            **_choices(items.dtype, precision),
            **sizes,
        )
    lower = outer.sum(0, dtype=torch.float64).tril()
    whole = lower + lower.tril(-1).mT
    added = None if total is None else total.sum(0, dtype=torch.float64)
    if weights is None:
        number = torch.full((count,), positions, dtype=torch.float64, device=items.device)
    else:
        number = weights.sum(-1, dtype=torch.float64).expand(count)
    shape = features.shape[:-2]
    return (
        number.reshape(shape),
        None if added is None else added.reshape(*shape, channels),
        whole.reshape(*shape, channels, channels),
    )


def moments_vjp(
    features: Float[Tensor, "*batch channel position"],
    weight: Float[Tensor, "*items position"] | None,
    pivot: Float[Tensor, " channel"] | None,
    at_sum: Float[Tensor, " channel"] | None,
    at_outer: Float[Tensor, "channel channel"],
    into: Float[Tensor, "*batch channel position"] | None,
    *,
    precision: Precision = "float32",
) -> Float[Tensor, "*batch channel position"]:
    """See `kernels.moments.moments_vjp`."""
    items = features if features.dim() == 3 else features[None]
    weights = None if weight is None else weight.reshape(-1, weight.shape[-1]).contiguous()
    count, channels, positions = items.shape
    both = (at_outer + at_outer.mT).double()
    shift = None if at_sum is None else at_sum.double()
    if pivot is not None:
        back = both @ pivot.double()
        shift = -back if shift is None else shift - back
    # float16 has numbers between 6e-5 and 65504: the matrix is brought near 1, by a power of 2, and the product back
    scale = torch.exp2(torch.frexp(both.abs().max().clamp_min(1e-300))[1].double())
    out = torch.empty_like(features) if into is None else into
    if positions == 0:
        return out
    into_items = out if out.dim() == 3 else out[None]
    sizes = tile(channels, items.dtype, VJP_ROW_BYTES)
    rows, columns = triton.cdiv(channels, sizes["BLOCK_C"]), triton.cdiv(positions, sizes["BLOCK_N"])
    with _on(items.device):
        vjp_kernel[(rows * columns, count)](
            items,
            weights,
            (both / scale).float(),
            None if shift is None else shift.float(),
            scale.float().reshape(1),
            into_items,
            channels,
            positions,
            *items.stride(),
            0 if weights is None or len(weights) == 1 else positions,
            *into_items.stride(),
            HAS_WEIGHT=weights is not None,
            HAS_SHIFT=shift is not None,
            ADD=into is not None,
            BLOCK_K=min(32, sizes["BLOCK_C"]),
            **_choices(items.dtype, precision),
            **sizes,
        )
    return out
