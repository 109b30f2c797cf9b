"""One scale of a transfer at work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from nst_nd import nd
from nst_nd.engine.memory import is_out_of_memory, trim
from nst_nd.engine.optimise import Loop, Progress, Step, optimise
from nst_nd.engine.plan import Demand, Plan, halved
from nst_nd.engine.state import gather_state, restore, row_of
from nst_nd.engine.stream import Engine
from nst_nd.engine.team import Split
from nst_nd.errors import ComputationError
from nst_nd.features.convolution import forget_winograd
from nst_nd.sample import Sample

if TYPE_CHECKING:
    from nst_nd.domains.transfer import Transfer


@runtime_checkable
class Keeper(Protocol):
    """Where checkpoints go."""

    @property
    def started(self) -> bool:
        """Whether there is one, or has been time for one."""

    def due(self) -> bool:
        """Whether it is time for one."""

    def save(self, tensors: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Write one, in place of the last."""

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last one, where the run is to go on from it."""


@runtime_checkable
class Viewer(Protocol):
    """Somebody who wants to see the result while it comes; nothing that is computed depends on it."""

    def due(self) -> bool:
        """Whether it is time for a look."""

    def show(self, make: Callable[[], Sample]) -> None:
        """Look at what would be written if the run were stopped now; `make` gives it, and takes as long as its end."""


@dataclass
class Scale:
    """One size on the way: how much of the full one, how many steps, the slabs and the plan."""

    size: tuple[int, ...]
    share: float
    steps: int
    split: Split | None
    demand: Demand
    plan: Plan = field(repr=False)


class Work:
    """One scale at work: an engine that shrinks its tiles where memory runs out, the optimiser, the loop's state."""

    def __init__(
        self,
        transfer: Transfer,
        scale: Scale,
        z: Tensor,
        saved: tuple[dict[str, Tensor], dict[str, Any]] | None,
        progress: Progress,
        on_plan: Callable[[str], None],
    ) -> None:
        self.transfer, self.scale, self.z, self.progress, self.on_plan = transfer, scale, z, progress, on_plan
        self.iterate = transfer.iterate(scale)
        self.optimiser = transfer.optimiser(scale.plan)
        self.loop = Loop(z.clone())
        if saved is not None:
            restore(saved, z, self.loop, self.optimiser, progress, transfer.team)
        aim = transfer.aim
        at_scale = self.iterate.base if aim is transfer.base else transfer.own(nd.resize(aim, scale.size), scale.split)
        self.objective = transfer.objective(scale, at_scale)
        trim()
        self.engine = self._engine()

    @property
    def names(self) -> tuple[str, ...]:
        """See Engine.names."""
        return self.objective.names

    def steps(self, count: int) -> Any:
        """The steps of this scale that are still to be made; z moves."""
        plateau = self.transfer.settings.plateau
        moves = optimise(self, self.iterate, self.z, self.optimiser, count, self.progress, self.loop, plateau)
        for step, _ in moves:
            yield step
        if self.loop.flat:
            self.transfer.notes.append(
                f"{'x'.join(map(str, self.scale.size))}: ended after {self.loop.done} of {count} steps, on a plateau"
            )

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See Engine.value_and_grad; where memory runs out, again with smaller tiles, and said so."""
        while True:
            try:
                return self.engine.value_and_grad(x)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink(error)

    def save(self, keeper: Keeper, index: int, scales: Sequence[Scale], history: Sequence[Step]) -> None:
        """A checkpoint of all processes, written by the first."""
        about = {
            "scale": index,
            "plans": [scale.plan.record() for scale in scales],
            "history": [row_of(step) for step in history],
        }
        found = gather_state(self.z, self.loop, self.optimiser, self.progress, self.transfer.team, about)
        if found is not None:
            keeper.save(*found)

    def _engine(self) -> Engine:
        scale = self.scale
        return Engine(self.objective, scale.size, scale.plan.tiling, self.transfer.team, scale.split)

    def _shrink(self, error: Exception) -> None:
        smaller = halved(self.scale.plan, self.scale.demand) if self.transfer.team.count == 1 else None
        if smaller is None:
            raise ComputationError(
                f"out of memory at {'x'.join(map(str, self.scale.size))}, and the tiles cannot be made smaller\n"
                "allow more with max_memory, choose layers that are less deep, or more processes"
            ) from error
        self.scale.plan = smaller
        said = f"out of memory: going on {smaller.words()}"
        self.transfer.notes.append(said)
        self.on_plan(said)
        del self.engine
        for network in self.transfer.networks:
            forget_winograd(network.extractor)
        trim()
        if self.transfer.device.type == "cuda":
            torch.cuda.empty_cache()
        self.engine = self._engine()
