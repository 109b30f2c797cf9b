"""Convolutions with kernels of three positions along every axis in fewer multiplications, on CPUs.

Winograd's minimal filtering F(4, 3) (Lavin & Gray 2016, arXiv 1509.09308, section 4): four neighbouring outputs along
an axis take six products of transformed inputs and kernels, not twelve; in two dimensions 36, not 144. The transforms
are products with small matrices, Kronecker powers of those of one axis, so that the same lines serve any number of
axes; the rest is a matrix product per transformed position. Numbers of other sizes are summed in another order than in
a direct convolution: float32 is off by some 3e-6 of the result, where oneDNN's direct convolution is off by 7e-7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, reduce

import torch
from jaxtyping import Float
from torch import Tensor

# outputs and inputs of a tile along each axis
OUT, IN = 4, 6
WIDTH = IN - OUT + 1
# F(4, 3) with the points 0, 1, -1, 2, -2 and infinity: of an input, of a kernel, and the way out
INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
# numbers of a strip of tiles, with all that is made of it: others are no faster (measured, 4 to 64 Mi)
STRIP = 8 * 2**20
# positions below which a product per point is too thin
LEAST_POSITIONS = 1024
# what moving a number costs in multiplications, all passes of a transform together (measured: 64 to 512 channels, 2
# axes), and how much less it has to be than a direct convolution
MOVED, LESS = 200.0, 0.95


def pays(kernel: Sequence[int], channels: int, out: int) -> bool:
    """Whether it is faster than a direct convolution with these sizes, on a CPU: a count of what both have to do."""
    if any(k != WIDTH for k in kernel):
        return False
    direct, spread, points = (math.prod(n for _ in kernel) for n in (WIDTH, IN / OUT, IN))
    products = spread * channels * out + points * (spread * channels + out)
    return products + MOVED * spread * (channels + out) < LESS * direct * channels * out


def filters_of(weight: Float[Tensor, "out channel *kernel"]) -> Float[Tensor, "point channel out"]:
    """Kernels [C_out, C_in, 3, ...] transformed: [6^D, C_in, C_out], a matrix for every point."""
    axes = weight.dim() - 2
    flat = weight.permute(*range(2, weight.dim()), 1, 0).reshape(WIDTH**axes, -1)
    made = _power(KERNEL, axes).to(weight) @ flat
    return made.view(IN**axes, weight.shape[1], weight.shape[0])


def numbers_of(weight: Sequence[int]) -> int:
    """Of transformed kernels, from the shape of a weight [C_out, C_in, 3, ...]."""
    out, channels, *kernel = weight
    return math.prod(IN for _ in kernel) * channels * out


def working_numbers(channels: int, out: int, space: Sequence[int]) -> int:
    """What `correlate` holds at a time for an output of `space`, the output itself not counted."""
    tiles = [-(-n // OUT) for n in space]
    padded = channels * math.prod(OUT * t + IN - OUT for t in tiles)
    a_row = _per_tile(channels, out, len(space)) * math.prod(tiles[1:])
    beyond = out * math.prod(OUT * t for t in tiles) if any(n % OUT for n in space) else 0
    return padded + max(a_row * _rows(a_row, tiles[0]), beyond)


def correlate(
    x: Float[Tensor, "1 channel *space"],
    filters: Float[Tensor, "point channel out"],
    bias: Float[Tensor, " out"] | None,
    amount: Sequence[int],
    *,
    rectify: bool,
) -> Float[Tensor, "1 out *others"]:
    """Cross-correlation of [1, C_in, *space], channels innermost, with `amount` zeros around; then bias and ReLU.

    filters: see `filters_of`. The result is smaller by two less twice the amount along each axis.
    """
    axes, channels, out = x.dim() - 2, x.shape[1], filters.shape[2]
    space = [n + 2 * a - (WIDTH - 1) for n, a in zip(x.shape[2:], amount, strict=True)]
    tiles = [-(-n // OUT) for n in space]
    padded = _padded(x, amount, tiles)
    steps = padded.stride()[:-1]
    found = x.new_empty([OUT * t for t in tiles] + [out])
    a_row = _per_tile(channels, out, axes) * math.prod(tiles[1:])
    rows = _rows(a_row, tiles[0])
    inward, outward = _power(INPUT, axes).to(x), _power(OUTPUT, axes).to(x)
    for first in range(0, tiles[0], rows):
        here = [min(rows, tiles[0] - first), *tiles[1:]]
        seen = padded.as_strided(
            (*(IN,) * axes, *here, channels), (*steps, *(OUT * s for s in steps), 1), first * OUT * steps[0]
        )
        points = inward @ seen.reshape(IN**axes, -1)
        products = torch.bmm(points.view(IN**axes, -1, channels), filters)
        made = (outward @ products.view(IN**axes, -1)).view(-1, out)
        if bias is not None:
            made += bias
        if rectify:
            made.relu_()
        _put(found[first * OUT : (first + here[0]) * OUT], made, here)
        del points, products, made  # before the next strip is made
    whole = found[tuple(slice(0, n) for n in space)].movedim(-1, 0)[None]
    return whole if tuple(space) == found.shape[:-1] else whole.clone(memory_format=torch.preserve_format)


def _padded(x: Tensor, amount: Sequence[int], tiles: Sequence[int]) -> Tensor:
    """[*space, C], zeros around, as long as the tiles reach."""
    sizes = [OUT * t + IN - OUT for t in tiles]
    inner = tuple(slice(a, a + n) for a, n in zip(amount, x.shape[2:], strict=True))
    padded = x.new_zeros([*sizes, x.shape[1]])
    padded[inner] = x[0].movedim(0, -1)
    return padded


def _put(into: Tensor, made: Tensor, tiles: Sequence[int]) -> None:
    """Outputs by place in a tile, then by tile, into [*space, C_out]."""
    axes = len(tiles)
    values = made.view(*(OUT,) * axes, *tiles, -1)
    cells = into.view(*(n for t in tiles for n in (t, OUT)), -1)
    cells.copy_(values.permute(*(place for axis in range(axes) for place in (axes + axis, axis)), -1))


def _per_tile(channels: int, out: int, axes: int) -> int:
    points, places = int(IN**axes), int(OUT**axes)
    return 2 * points * channels + (points + places) * out


def _rows(a_row: int, rows: int) -> int:
    """Rows of tiles at a time: all in strips of the same size, but for the last."""
    strips = -(-rows * a_row // STRIP)
    return -(-rows // min(strips, rows))


@cache
def _power(matrix: tuple[tuple[float, ...], ...], axes: int) -> Tensor:
    """The Kronecker power of a matrix, float64."""
    return reduce(torch.kron, [torch.tensor(matrix, dtype=torch.float64)] * axes)
