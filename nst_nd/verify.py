"""verify: the gradient of the user's own data, untiled, in tiles and in several processes, and how far they differ."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nst_nd.domains.domain import Style
from nst_nd.domains.stylize import prepared_transfer
from nst_nd.domains.transfer import Transfer
from nst_nd.engine.memory import free_memory
from nst_nd.engine.team import ALONE, Team
from nst_nd.errors import ComputationError, InputError
from nst_nd.io import load
from nst_nd.sample import Sample

# float32 rounding of sums in another order
TOLERANCE = 1e-5
# where a worker that the command starts leaves its gradient
WORKER = "NST_ND_VERIFY_WORKER"
# the untiled evaluation may take so much of what is free
SHARE = 0.5
FEWEST = 16


@dataclass(frozen=True)
class Finding:
    """One comparison with the untiled gradient. how: in words. error: relative, || a - b || / || b ||."""

    how: str
    error: float

    @property
    def fine(self) -> bool:
        """Whether it is rounding."""
        return self.error <= TOLERANCE


def verify(
    content: str, style: str, settings: Mapping[str, Any], edge: int, processes: int, command: Sequence[str]
) -> tuple[tuple[int, ...], list[Finding], list[str]]:
    """The size that was looked at, the findings, and notes.

    A content whose untiled evaluation would not fit into half of what is free is cut to its middle, said in a note.
    Everything is done in float32, whatever precision the settings name.
    command: arguments that start this very command again, for the processes.
    Raises InputError, ConfigError, ComputationError (a process that failed).
    """
    whole, other = load(content), load(style)
    notes: list[str] = []
    sample = _fitting(whole, other, settings, notes)
    untiled = _transfer(sample, other, settings, ALONE).gradient(None)[1]
    tiled = _transfer(sample, other, settings, ALONE).gradient(edge)
    length = "x".join(str(n) for n in tiled[2].tiling.signal or ())
    findings = [Finding(f"tiles of {length}", _relative(tiled[1], untiled))]
    if processes > 1:
        shared = _in_processes(processes, sample, command)
        findings.append(Finding(f"{processes} processes, tiles of {length}", _relative(shared, untiled)))
    return sample.shape, findings, notes


def work(content: str, style: str, settings: Mapping[str, Any], edge: int, team: Team) -> None:
    """The part of one of the processes that `verify` starts: the same gradient on its slab; the first one saves it."""
    folder = Path(os.environ[WORKER])
    shape = tuple(int(n) for n in (folder / "shape").read_text().split())
    sample = _middle(load(content), shape)
    grad = _transfer(sample, load(style), settings, team).gradient(edge)[1]
    if team.rank == 0:
        np.save(folder / "gradient.npy", grad.cpu().numpy())


def _transfer(content: Sample, style: Sample, settings: Mapping[str, Any], team: Team) -> Transfer:
    # what other precisions lose would hide it: see benchmarks/precision.py
    return prepared_transfer(content, [Style(style)], {**settings, "precision": "float32"}, team)


def _fitting(content: Sample, style: Sample, settings: Mapping[str, Any], notes: list[str]) -> Sample:
    from nst_nd.engine.plan import tiled_plan

    available = SHARE * free_memory()
    sample = content
    while True:
        transfer = _transfer(sample, style, settings, ALONE)
        demand = transfer.demand()
        if tiled_plan(demand, None).predicted <= available:
            if sample is not content:
                size = "x".join(map(str, sample.shape))
                notes.append(f"the untiled gradient of all of it does not fit: the middle {size} is looked at")
            return sample
        shape = tuple(max(min(n, FEWEST), n * 3 // 4) for n in sample.shape)
        if shape == sample.shape:
            raise InputError("even a small part of this content does not fit into memory untiled")
        sample = _middle(content, shape)


def _middle(sample: Sample, shape: Sequence[int]) -> Sample:
    inside = tuple(slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(sample.shape, shape, strict=True))
    return sample.replace(data=np.ascontiguousarray(sample.data[(slice(None), *inside)]))


def _in_processes(count: int, sample: Sample, command: Sequence[str]) -> Tensor:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shape").write_text(" ".join(map(str, sample.shape)))
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        environment = {**os.environ, WORKER: name}
        done = subprocess.run(
            [*start, "-m", "nst_nd", *command], env=environment, capture_output=True, text=True, check=False
        )
        file = folder / "gradient.npy"
        if done.returncode or not file.is_file():
            said = [line for line in done.stderr.splitlines() if line.startswith("error:")] or done.stderr.splitlines()
            raise ComputationError(f"the {count} processes failed: {said[0][:300] if said else done.returncode}")
        return torch.from_numpy(np.load(file, allow_pickle=False))


def _relative(a: Tensor, b: Tensor) -> float:
    a, b = a.cpu().double(), b.cpu().double()
    return float((a - b).norm() / b.norm())
