"""The loop: value, gradient, step. It yields what happened and decides nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from nst_nd.engine.memory import peak_resident
from nst_nd.engine.optimisers import Optimiser
from nst_nd.errors import ComputationError
from nst_nd.features.iterate import Iterate

# on an accelerator the loop looks at the value this often, since looking means waiting for the device
LOOK_EVERY = 10
# a value this many times the best one means that a step went wrong
RUNAWAY = 10.0
PATIENCE = 5
# a restart begins with steps this much shorter
CALMER = 0.1
# steps over which a plateau is told
PLATEAU_STEPS = 20


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


@runtime_checkable
class Evaluator(Protocol):
    """What is minimised; an Engine."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the terms."""

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Terms in float64, and the gradient of their sum at x."""


@dataclass
class Loop:
    """Where the steps at one scale stand: the best z, its value, the first value, restarts and steps so far.

    recent: the best value at each of the last looks at it; flat: whether it has stopped falling.
    """

    best: Tensor
    best_value: float = math.inf
    first: float = math.inf
    restarts: int = 0
    done: int = 0
    recent: list[float] = field(default_factory=list)
    flat: bool = False

    def numbers(self) -> dict[str, Any]:
        """All but the tensor."""
        return {k: getattr(self, k) for k in ("best_value", "first", "restarts", "done", "recent", "flat")}

    def look(self, share: float, looks: int) -> None:
        """Set `flat` where the best value has fallen by less than this share of itself in so many looks at it."""
        self.recent = [*self.recent[-looks:], self.best_value]
        self.flat = len(self.recent) > looks and self.recent[0] - self.best_value < share * abs(self.recent[0])

    def take(self, numbers: Mapping[str, Any]) -> None:
        """What `numbers` gave."""
        for key in self.numbers():
            setattr(self, key, numbers[key])


def optimise(
    evaluator: Evaluator,
    iterate: Iterate,
    z: Tensor,
    optimiser: Optimiser,
    iterations: int,
    progress: Progress,
    loop: Loop | None = None,
    plateau: float = 0.0,
) -> Iterator[tuple[Step, Tensor]]:
    """Move z in place until `iterations` steps are made; yields each with the best z seen so far (do not change it).

    loop: a fresh one by default; one that a checkpoint gave goes on where it stood. plateau: it ends where
    PLATEAU_STEPS steps lowered the best value by less than this share of it; 0: never.

    A value that is not finite, or worse than both the start and RUNAWAY times the best, sends z back to the best one
    and the optimiser back to a fresh and smaller start, PATIENCE times; then the rest of the steps is left out. At the
    end z is where the last step led, unless that is such a value too.
    Raises ComputationError if the first value is not finite, or if none is any more after all restarts.
    """
    loop = loop or Loop(z.clone())
    look = 1 if z.device.type == "cpu" else LOOK_EVERY
    while loop.done < iterations and not loop.flat:
        values, grad = evaluator.value_and_grad(iterate.signal(z))
        if loop.done % look == 0 or loop.done == iterations - 1:
            value = float(values.sum())
            if loop.done == 0:
                loop.first = value
            if _astray(value, loop.first, loop.best_value):
                loop.restarts += 1
                if not math.isfinite(value) and (loop.done == 0 or loop.restarts > PATIENCE):
                    raise ComputationError(_lost(evaluator.names, values, progress, loop.restarts))
                progress.restarts += 1
                z.copy_(loop.best)
                if loop.restarts > PATIENCE:
                    return
                optimiser.reset(CALMER)
                values, grad = evaluator.value_and_grad(iterate.signal(z))
            elif value < loop.best_value:
                loop.best_value = value
                loop.best.copy_(z)
            if plateau:
                loop.look(plateau, max(1, PLATEAU_STEPS // look))
        optimiser.step(z, iterate.vjp(grad))
        del grad
        loop.done += 1
        progress.iteration += 1
        yield _step(progress, evaluator.names, values, z), loop.best
    if iterations:
        value = float(evaluator.value_and_grad(iterate.signal(z))[0].sum())
        if _astray(value, loop.first, loop.best_value):
            progress.restarts += 1
            z.copy_(loop.best)


def _astray(value: float, first: float, best: float) -> bool:
    return not math.isfinite(value) or (value > first and value > RUNAWAY * best)


def _step(progress: Progress, names: tuple[str, ...], values: Tensor, z: Tensor) -> Step:
    return Step(
        progress.iteration,
        progress.total,
        progress.scale,
        progress.scales,
        tuple(z.shape[2:]),
        time.perf_counter() - progress.started,
        peak_resident(),
        names,
        values,
    )


def _lost(names: tuple[str, ...], values: Tensor, progress: Progress, restarts: int) -> str:
    named = zip(names, values.tolist(), strict=True)
    bad = [name for name, value in named if not math.isfinite(value)]
    return (
        f"the objective is not finite in {', '.join(bad) or 'its sum'} at iteration {progress.iteration + 1} "
        f"(restarts: {restarts - 1})\n"
        "try a smaller learning_rate, or optimizer: adam; precision float16 holds nothing above 65504, bfloat16 does"
    )
