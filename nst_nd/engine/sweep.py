"""One extractor over one signal, stage by stage and tile by tile: forward to the taps, and back to the input.

Forward, each stage reads its input tile by tile, each tile with that stage's own halo, hands what it finds at the taps
to the caller and writes its output. Backward goes from the last stage to the first: a tile's trace is kept or
made again from the stage's input; the caller says how the objective depends on the taps; what comes out is added to the
gradient of the stage's input, halo included. One tile that covers everything is the ordinary in-memory evaluation:
then outputs and gradients are handed on as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from nst_nd.boxes import Box, Span, hull, tiles, whole
from nst_nd.engine.field import Field, Place
from nst_nd.engine.team import ALONE, Split, Team
from nst_nd.errors import ConfigError
from nst_nd.features.extractor import Extractor, Keep, Stage, Trace
from nst_nd.features.window import Windows

# (tap, positions, activations there)
Read = Callable[[str, Box, Tensor], None]
# (tap, positions, activations there, gradient so far or None) -> gradient with the tap's own added, perhaps in place
SeedAt = Callable[[str, Box, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class StagePlan:
    """How one stage runs.

    tile: positions of its input per tile and axis, halo not counted; None: everything at once.
    keep: what a tile leaves for its way back, rather than making it again; see extractor.Keep.
    place: where its input and that input's gradient are (those of the first stage are the signal's own).
    """

    tile: tuple[int, ...] | None = None
    keep: Keep = "all"
    place: Place = "device"


@dataclass(frozen=True)
class _Layout:
    """A stage at work: the size and channels of its input, its slabs, its tiles (None: the whole, without a window)."""

    stage: Stage
    plan: StagePlan
    nc: int
    size: tuple[int, ...]
    split: Split | None
    tiles: tuple[Windows | None, ...]
    reach: tuple[Span, ...]


class Sweep:
    """See the module. Buffers are made once and used again at every call.

    size: of the signal. taps: where the caller looks. plan: one entry per stage; everything at once by default.
    Raises ConfigError where a stage cannot be cut as its plan or the number of processes asks.
    """

    def __init__(
        self,
        extractor: Extractor,
        taps: frozenset[str],
        size: Sequence[int],
        plan: Sequence[StagePlan] | None = None,
        team: Team = ALONE,
        split: Split | None = None,
    ) -> None:
        self.taps, self.team = taps, team
        self.layouts: list[_Layout] = []
        plans = plan or [StagePlan()] * len(extractor.stages)
        here, nc = tuple(size), extractor.nc
        for stage, own in zip(extractor.stages, plans, strict=True):
            self.layouts.append(_layout(stage, own, nc, here, taps, team, split))
            here, nc = stage.output(here), stage.channels(nc)
            split = None if split is None else split.coarser(stage.stride_at(None), here)
        self.inputs: list[Field | None] = [None] * len(self.layouts)
        self.gradients: list[Field | None] = [None] * len(self.layouts)
        self.traces: list[list[Trace]] = []

    def input_reach(self) -> tuple[Span, ...]:
        """What each process has to hold of the signal along the split axis; empty for one process."""
        return self.layouts[0].reach

    def forward(self, x: Field, read: Read, *, back: bool = True) -> None:
        """Run all stages on the signal, whose margins are filled; back: `backward` will follow."""
        self.traces = []
        self.inputs[0] = x
        for i, layout in enumerate(self.layouts):
            source = self.inputs[i]
            assert source is not None
            traces: list[Trace] = []
            keep = layout.plan.keep if back else "nothing"
            for tile in layout.tiles:
                trace = layout.stage.run(_read(source, tile), self.taps, tile, keep=keep)
                for tap, activations in trace.taps.items():
                    read(tap, whole(activations.shape[2:]) if tile is None else tile.owned[tap], activations)
                self._hand_on(i, tile, trace.out)
                trace.out = trace.out.new_empty(0)
                if keep != "all":
                    trace.taps = {}
                traces.append(trace)
            self.traces.append(traces)
            if keep == "all" and layout.tiles == (None,) and self._handed_on(i):
                self.inputs[i] = None  # nobody looks at it again
            if i + 1 < len(self.layouts):
                following = self.inputs[i + 1]
                assert following is not None
                following.exchange()
        if not back:
            for i in range(len(self.layouts)):
                if i == 0 or self._handed_on(i):
                    self.inputs[i] = None  # nobody comes back for it; buffers stay

    def backward(self, seed: SeedAt, into: Field, factor: Tensor | None = None) -> None:
        """Add the gradient at the signal into `into`, which has the same margins; its owner folds them.

        factor: by which everything that `seed` gives is too large.
        """
        at_output: Field | None = None
        for i in reversed(range(len(self.layouts))):
            layout = self.layouts[i]
            target = self._target(i, into)
            for tile, trace in zip(layout.tiles, self._taken(i), strict=True):
                if layout.plan.keep != "all":
                    trace = layout.stage.again(partial(self._input, i, tile), self.taps, tile, trace)
                grad = None if at_output is None else at_output.read(_out(tile, at_output), copy=tile is not None)
                here = layout.stage.vjp(trace, _at(seed, tile), grad)
                del trace, grad
                if i == 0 and factor is not None:
                    here = here / factor
                if target is None:
                    at_output = Field.of(here)
                else:
                    target.add(whole(here.shape[2:]) if tile is None else tile.have, here)
            if target is not None:
                if i:
                    target.fold()
                at_output = target
            if i == 0 or self._handed_on(i):
                self.inputs[i] = None  # buffers stay

    def _handed_on(self, i: int) -> bool:
        """Whether the input of a stage is the output of the one before as it was, and no buffer."""
        return i > 0 and self.layouts[i - 1].tiles == (None,)

    def _input(self, i: int, tile: Windows | None) -> Tensor:
        source = self.inputs[i]
        assert source is not None
        return _read(source, tile)

    def _hand_on(self, i: int, tile: Windows | None, out: Tensor) -> None:
        if i + 1 == len(self.layouts):
            return
        if tile is None:
            self.inputs[i + 1] = Field.of(out)
            return
        self.inputs[i + 1] = self.inputs[i + 1] or self._empty(i + 1, out)
        following = self.inputs[i + 1]
        assert following is not None
        following.write(tile.out, out)

    def _empty(self, i: int, like: Tensor) -> Field:
        layout = self.layouts[i]
        return Field.empty(layout.nc, layout.size, like, layout.plan.place, self.team, layout.split, layout.reach)

    def _target(self, i: int, into: Field) -> Field | None:
        """Where the gradient of a stage's input comes together; None where it is handed on as it is."""
        if i == 0:
            return into
        if self.layouts[i].tiles == (None,):
            return None
        source = self.inputs[i]
        assert source is not None
        self.gradients[i] = self.gradients[i] or self._empty(i, source.data[:, :, :1])
        target = self.gradients[i]
        assert target is not None
        target.zero()
        return target

    def _taken(self, i: int) -> list[Trace]:
        """The traces of a stage; the list gives each away, so that it goes when it has been used."""
        traces, self.traces[i] = self.traces[i], []
        return _Once(traces)


class _Once(list[Trace]):
    """A list that forgets what it has handed out."""

    def __iter__(self):  # type: ignore[no-untyped-def]
        self.reverse()
        while self:
            yield self.pop()


def _read(source: Field, tile: Windows | None) -> Tensor:
    return source.data if tile is None else source.read(tile.have)


def _out(tile: Windows | None, field: Field) -> Box:
    return whole(field.size) if tile is None else tile.out


def _at(seed: SeedAt, tile: Windows | None) -> Callable[[str, Tensor, Tensor | None], Tensor]:
    def here(tap: str, activations: Tensor, grad: Tensor | None) -> Tensor:
        return seed(tap, whole(activations.shape[2:]) if tile is None else tile.owned[tap], activations, grad)

    return here


def _layout(
    stage: Stage,
    plan: StagePlan,
    nc: int,
    size: tuple[int, ...],
    taps: frozenset[str],
    team: Team,
    split: Split | None,
) -> _Layout:
    if plan.tile is None and split is None:
        return _Layout(stage, plan, nc, size, None, (None,), ())
    length = list(plan.tile or size)
    for axis, n in enumerate(size):
        if not stage.can_cut(axis, size):
            if split is not None and split.axis == axis and team.count > 1:
                raise ConfigError(
                    f"layers {stage.names[0]} .. {stage.names[-1]} look at all of axis {axis} (its border is circular "
                    "and leaves a remainder, or it is a module); it cannot be shared out over processes"
                )
            length[axis] = n
    own = whole(size) if split is None else split.owned(team.rank, size)
    cells = stage.stride_at(None)
    cores = tiles(own, length, cells)
    reach: tuple[Span, ...] = ()
    if split is not None:
        slabs = [split.owned(rank, size) for rank in range(team.count)]
        # a stride may skip the last positions of a slab, which are held all the same
        reach = tuple(hull([own, stage.windows(own, size, taps).have])[split.axis] for own in slabs)
    return _Layout(stage, plan, nc, size, split, tuple(stage.windows(core, size, taps) for core in cores), reach)
