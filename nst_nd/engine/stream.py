"""Value and gradient of an objective, in the memory that a plan allows.

Each branch sweeps its network over the signal (see sweep). Forward collects moments and content differences at the
taps; both are sums over positions, so tiles and processes add up. The costs are functions of those small matrices:
their autograd is a matter of microseconds and says how J depends on every moment. Backward adds at each tap what
moments and content say, and carries it down to the signal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nst_nd import nd
from nst_nd.boxes import Box, slices, tiles, whole
from nst_nd.engine.field import Field
from nst_nd.engine.loss_scale import LossScale
from nst_nd.engine.objective import At, Branch, ContentTerm, Objective, SignalTerm, StyleTerm
from nst_nd.engine.sweep import StagePlan, Sweep
from nst_nd.engine.team import ALONE, Split, Team
from nst_nd.errors import ConfigError
from nst_nd.features.statistics import Moments
from nst_nd.kernels.marginal import marginal_vjp
from nst_nd.kernels.moments import moments_vjp


@dataclass(frozen=True)
class Tiling:
    """How an objective is evaluated: a plan per branch and stage, and tiles of the terms on the signal itself.

    signal: positions per tile and axis; None: everything at once.
    """

    branches: tuple[tuple[StagePlan, ...], ...]
    signal: tuple[int, ...] | None = None


def value_and_grad(
    objective: Objective, x: Float[Tensor, "1 channel *space"], tiling: Tiling | None = None
) -> tuple[Float[Tensor, " term"], Float[Tensor, "1 channel *space"]]:
    """Weighted terms [len(objective.names)] in float64, and dJ/dx in the shape of x [1, nc, *space].

    J is the sum of the terms. Both stay on the device of x; nothing is synchronised. tiling: see Engine.
    """
    return Engine(objective, x.shape[2:], tiling).value_and_grad(x)


class Engine:
    """An objective ready to be evaluated many times on signals of one size, with buffers that are used again.

    tiling: everything at once by default. team, split: the processes that share the signal; x and its gradient are
    then this process's slab, and so are the targets and masks of the objective, as Fields.
    Raises ValueError for an objective without terms, ConfigError for one that cannot be cut as it is asked to.
    """

    def __init__(
        self,
        objective: Objective,
        size: Sequence[int],
        tiling: Tiling | None = None,
        team: Team = ALONE,
        split: Split | None = None,
    ) -> None:
        if not objective.branches and not objective.signal:
            raise ValueError("the objective has no terms")
        self.objective, self.size = objective, tuple(size)
        self.team, self.split = team, split
        plans = [None] * len(objective.branches) if tiling is None else tiling.branches
        self.sweeps = [
            Sweep(branch.extractor, branch.taps, size, plan, team, split)
            for branch, plan in zip(objective.branches, plans, strict=True)
        ]
        self.signal_tiles = _signal_tiles(objective.signal, self.size, tiling, team, split)
        reaches = [sweep.input_reach() for sweep in self.sweeps]
        if split is not None and objective.signal:
            halo = max(term.halo for term in objective.signal)
            n = self.size[split.axis]
            reaches.append(tuple(type(s)(max(0, s.start - halo), min(n, s.stop + halo)) for s in split.spans))
        self.reach = tuple(
            type(axis[0])(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*reaches, strict=True)
        )

    @property
    def names(self) -> tuple[str, ...]:
        """See Objective.names."""
        return self.objective.names

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See the function of this name; of all processes together."""
        field, grad = self._with_margin(x), self._gradient(x)
        terms: list[Tensor] = []
        for branch, sweep in zip(self.objective.branches, self.sweeps, strict=True):
            terms += _branch(branch, sweep, field, grad, self.team)
        for term in self.objective.signal:
            terms.append(self._signal(term, field, grad))
        grad.fold()
        return torch.stack(terms), grad.read(self._own(), copy=False)

    def _own(self) -> Box:
        return whole(self.size) if self.split is None else self.split.owned(self.team.rank, self.size)

    def _with_margin(self, x: Tensor) -> Field:
        if self.split is None:
            return Field.of(x)
        field = Field.empty(x.shape[1], self.size, x, "device", self.team, self.split, self.reach)
        field.write(self._own(), x)
        field.exchange()
        return field

    def _gradient(self, x: Tensor) -> Field:
        field = Field.empty(x.shape[1], self.size, x, "device", self.team, self.split, self.reach)
        field.zero()
        return field

    def _signal(self, term: SignalTerm, field: Field, grad: Field) -> Tensor:
        """The value of a term on the signal, whose gradient is added."""
        value = torch.zeros((), dtype=torch.float64, device=field.data.device)
        for core in self.signal_tiles:
            have = whole(self.size) if core is None else _grown(core, term.halo, self.size)
            with torch.enable_grad():
                leaf = field.read(have).detach().requires_grad_()
                here = term.weight * (term.cost(leaf) if core is None else term.part(leaf, have, core, self.size))
            grad.add(have, torch.autograd.grad(here, leaf)[0])
            value += here.detach()
        return self.team.total(value)


def _signal_tiles(
    terms: Sequence[SignalTerm], size: tuple[int, ...], tiling: Tiling | None, team: Team, split: Split | None
) -> list[Box | None]:
    length = None if tiling is None else tiling.signal
    if length is None and split is None:
        return [None]
    fixed = [term.name for term in terms if not term.additive]
    if fixed:
        raise ConfigError(
            f"{', '.join(fixed)}: a cost without parts needs the whole signal at once; it cannot be tiled or shared out"
        )
    own = whole(size) if split is None else split.owned(team.rank, size)
    return list(tiles(own, length or size, (1,) * len(size)))


def _grown(core: Box, halo: int, size: Sequence[int]) -> Box:
    return tuple(type(s)(max(0, s.start - halo), min(n, s.stop + halo)) for s, n in zip(core, size, strict=True))


def _branch(branch: Branch, sweep: Sweep, x: Field, grad: Field, team: Team) -> list[Tensor]:
    values: dict[str, Tensor] = {}
    moments: dict[At, Moments] = {}
    peaks = LossScale.of(branch)

    def read(tap: str, box: Box, activations: Tensor) -> None:
        _read_tap(branch, tap, box, activations, values, moments, peaks)

    sweep.forward(x, read)
    moments = _totalled(branch, values, moments, team)
    slopes = {at: _style(branch.style_at(at[1])[at], m, values) for at, m in moments.items()}
    factor = None if peaks is None else peaks.factor(branch, slopes, team)
    if factor is not None:
        slopes = {at: (None if d is None else d * factor, outer * factor) for at, (d, outer) in slopes.items()}

    def seed(tap: str, box: Box, activations: Tensor, here: Tensor | None) -> Tensor:
        for at in branch.style_at(tap):
            here = _style_vjp(branch, at, box, activations, slopes[at], here)
        for term in branch.content:
            if term.tap == tap:
                here = _content_vjp(term, box, activations, here, factor)
        assert here is not None
        return here

    sweep.backward(seed, grad, factor)
    return [values[name] for name in branch.names]


def _read_tap(
    branch: Branch,
    tap: str,
    box: Box,
    activations: Tensor,
    values: dict[str, Tensor],
    moments: dict[At, Moments],
    peaks: LossScale | None,
) -> None:
    activations = nd.channels_last(activations)
    if peaks is not None:
        peaks.see(tap, activations)
    for term in branch.content:
        if term.tap == tap:
            target = _part(term.target, box, term.name)
            if activations.shape != target.shape:
                raise ValueError(f"{term.name}: {tuple(activations.shape)} against a target {tuple(target.shape)}")
            difference = _difference(activations, target)
            if peaks is not None:
                peaks.see(term.name, difference)
            here = difference.square().sum(dtype=torch.float64) * term.scale * term.weight
            values[term.name] = values[term.name] + here if term.name in values else here
    for at, terms in branch.style_at(tap).items():
        centred = any(term.statistic.centred for term in terms)
        marginal = all(term.statistic.marginal for term in terms)
        mask = None if at not in branch.masks else _part(branch.masks[at], box, tap)
        here_too = Moments.of(activations, mask, branch.pivots.get(at), with_sum=centred, marginal=marginal)
        moments[at] = moments[at] + here_too if at in moments else here_too


def _part(array: Tensor | Field, box: Box, what: str) -> Tensor:
    """A box of a target or mask; all of it as it is."""
    if isinstance(array, Field):
        return array.read(box)
    if any(s.stop > n for s, n in zip(box, array.shape[2:], strict=True)):
        raise ValueError(f"{what}: positions {box} of a target {tuple(array.shape)}")
    view = array[slices(box, whole(array.shape[2:]))]
    return array if view.shape == array.shape else view


def _totalled(branch: Branch, values: dict[str, Tensor], moments: dict[At, Moments], team: Team) -> dict[At, Moments]:
    """Content terms and moments of all processes together, in one message."""
    if team.count == 1:
        return moments
    parts: list[Tensor] = [values[term.name].reshape(1) for term in branch.content]
    for m in moments.values():
        parts += [m.count.reshape(1), *([] if m.sum is None else [m.sum]), m.outer.reshape(-1)]
    joined = team.total(torch.cat([p.double() for p in parts]))
    found = list(torch.split(joined, [p.numel() for p in parts]))
    for term in branch.content:
        values[term.name] = found.pop(0)[0]
    summed = {}
    for at, m in moments.items():
        count = found.pop(0)[0]
        total = None if m.sum is None else found.pop(0)
        summed[at] = Moments(count, total, found.pop(0).view_as(m.outer), m.pivot)
    return summed


def _style(terms: Sequence[StyleTerm], m: Moments, values: dict[str, Tensor]) -> tuple[Tensor | None, Tensor]:
    """The style terms on these moments into `values`; returns d J / d sum and d J / d outer (or its diagonal)."""
    with torch.enable_grad():
        leaves = [m.outer.requires_grad_()] if m.sum is None else [m.outer.requires_grad_(), m.sum.requires_grad_()]
        costs = {term.name: term.weight * term.cost(m) for term in terms}
        slopes = torch.autograd.grad(torch.stack(list(costs.values())).sum(), leaves, materialize_grads=True)
    values |= {name: cost.detach() for name, cost in costs.items()}
    return (None if m.sum is None else slopes[1]), slopes[0]


def _style_vjp(
    branch: Branch, at: At, box: Box, activations: Tensor, slope: tuple[Tensor | None, Tensor], grad: Tensor | None
) -> Tensor:
    mask = None if at not in branch.masks else _part(branch.masks[at], box, at[1]).reshape(-1)
    into = None if grad is None else grad[0].flatten(1)
    back = marginal_vjp if slope[1].dim() == 1 else moments_vjp
    out = back(activations[0].flatten(1), mask, branch.pivots.get(at), *slope, into)
    return out.view_as(activations) if grad is None or into is None or into.data_ptr() != grad.data_ptr() else grad


def _content_vjp(
    term: ContentTerm, box: Box, activations: Tensor, grad: Tensor | None, factor: Tensor | None
) -> Tensor:
    slope = 2.0 * term.weight * term.scale
    if factor is not None:
        slope = slope * factor
    difference = _difference(activations, _part(term.target, box, term.name))
    if isinstance(slope, Tensor):
        difference.mul_(slope.to(difference))
    else:
        difference.mul_(slope)
    difference = difference.to(activations.dtype)
    return difference if grad is None else grad.add_(difference)


def _difference(activations: Tensor, target: Tensor) -> Tensor:
    """In float32 at least: squares of 16 bits overflow, and so would a slope."""
    if activations.dtype.itemsize < torch.float32.itemsize:
        return activations.float() - target.float()
    return activations - target
