"""Gradient descent on the iterate: L-BFGS without line search, and Adam. Neither waits for the device."""

from __future__ import annotations

from collections import deque
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

# no single step moves the iterate by more than this, root mean square, in model units (images span 255)
LONGEST_STEP = 20.0
# a pair (s, y) with less curvature than this share of |y|^2 is not used
LEAST_CURVATURE = 1e-10


@runtime_checkable
class Optimiser(Protocol):
    """Moves z in place, once per gradient."""

    def step(self, z: Tensor, grad: Tensor) -> None:
        """One update of z from the gradient at z."""

    def reset(self, factor: float = 1.0) -> None:
        """Forget what was learnt from earlier gradients; the next steps are shorter by this factor."""


class LBFGS:
    """Limited-memory BFGS (Nocedal & Wright 2006, algorithm 7.4) with unit steps.

    The first step has a root mean square of `learning_rate` model units, whatever the scale of the objective, so that
    it is never lost in rounding; later ones are learning_rate times the quasi-Newton step, at most LONGEST_STEP.
    A pair without positive curvature is kept with weight 0 rather than tested for, so that a GPU is never waited for.
    """

    def __init__(self, learning_rate: float = 1.0, history: int = 10) -> None:
        self.learning_rate = self.first_step = learning_rate
        self.pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=history)
        self.reset()

    def reset(self, factor: float = 1.0) -> None:
        """See Optimiser.reset."""
        self.first_step *= factor
        self.pairs.clear()
        self.previous: tuple[Tensor, Tensor] | None = None  # step taken, gradient before it
        self.scale: Tensor | None = None  # initial inverse Hessian: scale * identity

    def step(self, z: Tensor, grad: Tensor) -> None:
        """See Optimiser.step."""
        if self.scale is None:
            self.scale = self.first_step / self.learning_rate / _rms(grad).clamp_min(1e-30)
        self._remember(grad)
        direction = self._two_loops(grad, self.scale).mul_(-self.learning_rate)
        direction.mul_((LONGEST_STEP / _rms(direction).clamp_min(1e-30)).clamp_max(1.0))
        z.add_(direction)
        self.previous = (direction, grad.clone())

    def _remember(self, grad: Tensor) -> None:
        if self.previous is None:
            return
        s, before = self.previous
        y = grad - before
        ys, yy = _dot(y, s), _dot(y, y)
        good = ys > LEAST_CURVATURE * yy
        rho = torch.where(good, 1.0 / torch.where(good, ys, 1.0), 0.0)
        assert self.scale is not None
        # without curvature the scale that made the first step stays: a steepest descent of known length
        self.scale = torch.where(good, ys / torch.where(good, yy, 1.0), self.scale)
        self.pairs.append((s, y, rho))

    def _two_loops(self, grad: Tensor, scale: Tensor) -> Tensor:
        q = grad.clone()
        factors = []
        for s, y, rho in reversed(self.pairs):
            alpha = rho * _dot(s, q)
            q.sub_(alpha * y)
            factors.append(alpha)
        q.mul_(scale)
        for (s, y, rho), alpha in zip(self.pairs, reversed(factors), strict=True):
            q.add_((alpha - rho * _dot(y, q)) * s)
        return q


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) with beta 0.9 and 0.999, epsilon 1e-8; torch's own, on one tensor."""

    def __init__(self, learning_rate: float = 1.0) -> None:
        self.learning_rate = learning_rate
        self.reset()

    def reset(self, factor: float = 1.0) -> None:
        """See Optimiser.reset."""
        self.learning_rate *= factor
        self.inner: torch.optim.Adam | None = None

    def step(self, z: Tensor, grad: Tensor) -> None:
        """See Optimiser.step."""
        if self.inner is None:
            self.inner = torch.optim.Adam([z], lr=self.learning_rate)
        z.grad = grad
        self.inner.step()
        z.grad = None


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.reshape(-1), b.reshape(-1))


def _rms(x: Tensor) -> Tensor:
    rms: Tensor = torch.linalg.vector_norm(x) / x.numel() ** 0.5
    return rms
