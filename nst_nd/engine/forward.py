"""How one forward pass over a signal uses memory, where nothing comes back: the same tiles, without a history."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from nst_nd import scratch
from nst_nd.boxes import tiles, whole
from nst_nd.engine.field import Place
from nst_nd.engine.memory import in_words
from nst_nd.engine.plan import AXES_OF_EDGES, EDGES, FLOAT, FRAGMENTED, OVERHEAD, SLACK, tile_lengths
from nst_nd.engine.sweep import StagePlan
from nst_nd.errors import ConfigError
from nst_nd.features.extractor import Extractor


@dataclass(frozen=True)
class ForwardPlan:
    """stages: a plan each. predicted: bytes at the peak on top of the signal itself; on_disk: in scratch files."""

    stages: tuple[StagePlan, ...]
    predicted: int
    on_disk: int

    @property
    def untiled(self) -> bool:
        """Whether everything is done at once."""
        return all(stage.tile is None for stage in self.stages)


def forward_plan(
    extractor: Extractor,
    taps: frozenset[str],
    size: tuple[int, ...],
    available: int,
    *,
    keeps_pages: bool = False,
    edge: int | None = None,
) -> ForwardPlan:
    """The fastest plan for a signal of `size` whose predicted peak is at most `available` bytes.

    keeps_pages: the allocator does not give freed blocks back. edge: tiles of a volume of this edge, other signals get
    as many positions; absent: by the memory that there is. Raises ConfigError with what the leanest plan needs. Of a
    torch module nothing is known: it is run at once.
    """
    room = scratch.free_bytes()
    leanest: ForwardPlan | None = None
    for plan in _candidates(extractor, taps, size, edge, keeps_pages=keeps_pages):
        if edge is not None or (plan.predicted <= available and plan.on_disk <= room):
            return plan
        if plan.on_disk <= room and (leanest is None or plan.predicted < leanest.predicted):
            leanest = plan
    need = "more scratch space" if leanest is None else f"at least {in_words(leanest.predicted)} of memory"
    raise ConfigError(
        f"{in_words(max(0, available))} of memory on top of the program and {in_words(room)} of scratch space are too "
        f"little for {'x'.join(map(str, size))}: it takes {need}\nallow more with --max-memory, or choose a layer that "
        "is less deep"
    )


def _candidates(
    extractor: Extractor, taps: frozenset[str], size: tuple[int, ...], edge: int | None, *, keeps_pages: bool
) -> Iterator[ForwardPlan]:
    if edge is None:
        yield _plan(extractor, taps, size, None, "device", keeps_pages=False)
    places: tuple[Place, ...] = ("device", "file")
    for place in places:
        for each in EDGES if edge is None else (edge,):
            yield _plan(extractor, taps, size, each, place, keeps_pages=keeps_pages)


def _plan(
    extractor: Extractor,
    taps: frozenset[str],
    size: tuple[int, ...],
    edge: int | None,
    place: Place,
    *,
    keeps_pages: bool,
) -> ForwardPlan:
    length = None if edge is None else max(1, round(edge ** (AXES_OF_EDGES / len(size))))
    lengths = tile_lengths(extractor, size, length)
    nc, plans, work = extractor.nc, [], 0
    # at once, the signal itself is held too; tiles are read from wherever it is
    buffers = FLOAT * nc * math.prod(size) if length is None else 0
    for i, (stage, tile) in enumerate(zip(extractor.stages, lengths, strict=True)):
        plans.append(StagePlan(tile, "nothing", place))
        if not stage.known:
            continue
        cores = [whole(size)] if tile is None else tiles(whole(size), tile, stage.stride_at(None))
        windows = [stage.windows(core, size, taps) for core in {cores[0], cores[len(cores) // 2], cores[-1]}]
        work = max(work, *(FLOAT * stage.footprint(nc, w, taps, "nothing").working for w in windows))
        if i:  # without tiles, what one stage gives is there while the next one works on it
            buffers += FLOAT * nc * math.prod(size)
        size, nc = stage.output(size), stage.channels(nc)
    held = int(work * (FRAGMENTED if keeps_pages and length is not None else 1.0))
    on_disk = buffers if place == "file" and length is not None else 0
    return ForwardPlan(tuple(plans), int(SLACK * (held + buffers - on_disk)) + OVERHEAD, on_disk)
