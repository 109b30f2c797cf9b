"""By what gradients in float16 are multiplied on their way back, so that they neither overflow nor vanish.

The factor follows from each evaluation alone: the largest gradient that a tap can seed is bounded by what was seen on
the way forward. So it is the same however often a run was stopped and resumed, which a factor that is raised and
halved by trial (Micikevicius et al. 2018, arXiv 1710.03740, section 3.2) would not be.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nst_nd.engine.objective import At, Branch
from nst_nd.engine.team import Team
from nst_nd.features.precision import dtype_of, scale_of

# d J / d sum and d J / d outer, or its diagonal
Slopes = tuple[Tensor | None, Tensor]


class LossScale:
    """What one evaluation of a branch in float16 has seen so far."""

    def __init__(self) -> None:
        self.peaks: dict[str, Tensor] = {}

    @classmethod
    def of(cls, branch: Branch) -> LossScale | None:
        """None where gradients need none: float32 and bfloat16 reach far enough."""
        return cls() if dtype_of(branch.extractor) == torch.float16 else None

    def see(self, what: str, values: Tensor) -> None:
        """Activations of a tap, or their differences from what a content term wants, under that name."""
        peak = values.detach().abs().amax().float()
        self.peaks[what] = torch.maximum(self.peaks[what], peak) if what in self.peaks else peak

    def factor(self, branch: Branch, slopes: Mapping[At, Slopes], team: Team) -> Tensor:
        """A power of two, float32; the same at all processes."""
        bounds = [self._style(branch, at, *slope) for at, slope in slopes.items()]
        for term in branch.content:
            bounds.append(2.0 * term.weight * term.scale * self.peaks[term.name])
        largest = torch.stack([b.double() for b in bounds]).amax()
        return scale_of(team.total(largest.reshape(1))[0]).float()

    def _style(self, branch: Branch, at: At, at_sum: Tensor | None, at_outer: Tensor) -> Tensor:
        """Of (D + D^T)(f - p) + d, by the largest row of D."""
        reach = self.peaks[at[1]].double()
        pivot = branch.pivots.get(at)
        if pivot is not None:
            reach = reach + pivot.abs().amax()
        rows = 2.0 * at_outer.abs() if at_outer.dim() == 1 else (at_outer + at_outer.T).abs().sum(1)
        bound = rows.amax() * reach
        return bound if at_sum is None else bound + at_sum.abs().amax()
