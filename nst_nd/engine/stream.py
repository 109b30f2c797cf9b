"""Value and gradient of an objective, stage by stage.

Forward runs the stages outside of any graph and takes the moments at the taps. The costs are functions of those small
matrices, so their autograd is a matter of microseconds and says how J depends on every moment. Backward goes through
the stages from the last to the first, adds at each tap what moments and content say, and hands the gradient down.
Nothing here is larger than one stage's trace, so a plan of tiles can replace "the whole signal" stage by stage.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nst_nd.engine.objective import Branch, ContentTerm, Objective
from nst_nd.features.extractor import Trace
from nst_nd.features.statistics import Moments
from nst_nd.kernels.moments import moments_vjp


def value_and_grad(
    objective: Objective, x: Float[Tensor, "1 channel *space"]
) -> tuple[Float[Tensor, " term"], Float[Tensor, "1 channel *space"]]:
    """Weighted terms [len(objective.names)] in float64, and dJ/dx in the shape of x [1, nc, *space].

    J is the sum of the terms. Both stay on the device of x; nothing is synchronised.
    """
    terms: list[Tensor] = []
    grad: Tensor | None = None
    for branch in objective.branches:
        values, here = _branch(branch, x)
        terms += values
        grad = here if grad is None else grad.add_(here)
    for term in objective.signal:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            value = term.weight * term.cost(leaf)
        here = torch.autograd.grad(value, leaf)[0]
        terms.append(value.detach().double())
        grad = here if grad is None else grad.add_(here)
    if grad is None:
        raise ValueError("the objective has no terms")
    return torch.stack(terms), grad


def _branch(branch: Branch, x: Tensor) -> tuple[list[Tensor], Tensor]:
    traces: list[Trace] = []
    values: dict[str, Tensor] = {}
    moments: dict[str, Moments] = {}
    h = x
    for stage in branch.extractor.stages:
        trace = stage.run(h, branch.taps)
        for tap, activations in trace.taps.items():
            _read_tap(branch, tap, activations, values, moments)
        traces.append(trace)
        h = trace.out
    slopes = {tap: _style(branch, tap, m, values) for tap, m in moments.items()}

    def seed(tap: str, activations: Tensor, grad: Tensor | None) -> Tensor:
        if tap in slopes:
            grad = _style_vjp(branch, tap, activations, slopes[tap], grad)
        for term in branch.content:
            if term.tap == tap:
                grad = _content_vjp(term, activations, grad)
        assert grad is not None
        return grad

    grad: Tensor | None = None
    for stage in reversed(branch.extractor.stages):
        grad = stage.vjp(traces.pop(), seed, grad)
    assert grad is not None
    return [values[name] for name in branch.names], grad


def _read_tap(
    branch: Branch, tap: str, activations: Tensor, values: dict[str, Tensor], moments: dict[str, Moments]
) -> None:
    for term in branch.content:
        if term.tap == tap:
            if activations.shape != term.target.shape:
                raise ValueError(f"{term.name}: {tuple(activations.shape)} against a target {tuple(term.target.shape)}")
            values[term.name] = (activations - term.target).square().sum(dtype=torch.float64) * term.scale * term.weight
    style = [term for term in branch.style if term.tap == tap]
    if style:
        centred = any(term.statistic.centred for term in style)
        moments[tap] = Moments.of(activations, branch.masks.get(tap), branch.pivots.get(tap), with_sum=centred)


def _style(branch: Branch, tap: str, m: Moments, values: dict[str, Tensor]) -> tuple[Tensor | None, Tensor]:
    """The style terms of a tap into `values`; returns d J / d sum and d J / d outer."""
    with torch.enable_grad():
        leaves = [m.outer.requires_grad_()] if m.sum is None else [m.outer.requires_grad_(), m.sum.requires_grad_()]
        costs = {term.name: term.weight * term.cost(m) for term in branch.style if term.tap == tap}
        slopes = torch.autograd.grad(torch.stack(list(costs.values())).sum(), leaves, materialize_grads=True)
    values |= {name: cost.detach() for name, cost in costs.items()}
    return (None if m.sum is None else slopes[1]), slopes[0]


def _style_vjp(
    branch: Branch, tap: str, activations: Tensor, slope: tuple[Tensor | None, Tensor], grad: Tensor | None
) -> Tensor:
    mask = branch.masks.get(tap)
    into = None if grad is None else grad[0].flatten(1)
    out = moments_vjp(
        activations[0].flatten(1), None if mask is None else mask.reshape(-1), branch.pivots.get(tap), *slope, into
    )
    return out.view_as(activations) if grad is None or into is None or into.data_ptr() != grad.data_ptr() else grad


def _content_vjp(term: ContentTerm, activations: Tensor, grad: Tensor | None) -> Tensor:
    slope = 2.0 * term.weight * term.scale
    difference = activations - term.target
    if isinstance(slope, Tensor):
        difference.mul_(slope.to(difference))
    else:
        difference.mul_(slope)
    return difference if grad is None else grad.add_(difference)
