"""From an amount of memory to tiles and places: what a run will hold, and how it has to be cut to fit.

Everything that is large is counted before it is made: arrays of the size of the signal, the optimiser's history, what
networks leave at the content's taps, inputs of stages and their gradients, and what one tile holds while it is worked
on. Candidates are tried from the fastest to the leanest; the first one that fits is the plan.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, get_args

import torch

from nst_nd import scratch
from nst_nd.boxes import tiles, whole
from nst_nd.engine.field import Place
from nst_nd.engine.memory import in_words
from nst_nd.engine.optimisers import LBFGS, Adam
from nst_nd.engine.stream import Tiling
from nst_nd.engine.sweep import StagePlan
from nst_nd.engine.team import Split
from nst_nd.errors import ConfigError
from nst_nd.features.convolution import uses_winograd
from nst_nd.features.extractor import Extractor, Keep, Stage

# edges of the tiles of a volume that are tried, large ones first: measured, 64 is as fast as memory allows and halos
# eat up what is smaller than 32; other numbers of axes get tiles of as many positions
EDGES = (64, 48, 32, 24, 16, 12, 8)
AXES_OF_EDGES = 3
FLOAT = 4
# z, the best z, the signal made of it and its gradient, the content, one to work with
FULL_SIZE = 6
# what allocators lose between blocks, and what libraries take for themselves
SLACK = 1.10
OVERHEAD = 96 * 2**20
# measured: a heap that keeps its pages takes up to so many times what tiles of changing sizes hold at once
FRAGMENTED = 2.3


@dataclass(frozen=True)
class Demand:
    """What a run needs, of which a plan decides how.

    branches: each network, cut, with the taps that the content cost reads. size, nc: of the signal. masks: arrays
    [1, 1, *size] beside it. smoothed: whether the iterate is filtered, which takes two more of its size. split, rank:
    this process's slab. accelerator: the memory is a device's own. keeps_pages: the allocator does not give freed
    blocks back. styles: their sizes; their statistics are taken before the steps begin, with the same tiles.
    beforehand: bytes that are taken at a time before all of this.
    """

    branches: tuple[tuple[Extractor, frozenset[str], frozenset[str]], ...]
    size: tuple[int, ...]
    nc: int
    optimizer: str
    history: int
    masks: int = 0
    smoothed: bool = False
    split: Split | None = None
    rank: int = 0
    accelerator: bool = False
    keeps_pages: bool = False
    styles: tuple[tuple[int, ...], ...] = ()
    beforehand: int = 0

    @property
    def share(self) -> float:
        """The part of the signal that this process holds."""
        if self.split is None:
            return 1.0
        return self.split.spans[self.rank].length / self.size[self.split.axis]

    @property
    def elements(self) -> int:
        """Numbers of this process's signal."""
        return math.ceil(self.nc * math.prod(self.size) * self.share)


@dataclass(frozen=True)
class Plan:
    """How a run uses memory. tiling: see Tiling. targets, history: where those are. dtype: of the L-BFGS history.

    predicted: bytes at the peak on top of what the process had, in memory; on_disk: in scratch files.
    parts: the larger shares of it, in words and bytes. length: of a tile along each axis; None: all at once. fast: some
    convolutions are by Winograd's method, see kernels/winograd.py.
    """

    tiling: Tiling
    targets: Place
    history: Place
    dtype: str
    predicted: int
    on_disk: int
    parts: tuple[tuple[str, int], ...]
    length: int | None = None
    fast: bool = False

    @property
    def untiled(self) -> bool:
        """Whether everything is done at once."""
        return all(stage.tile is None for branch in self.tiling.branches for stage in branch)

    @property
    def place(self) -> Place:
        """Where stage inputs are."""
        return next((s.place for b in self.tiling.branches for s in b), "device")

    def record(self) -> dict[str, Any]:
        """For the sidecar and the checkpoint: plain values that say everything that determines the result."""
        branches = [
            [{"tile": s.tile and list(s.tile), "keep": s.keep, "place": s.place} for s in b]
            for b in self.tiling.branches
        ]
        signal = self.tiling.signal and list(self.tiling.signal)
        places = {"targets": self.targets, "history": self.history, "history_dtype": self.dtype}
        sizes = {"predicted_bytes": self.predicted, "scratch_bytes": self.on_disk}
        return {"branches": branches, "signal": signal, "length": self.length, "fast": self.fast, **places, **sizes}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Plan:
        """The plan that gave this record."""
        branches = tuple(
            tuple(StagePlan(s["tile"] and tuple(s["tile"]), s["keep"], s["place"]) for s in b)
            for b in record["branches"]
        )
        tiling = Tiling(branches, record["signal"] and tuple(record["signal"]))
        places = record["targets"], record["history"], record["history_dtype"]
        return cls(
            tiling, *places, record["predicted_bytes"], record["scratch_bytes"], (), record["length"], record["fast"]
        )

    def words(self) -> str:
        """One line for people."""
        tile = self.tiling.signal
        how = "all at once" if tile is None else f"in tiles of {'x'.join(map(str, tile))}"
        files = [
            name for name, place in (("history", self.history), ("content targets", self.targets)) if place == "file"
        ]
        if any(s.place == "file" for b in self.tiling.branches for s in b):
            files.append("stage inputs")
        aside = f"; in scratch files ({in_words(self.on_disk)}): {', '.join(files)}" if files else ""
        largest = ", ".join(f"{name} {in_words(size)}" for name, size in self.parts if size >= 2**20)
        parts = f" ({largest})" if largest else ""
        return f"{how}; predicted on top of the program {in_words(self.predicted)}{parts}{aside}"


def make_plan(demand: Demand, available: int, disk: int | None = None) -> Plan:
    """The fastest plan whose predicted peak is at most `available` bytes, with scratch files of at most `disk`.

    disk: what the scratch folder has by default. Raises ConfigError with what the leanest plan needs.
    """
    room = scratch.free_bytes() if disk is None else disk
    leanest: Plan | None = None
    for plan in candidates(demand):
        if plan.predicted <= available and plan.on_disk <= room:
            return plan
        if plan.on_disk <= room and (leanest is None or plan.predicted < leanest.predicted):
            leanest = plan
    need = "more scratch space" if leanest is None else f"at least {in_words(leanest.predicted)} of memory"
    left = f"{in_words(max(0, available))} of memory on top of the program and {in_words(room)} of scratch space"
    raise ConfigError(
        f"{left} are too little for {'x'.join(map(str, demand.size))}: it takes {need}\n"
        "allow more with max_memory, choose layers that are less deep, a smaller history, or optimizer: adam"
    )


def untiled_plan(demand: Demand, available: int) -> Plan | None:
    """The fastest plan that does everything at once and fits; None where there is none."""
    room = scratch.free_bytes()
    fitting = (plan for plan in candidates(demand) if plan.predicted <= available and plan.on_disk <= room)
    return next((plan for plan in fitting if plan.untiled), None)


def tiled_plan(demand: Demand, edge: int | None) -> Plan:
    """The plan with tiles of this edge, all in memory and nothing kept; None: everything at once."""
    return _plan(demand, edge, "all" if edge is None else "nothing", _ON_MACHINE[0])


def candidates(demand: Demand) -> Iterator[Plan]:
    """All plans, from the fastest to the leanest."""
    layouts = _ON_ACCELERATOR if demand.accelerator else _ON_MACHINE
    for layout in layouts[:2]:
        yield _plan(demand, None, "all", layout)
    for edges in (EDGES[:3], EDGES[3:]):
        for layout in layouts:
            for edge in edges:
                for keep in get_args(Keep):
                    yield _plan(demand, edge, keep, layout)


class _Layout(NamedTuple):
    """Where stage inputs, content targets and the history are, and what the history is stored in."""

    inputs: Place
    targets: Place
    history: Place
    dtype: str = "float32"


_ON_MACHINE = (
    _Layout("device", "device", "device"),
    _Layout("device", "device", "file"),
    _Layout("device", "file", "file"),
    _Layout("file", "file", "file"),
    _Layout("file", "file", "device", "bfloat16"),  # where there is little scratch space
)
# the history is used by every step as a whole, so it stays on the device
_ON_ACCELERATOR = (
    _Layout("device", "device", "device"),
    _Layout("device", "host", "device"),
    _Layout("host", "host", "device"),
    _Layout("host", "host", "device", "bfloat16"),
)


def _plan(demand: Demand, edge: int | None, keep: Keep, layout: _Layout) -> Plan:
    ndim = len(demand.size)
    length = None if edge is None else max(1, round(edge ** (AXES_OF_EDGES / ndim)))
    memory: dict[str, int] = {}
    disk = 0
    n = FLOAT * demand.elements
    spare = (2 if demand.smoothed else 0) + (0.0 if demand.nc == 0 else demand.masks / demand.nc)
    memory["signal"] = int(n * (FULL_SIZE + spare))
    if demand.optimizer == "lbfgs":
        memory["gradient before"] = n
        held = LBFGS.history_bytes(demand.elements, demand.history, getattr(torch, layout.dtype))
        if layout.history == "file":
            disk += held
        else:
            memory["history"] = held
    else:
        memory["optimiser"] = Adam.bytes_for(demand.elements)
    branches, buffers, target_bytes, work, before, prepared = [], 0, 0, 0, 0, 0
    in_memory = layout.inputs == "device"
    for extractor, taps, content in demand.branches:
        stages, here = _stages(demand, extractor, taps, length, keep, layout.inputs)
        branches.append(stages)
        buffers += here.buffers
        prepared += here.prepared
        work = max(work, here.work)
        target_bytes += _targets(demand, extractor, content)
        for shape in demand.styles:
            style = replace(demand, size=shape, styles=())
            once = _stages(style, extractor, taps, length, "nothing", layout.inputs)[1]
            before = max(before, once.work + (once.buffers // 2 if in_memory else 0))
    # before the steps there are no buffers of the signal's own
    work = max(work, before - (buffers if in_memory else 0))
    memory["reversed kernels"] = prepared
    memory["styles"] = FLOAT * demand.nc * sum(math.prod(shape) for shape in demand.styles)
    for name, size, place in (
        ("stage inputs", buffers, layout.inputs),
        ("content targets", target_bytes, layout.targets),
    ):
        if place == "device":
            memory[name] = size
        elif place == "file":
            disk += size
    memory["tiles at work"] = int(work * (FRAGMENTED if demand.keeps_pages and length is not None else 1.0))
    predicted = int(SLACK * max(sum(memory.values()), demand.beforehand)) + OVERHEAD
    signal = None if length is None else tuple(min(length, s) for s in demand.size)
    parts = tuple(sorted(memory.items(), key=lambda item: -item[1]))
    fast = any(uses_winograd(extractor) for extractor, _, _ in demand.branches)
    tiling, places = Tiling(tuple(branches), signal), (layout.targets, layout.history, layout.dtype)
    return Plan(tiling, *places, predicted, disk, parts, length, fast)


@dataclass(frozen=True)
class _Held:
    buffers: int
    work: int
    prepared: int


def _stages(
    demand: Demand, extractor: Extractor, taps: frozenset[str], length: int | None, keep: Keep, place: Place
) -> tuple[tuple[StagePlan, ...], _Held]:
    """A plan per stage of one network, and bytes of its buffers, of its tiles at work and of what it prepares once.

    keep: of each stage; where everything is, the first one of tiles keeps its slopes alone, since it is so much larger.
    """
    size, nc = demand.size, extractor.nc
    plans, buffers, kept, working, prepared = [], 0, 0, 0, 0
    lengths = tile_lengths(extractor, size, length)
    for i, (stage, tile) in enumerate(zip(extractor.stages, lengths, strict=True)):
        one = StagePlan(tile, "slopes" if keep == "all" and i == 0 and length is not None else keep, place)
        plans.append(one)
        if not stage.known:
            continue  # a module: nothing is known of its memory
        cores = [whole(size)] if tile is None else tiles(whole(size), tile, stage.stride_at(None))
        windows = [stage.windows(core, size, taps) for core in {cores[0], cores[len(cores) // 2], cores[-1]}]
        prints = [stage.footprint(nc, w, taps, one.keep) for w in windows]
        share = demand.share if tile is None else 1.0
        if i and (tile is not None or demand.split is not None):
            buffers += 2 * FLOAT * math.ceil(nc * math.prod(size) * demand.share)
        saved = FLOAT * math.ceil(max(p.saved for p in prints) * share)
        above = FLOAT * math.ceil(max(p.working for p in prints) * share)
        kept += math.ceil(saved * len(cores) * (1.0 if tile is None else demand.share))
        working = max(working, above)
        prepared += FLOAT * prints[0].prepared
        size, nc = stage.output(size), stage.channels(nc)
    return tuple(plans), _Held(buffers, kept + working, prepared)


def tile_lengths(extractor: Extractor, size: tuple[int, ...], length: int | None) -> list[tuple[int, ...] | None]:
    """The tile of each stage's input for a signal of `size`: `length` along each axis where the stage can be cut.

    Stages with more channels than the first get tiles of fewer positions, so that all take about as much memory.
    None everywhere where `length` is None.
    """
    found: list[tuple[int, ...] | None] = []
    nc, first = extractor.nc, 0
    for stage in extractor.stages:
        widest = stage.widest(nc)
        first = first or widest
        own = None if length is None else length * (first / max(widest, first)) ** (1 / len(size))
        found.append(None if own is None or not stage.known else _tile(stage, size, own))
        size, nc = stage.output(size), stage.channels(nc)
    return found


def _tile(stage: Stage, size: tuple[int, ...], length: float) -> tuple[int, ...]:
    """At most this many positions along each axis that can be cut."""
    return tuple(min(max(1, int(length)), n) if stage.can_cut(a, size) else n for a, n in enumerate(size))


def _targets(demand: Demand, extractor: Extractor, content: frozenset[str]) -> int:
    """Bytes of the activations at the content's taps."""
    size, nc, total = demand.size, extractor.nc, 0.0
    for stage in extractor.stages:
        for tap in content & frozenset(stage.names):
            total += stage.widest(nc) * math.prod(size) / math.prod(stage.stride_at(tap)) * demand.share
        size, nc = stage.output(size), stage.channels(nc)
    return math.ceil(FLOAT * total)


def halved(plan: Plan, demand: Demand) -> Plan | None:
    """The plan with tiles of half the length along every axis; None where they are as small as they can be."""
    layout = _Layout(plan.place, plan.targets, plan.history, plan.dtype)
    if plan.length is None:
        return _plan(demand, EDGES[0], "nothing", layout)
    edge = round(plan.length ** (len(demand.size) / AXES_OF_EDGES))
    if edge <= min(EDGES):
        return None
    return _plan(demand, max(min(EDGES), edge // 2), "nothing", layout)


def history_dtype(plan: Plan) -> torch.dtype:
    """The dtype of the L-BFGS history."""
    dtype: torch.dtype = getattr(torch, plan.dtype)
    return dtype
