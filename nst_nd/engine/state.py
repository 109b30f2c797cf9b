"""The state of a running optimisation as tensors and numbers, over all processes, and the way back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from nst_nd import scratch
from nst_nd.engine.flat import flat
from nst_nd.engine.optimise import Loop, Progress, Step
from nst_nd.engine.optimisers import Optimiser
from nst_nd.engine.team import Team
from nst_nd.errors import InputError

# bytes that are written or sent at a time
PIECE = 16 * 2**20
# shape, dtype and the elements in pieces: what a checkpoint is written from
Parts = tuple[tuple[int, ...], torch.dtype, Iterator[Tensor]]


def gather_state(
    z: Tensor, loop: Loop, optimiser: Optimiser, progress: Progress, team: Team, about: Mapping[str, Any]
) -> tuple[dict[str, Parts], dict[str, Any]] | None:
    """Tensors "name.rank" in pieces that the others send while they are written, and plain values; None but at rank 0.

    Every process calls it at the same step; it returns at the others when all has been sent.
    """
    tensors, numbers = optimiser.state()
    mine = {"z": flat(z), "best": flat(loop.best)} | {f"optimiser.{name}": t for name, t in tensors.items()}
    mine = dict(sorted(mine.items(), key=lambda item: -item[1].element_size()))
    everybody = team.gather_words(json.dumps([[n, list(t.shape), str(t.dtype)] for n, t in mine.items()]))
    if everybody is None:
        for tensor in mine.values():
            for piece in _pieces(tensor):
                team.swap([(0, piece)], [])
        return None
    entries: dict[str, Parts] = {f"{name}.0": (tuple(t.shape), t.dtype, _pieces(t)) for name, t in mine.items()}
    for rank, words in enumerate(everybody[1:], start=1):
        for name, shape, kind in json.loads(words):
            dtype = getattr(torch, kind.removeprefix("torch."))
            entries[f"{name}.{rank}"] = (tuple(shape), dtype, _received(team, rank, shape, dtype, z.device))
    # a writer takes the widest types first and otherwise keeps the order: the one in which each process sends
    ordered = dict(sorted(entries.items(), key=lambda item: (-item[1][1].itemsize, int(item[0].rpartition(".")[2]))))
    values = {
        "loop": loop.numbers(),
        "optimiser": numbers,
        "iteration": progress.iteration,
        "restarts": progress.restarts,
        "seconds": time.perf_counter() - progress.started,
        "processes": team.count,
    }
    return ordered, {**about, **values}


def restore(
    saved: tuple[dict[str, Tensor], dict[str, Any]],
    z: Tensor,
    loop: Loop,
    optimiser: Optimiser,
    progress: Progress,
    team: Team,
) -> None:
    """Put a saved state into z, in place, and into the others. Raises InputError where it is of other processes."""
    tensors, about = saved
    if about["processes"] != team.count:
        raise InputError(
            f"the checkpoint is of {about['processes']} processes, this run has {team.count}; they must agree\n"
            "start as many, or run without --resume"
        )
    mine = {n.rpartition(".")[0]: t for n, t in tensors.items() if n.rpartition(".")[2] == str(team.rank)}
    flat(z).copy_(mine.pop("z"))
    flat(loop.best).copy_(mine.pop("best"))
    loop.take(about["loop"])
    optimiser.load({n.removeprefix("optimiser."): t for n, t in mine.items()}, about["optimiser"], z)
    progress.iteration, progress.restarts = about["iteration"], about["restarts"]
    progress.started = time.perf_counter() - about["seconds"]


def row_of(step: Step) -> dict[str, Any]:
    """A step as plain values; floats survive JSON exactly."""
    values = [float(v) for v in step.values.tolist()]
    plain = {key: getattr(step, key) for key in ("iteration", "total", "scale", "scales", "seconds", "memory")}
    return {**plain, "size": list(step.size), "names": list(step.names), "values": values}


def step_of(row: Mapping[str, Any]) -> Step:
    """The step that gave this row."""
    values = torch.tensor(row["values"], dtype=torch.float64)
    return Step(**{**row, "size": tuple(row["size"]), "names": tuple(row["names"]), "values": values})


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    """The elements in order; the pages of a mapped tensor are given back piece by piece."""
    line = tensor.reshape(-1)
    step = max(1, PIECE // tensor.element_size())
    for start in range(0, max(1, line.numel()), step):
        yield line[start : start + step].contiguous()
        scratch.release(tensor)


def _received(team: Team, rank: int, shape: list[int], dtype: torch.dtype, device: torch.device) -> Iterator[Tensor]:
    count = int(torch.Size(shape).numel())
    step = max(1, PIECE // dtype.itemsize)
    for start in range(0, max(1, count), step):
        piece = torch.empty(min(step, count - start), dtype=dtype, device=device)
        team.swap([], [(rank, piece)])
        yield piece
