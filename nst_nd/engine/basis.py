"""The vectors that L-BFGS makes its step of: the gradient, and a ring of pairs of steps and changes of the gradient.

Nothing but the products of all of them with each other is known to the algorithm (Chen, Wang & Zhou 2014, "Large-scale
L-BFGS using MapReduce"), so the vectors may be slabs of longer ones, and they are read twice a step, chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nst_nd.engine.flat import chunk_length, spans

# a pair (s, y) with less curvature than this share of |y|^2 is not used
LEAST_CURVATURE = 1e-10
# a mapped history is told to let go of its pages each time that this many bytes were touched
RELEASE_EVERY = 64 << 20


class Basis:
    """rows [2 m, n]: s and y of each of m pairs, one after the other; the oldest pair is overwritten.

    products: [2 m + 1, 2 m + 1], float64: of (g, s_0, y_0, s_1, ...) with each other, over all processes.
    Chunks are converted to float64. On a CPU a step takes twice as long as it would in float32 (measured, 20 million
    elements), but the length of a small sum of long vectors is then known, and TF32 cannot spoil it on a GPU.

    total, release: see LBFGS.
    """

    def __init__(
        self,
        rows: Tensor,
        device: torch.device,
        total: Callable[[Tensor], Tensor],
        release: Callable[[Tensor], object],
    ) -> None:
        self.rows, self.total, self.release = rows, total, release
        self.pairs = len(rows) // 2
        self.products = torch.zeros(len(rows) + 1, len(rows) + 1, dtype=torch.float64, device=device)
        self.reset()

    def reset(self) -> None:
        """Forget all pairs."""
        self.filled = 0  # pairs
        self.slot = 0  # of the ring: where the last step lies while its y is not known
        self.products.zero_()

    def in_use(self) -> Tensor:
        """The rows of all pairs and of the step that follows them, live."""
        return self.rows[: min(2 * self.filled + 1, len(self.rows))]

    def load(self, rows: Tensor, products: Tensor, filled: int, slot: int) -> None:
        """Copy what `in_use`, `products`, `filled` and `slot` were."""
        self.filled, self.slot = filled, slot
        self.products.copy_(products)
        for here, saved in zip(self.in_use(), rows, strict=True):
            for span in spans(len(here), RELEASE_EVERY // here.itemsize):
                here[span].copy_(saved[span])
                self.release(self.rows)

    def oldest_first(self) -> list[int]:
        """Slots of the pairs, for use between `renew` and `move`."""
        return [(self.slot + i) % self.filled for i in range(self.filled)]

    def curvature(self, pair: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of a pair: y s, y y, and whether it is of use."""
        s, y = 2 * pair + 1, 2 * pair + 2
        ys, yy = self.products[y, s], self.products[y, y]
        return ys, yy, ys > LEAST_CURVATURE * yy

    def renew(self, g: Tensor, before: Tensor | None) -> int | None:
        """Products with a new gradient g [n] and, where there was a step since the gradient before, with that pair.

        Returns the slot of that pair.
        """
        newest = None if before is None else self.slot
        filled = self.filled if before is None else min(self.filled + 1, self.pairs)
        size = 2 * filled + 1
        columns = [0] if newest is None else [0, 2 * newest + 1, 2 * newest + 2]
        sums = torch.zeros(len(columns), size, dtype=torch.float64, device=g.device)
        for _, block in self._blocks(g, filled, before):
            for i, column in zip(columns, sums, strict=True):
                column.addmv_(block, block[i])  # one product for all three is so thin that it takes longer (measured)
        for i, column in zip(columns, self.total(sums), strict=True):
            self.products[:size, i] = self.products[i, :size] = column
        if newest is not None:
            self.filled, self.slot = filled, (newest + 1) % self.pairs
        return newest

    def move(self, z: Tensor, g: Tensor, coefficients: Tensor) -> None:
        """Add a sum of the basis to z [n] and keep it as the next s, in place of the oldest, read just before."""
        s = self.rows[2 * self.slot]
        for span, block in self._blocks(g, self.filled, None):
            # rounded to what is kept, so that s is the step that was taken
            step = torch.mv(block.T, coefficients).to(s.dtype)
            s[span].copy_(step)
            z[span].add_(step)

    def _blocks(self, g: Tensor, filled: int, before: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
        """Chunk by chunk, the gradient and the filled pairs in float64; given `before`, y is made on the way."""
        length = max(1, min(chunk_length(g), len(g)))
        buffer = torch.empty(2 * filled + 1, length, dtype=torch.float64, device=g.device)
        touched = 0
        for span in spans(len(g), length):
            if before is not None:
                self.rows[2 * self.slot + 1, span].copy_(g[span] - before[span])
            block = buffer[:, : span.stop - span.start]
            block[0].copy_(g[span])
            block[1:].copy_(self.rows[: 2 * filled, span])
            yield span, block
            touched += block[1:].numel() * self.rows.itemsize
            if touched >= RELEASE_EVERY or span.stop == len(g):
                self.release(self.rows)
                touched = 0
