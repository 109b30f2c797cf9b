"""The loop: value, gradient, step. It yields what happened and decides nothing else."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from nst_nd.engine.objective import Objective
from nst_nd.engine.optimisers import Optimiser
from nst_nd.engine.stream import value_and_grad
from nst_nd.errors import ComputationError
from nst_nd.features.iterate import Iterate

# on an accelerator the loop looks at the value this often, since looking means waiting for the device
LOOK_EVERY = 10
# a value this many times the best one means that a step went wrong
RUNAWAY = 10.0
PATIENCE = 5
# a restart begins with steps this much shorter
CALMER = 0.1


@dataclass(frozen=True)
class Step:
    """One optimiser step.

    iteration: counted over all scales, from 1, of `total`. scale: index of the scale, of `scales`. size: of the signal.
    terms: weighted values before the step, by name; their sum is what is minimised. Reading it waits for the device.
    seconds: since the run began. memory: peak resident bytes of the process so far.
    """

    iteration: int
    total: int
    scale: int
    scales: int
    size: tuple[int, ...]
    seconds: float
    memory: int
    names: tuple[str, ...] = field(repr=False)
    values: Tensor = field(repr=False)

    @property
    def terms(self) -> dict[str, float]:
        """Weighted terms by name."""
        return dict(zip(self.names, self.values.tolist(), strict=True))

    @property
    def loss(self) -> float:
        """The sum of the terms."""
        return float(self.values.sum())


@dataclass
class Progress:
    """Where a run stands, over all its scales."""

    total: int
    scales: int
    iteration: int = 0
    scale: int = 0
    started: float = field(default_factory=time.perf_counter)
    restarts: int = 0


def optimise(
    objective: Objective, iterate: Iterate, z: Tensor, optimiser: Optimiser, iterations: int, progress: Progress
) -> Iterator[tuple[Step, Tensor]]:
    """Move z in place, `iterations` times; yields each step with the best z seen so far (do not change it).

    A value that is not finite, or worse than both the start and RUNAWAY times the best, sends z back to the best one
    and the optimiser back to a fresh and smaller start, PATIENCE times; then the rest of the steps is left out. At the
    end z is where the last step led, unless that is such a value too.
    Raises ComputationError if the first value is not finite, or if none is any more after all restarts.
    """
    best, best_value, first = z.clone(), math.inf, math.inf
    look = 1 if z.device.type == "cpu" else LOOK_EVERY
    restarts = 0
    for i in range(iterations):
        values, grad = value_and_grad(objective, iterate.signal(z))
        if i % look == 0 or i == iterations - 1:
            value = float(values.sum())
            if i == 0:
                first = value
            if _astray(value, first, best_value):
                restarts += 1
                if not math.isfinite(value) and (i == 0 or restarts > PATIENCE):
                    raise ComputationError(_lost(objective, values, progress, restarts))
                progress.restarts += 1
                z.copy_(best)
                if restarts > PATIENCE:
                    return
                optimiser.reset(CALMER)
                values, grad = value_and_grad(objective, iterate.signal(z))
            elif value < best_value:
                best_value = value
                best.copy_(z)
        optimiser.step(z, iterate.vjp(grad))
        progress.iteration += 1
        yield _step(progress, objective, values, z), best
    if iterations and _astray(float(value_and_grad(objective, iterate.signal(z))[0].sum()), first, best_value):
        progress.restarts += 1
        z.copy_(best)


def _astray(value: float, first: float, best: float) -> bool:
    return not math.isfinite(value) or (value > first and value > RUNAWAY * best)


def _step(progress: Progress, objective: Objective, values: Tensor, z: Tensor) -> Step:
    return Step(
        progress.iteration,
        progress.total,
        progress.scale,
        progress.scales,
        tuple(z.shape[2:]),
        time.perf_counter() - progress.started,
        peak_memory(),
        objective.names,
        values,
    )


def peak_memory() -> int:
    """Peak resident bytes of this process."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _lost(objective: Objective, values: Tensor, progress: Progress, restarts: int) -> str:
    named = zip(objective.names, values.tolist(), strict=True)
    bad = [name for name, value in named if not math.isfinite(value)]
    return (
        f"the objective is not finite in {', '.join(bad) or 'its sum'} at iteration {progress.iteration + 1} "
        f"(restarts: {restarts - 1})\n"
        "try a smaller learning_rate, or optimizer: adam"
    )
