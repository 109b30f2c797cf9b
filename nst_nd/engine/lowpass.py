"""The filters of `Iterate` where every process has a slab of the signal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nst_nd import nd
from nst_nd.boxes import Span
from nst_nd.engine.field import Field
from nst_nd.engine.team import Split, Team
from nst_nd.features.power_law import PowerLaw
from nst_nd.features.shaping import Shaping


@dataclass(frozen=True)
class SlabLowPass:
    """nd.smooth and nd.smooth_adjoint of a whole signal of `size`, on this process's slab of it [1, C, *slab].

    Along the axis that is split, lines are completed piece by piece with as much of the neighbours' positions as the
    kernel sees, so that no more than such a piece is held beside the result. All processes call it together, with the
    same sigma (samples per axis) and number of channels. No graph is recorded.

    Raises ComputationError where another process has stopped.
    """

    team: Team
    split: Split
    size: tuple[int, ...]

    def __call__(self, x: Tensor, sigma: Sequence[float], *, out: Tensor | None = None) -> Tensor:
        """x smoothed, borders replicated at the ends of the whole signal; out: as in nd.smooth."""
        return self._with(nd.smooth, x, sigma, out)

    def adjoint(self, x: Tensor, sigma: Sequence[float], *, out: Tensor | None = None) -> Tensor:
        """The transpose of that of the whole signal; out: as in nd.smooth."""
        return self._with(nd.smooth_adjoint, x, sigma, out)

    @torch.no_grad()
    def _with(self, smooth: Callable[..., Tensor], x: Tensor, sigma: Sequence[float], out: Tensor | None) -> Tensor:
        split = self.split.axis
        across = [0.0 if axis == split else s for axis, s in enumerate(sigma)]
        along = [s if axis == split else 0.0 for axis, s in enumerate(sigma)]
        if out is None:
            out = smooth(x, across)
            out = x.clone() if out is x else out
        else:
            smooth(x, across, out=out)
        if sigma[split] > 0.0:
            for piece in nd.line_pieces(out.shape, 2 + split, nd.lines_at_once(self.size[split], out)):
                self._complete(smooth, out[piece], along)
        return out

    def _complete(self, smooth: Callable[..., Tensor], part: Tensor, sigma: Sequence[float]) -> None:
        """Smooth lines along the split axis, of which `part` [1, c, *box] has this process's positions, in place.

        Where the neighbours' positions end before the signal does, what the ends do falls outside of this part.
        """
        split = self.split.axis
        radius, length = nd.gaussian_radius(sigma[split]), self.size[split]
        reach = [Span(max(0, s.start - radius), min(length, s.stop + radius)) for s in self.split.spans]
        size = list(part.shape[2:])
        size[split] = length
        field = Field.empty(part.shape[1], size, part, "device", self.team, self.split, reach)
        own = self.split.owned(self.team.rank, size)
        field.write(own, part)
        field.exchange()
        smooth(field.data, sigma, out=field.data)
        part.copy_(field.read(own))


@dataclass(frozen=True)
class SlabShaping:
    """`shaping` of a whole signal of `size`, on this process's slab of it; all processes call it together."""

    shaping: Shaping | PowerLaw
    team: Team
    split: Split
    size: tuple[int, ...]

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """x filtered. Raises ComputationError where another process has stopped."""
        reach, length = self.shaping.reach, self.size[self.split.axis]
        spans = [Span(max(0, s.start - reach), min(length, s.stop + reach)) for s in self.split.spans]
        field = Field.empty(x.shape[1], self.size, x, "device", self.team, self.split, spans)
        own = self.split.owned(self.team.rank, self.size)
        field.write(own, x)
        field.exchange()
        field.data.copy_(self.shaping(field.data))
        return field.read(own, copy=True)
