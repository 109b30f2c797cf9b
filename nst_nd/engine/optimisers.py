"""Gradient descent on the iterate: L-BFGS without line search, and Adam. Neither waits for the device.

Made for iterates of any size: state is flat, one tensor a kind, passed over in chunks, and may be a slab of a larger
whole that several processes hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor
from torch.optim.adam import adam

from nst_nd.engine.basis import Basis
from nst_nd.engine.flat import chunk_length, flat, flat_like, memory_order, spans
from nst_nd.errors import ConfigError, InputError

# no single step moves the iterate by more than this, root mean square, in model units (images span 255)
LONGEST_STEP = 20.0
# a sum of products is off by less than this share of the product of what the lengths add up to
NOISE = 32.0 * torch.finfo(torch.float64).eps

Tensors: TypeAlias = dict[str, Tensor]
Numbers: TypeAlias = dict[str, Any]


@runtime_checkable
class Optimiser(Protocol):
    """Moves z in place, once per gradient."""

    def step(self, z: Tensor, grad: Tensor) -> None:
        """One update of z [any shape, dense] from the gradient at z, which the optimiser keeps: do not change it."""

    def reset(self, factor: float = 1.0) -> None:
        """Forget what was learnt from earlier gradients; the next steps are shorter by this factor."""

    def state(self) -> tuple[Tensors, Numbers]:
        """All that the next step depends on besides z: live tensors (no copies), and numbers that JSON can hold."""

    def load(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], z: Tensor) -> None:
        """Copy what `state` gave into an optimiser made with the same settings; z has the shape and strides of then.

        The steps that follow have the same bytes as without the interruption. Raises InputError where it does not fit.
        """


class LBFGS:
    """Limited-memory BFGS (Nocedal & Wright 2006, algorithm 7.4) with unit steps, vector-free (Chen, Wang & Zhou 2014).

    The first step has a root mean square of `learning_rate` model units, whatever the scale of the objective, so that
    it is never lost in rounding; later ones are learning_rate times the quasi-Newton step, at most LONGEST_STEP.
    A pair without positive curvature is kept with weight 0 rather than tested for, so that a GPU is never waited for.

    The two loops run on coefficients over the basis (g, s_0, y_0, s_1, ...), from a small matrix of all dot products.
    A step reads the history twice: for the products with the newest pair and the gradient, and for the sum that is
    added to z. No other full-size tensor is made.

    dtype: of the history, float64, float32 or bfloat16; None: that of z. A step is rounded to it before it is taken.
    empty: (shape [2 history, n], dtype) -> the history, on any device, or mapped from a file; its bytes do not matter.
    total: sums a small float64 tensor over the processes that hold slabs of z; called once a step by all of them, and
    before the first one for the number of elements. What it returns must be the same everywhere: it decides.
    release: called with the history while it is passed over; a mapped one can drop its resident pages.
    """

    def __init__(
        self,
        learning_rate: float = 1.0,
        history: int = 10,
        *,
        dtype: torch.dtype | None = None,
        empty: Callable[[tuple[int, int], torch.dtype], Tensor] | None = None,
        total: Callable[[Tensor], Tensor] = lambda tensor: tensor,
        release: Callable[[Tensor], object] = lambda _: None,
    ) -> None:
        if dtype not in (None, torch.float64, torch.float32, torch.bfloat16):
            raise ConfigError(f"a history in {dtype}; allowed: float64, float32, bfloat16")
        self.learning_rate = self.first_step = learning_rate
        self.history, self.dtype = history, dtype
        self.empty, self.total, self.release = empty, total, release
        self.basis: Basis | None = None
        self.reset()

    @staticmethod
    def history_bytes(n: int, history: int = 10, dtype: torch.dtype = torch.float32) -> int:
        """Bytes of the history for n elements: the part that `empty` allocates."""
        return 2 * history * n * dtype.itemsize

    @staticmethod
    def bytes_for(
        n: int, history: int = 10, dtype: torch.dtype = torch.float32, z_dtype: torch.dtype = torch.float32
    ) -> int:
        """Bytes of state between steps: the history, and the last gradient, which the caller handed over."""
        return LBFGS.history_bytes(n, history, dtype) + n * z_dtype.itemsize

    def reset(self, factor: float = 1.0) -> None:
        """See Optimiser.reset."""
        self.first_step *= factor
        self.gradient: Tensor | None = None  # flat, before the last step
        self.scale: Tensor | None = None  # initial inverse Hessian: scale * identity
        self.count: Tensor | None = None  # elements over all processes
        if self.basis is not None:
            self.basis.reset()

    def step(self, z: Tensor, grad: Tensor) -> None:
        """See Optimiser.step; a gradient in another memory order than z is copied instead of kept."""
        basis, g, before = self._allocate(z), flat_like(z, grad), self.gradient
        newest = basis.renew(g, before)
        if newest is not None and self.scale is not None:
            ys, yy, good = basis.curvature(newest)
            # without curvature the scale that made the first step stays: a steepest descent of known length
            self.scale = torch.where(good, ys / torch.where(good, yy, 1.0), self.scale)
        del before
        self.gradient = g
        basis.move(flat(z), g, self._direction(basis))

    def state(self) -> tuple[Tensors, Numbers]:
        """See Optimiser.state. history: [rows in use, n], gradient: [n] in the memory order of z."""
        numbers: Numbers = {"learning_rate": self.learning_rate, "first_step": self.first_step}
        if self.basis is None or self.gradient is None or self.scale is None:
            return {}, numbers
        basis = self.basis
        numbers |= {"history": self.history, "order": self.order, "filled": basis.filled, "slot": basis.slot}
        tensors = {"history": basis.in_use(), "gradient": self.gradient}
        return {**tensors, "products": basis.products, "scale": self.scale}, numbers

    def load(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], z: Tensor) -> None:
        """See Optimiser.load."""
        self.reset()
        self.learning_rate, self.first_step = numbers["learning_rate"], numbers["first_step"]
        if not tensors:
            return
        saved = tensors["history"]
        _demand("a history of", self.history, numbers["history"])
        _demand("a history in", self.dtype or z.dtype, saved.dtype)
        _demand("axes in memory in the order", memory_order(z), numbers["order"])
        _demand("a number of elements of", z.numel(), tensors["gradient"].numel())
        self._allocate(z).load(saved, tensors["products"], numbers["filled"], numbers["slot"])
        self.gradient = torch.empty_like(flat(z)).copy_(tensors["gradient"])
        self.scale = tensors["scale"].to(z.device, copy=True)

    def _allocate(self, z: Tensor) -> Basis:
        if self.basis is None or self.basis.rows.shape[1] != z.numel():
            shape, dtype = (2 * self.history, z.numel()), self.dtype or z.dtype
            rows = self.empty(shape, dtype) if self.empty else z.new_empty(shape, dtype=dtype)
            self.basis = Basis(rows, z.device, self.total, self.release)
        if self.count is None:
            self.count = self.total(z.new_full((), z.numel(), dtype=torch.float64))
        self.order = memory_order(z)
        return self.basis

    def _direction(self, basis: Basis) -> Tensor:
        """Coefficients [2 filled + 1] of the step over (g, s_0, y_0, ...): the two loops, then what keeps it short."""
        products = basis.products[: 2 * basis.filled + 1, : 2 * basis.filled + 1]
        if self.scale is None:
            self.scale = self.first_step / self.learning_rate / self._rms(products[0, 0]).clamp_min(1e-30)
        q = torch.zeros_like(products[0])
        q[0] = 1.0
        weights, factors = {}, {}
        for pair in reversed(basis.oldest_first()):
            ys, _, good = basis.curvature(pair)
            weights[pair] = torch.where(good, 1.0 / torch.where(good, ys, 1.0), 0.0)
            factors[pair] = weights[pair] * torch.dot(products[2 * pair + 1], q)
            q[2 * pair + 2] -= factors[pair]
        q *= self.scale
        for pair in basis.oldest_first():
            q[2 * pair + 1] += factors[pair] - weights[pair] * torch.dot(products[2 * pair + 2], q)
        q *= -self.learning_rate
        return q * (LONGEST_STEP / self._rms(_square(q, products)).clamp_min(1e-30)).clamp_max(1.0)

    def _rms(self, square: Tensor) -> Tensor:
        assert self.count is not None
        return (square / self.count).sqrt()


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) with beta 0.9 and 0.999, epsilon 1e-8; torch's own, chunk by chunk."""

    def __init__(self, learning_rate: float = 1.0) -> None:
        self.learning_rate = learning_rate
        self.reset()

    @staticmethod
    def bytes_for(n: int, z_dtype: torch.dtype = torch.float32) -> int:
        """Bytes of state between steps for n elements: the means of the gradient and of its square."""
        return 2 * n * z_dtype.itemsize

    def reset(self, factor: float = 1.0) -> None:
        """See Optimiser.reset."""
        self.learning_rate *= factor
        self.steps = 0
        self.order: list[int] = []
        self.means: tuple[Tensor, Tensor] | None = None  # of the gradient and of its square, flat

    def step(self, z: Tensor, grad: Tensor) -> None:
        """See Optimiser.step; the gradient is not kept."""
        values, g, (mean, square) = flat(z), flat_like(z, grad), self._allocate(z)
        for span in spans(z.numel(), chunk_length(z)):
            self._update(values[span], g[span], mean[span], square[span])
        self.steps += 1

    def _update(self, values: Tensor, g: Tensor, mean: Tensor, square: Tensor) -> None:
        adam(
            [values],
            [g],
            [mean],
            [square],
            max_exp_avg_sqs=[],
            state_steps=[torch.tensor(float(self.steps))],  # torch counts on from it
            foreach=False,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def state(self) -> tuple[Tensors, Numbers]:
        """See Optimiser.state. mean, square: [n] in the memory order of z."""
        numbers = {"learning_rate": self.learning_rate, "steps": self.steps, "order": self.order}
        return {} if self.means is None else dict(zip(("mean", "square"), self.means, strict=True)), numbers

    def load(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], z: Tensor) -> None:
        """See Optimiser.load."""
        self.reset()
        if tensors:
            _demand("axes in memory in the order", memory_order(z), numbers["order"])
            _demand("a number of elements of", z.numel(), tensors["mean"].numel())
            for here, saved in zip(self._allocate(z), (tensors["mean"], tensors["square"]), strict=True):
                here.copy_(saved)
        self.learning_rate, self.steps = numbers["learning_rate"], numbers["steps"]

    def _allocate(self, z: Tensor) -> tuple[Tensor, Tensor]:
        if self.means is None:
            self.means = (torch.zeros_like(flat(z)), torch.zeros_like(flat(z)))
            self.order = memory_order(z)
        return self.means


def _square(q: Tensor, products: Tensor) -> Tensor:
    """|sum of q_j b_j|^2, plus what rounding may have taken off it: where long vectors cancel, that is all there is."""
    longest = torch.dot(q.abs(), products.diagonal().sqrt())
    return torch.dot(q, products @ q).clamp_min(0.0) + NOISE * longest.square()


def _demand(what: str, here: object, saved: object) -> None:
    if here != saved:
        raise InputError(
            f"the saved optimiser has {what} {saved}, this run {here}\nrun with the same settings and input"
        )
