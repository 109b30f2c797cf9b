"""Joining the processes that torchrun started for one job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch

from nst_nd.engine.team import ALONE, Team
from nst_nd.errors import ComputationError, ConfigError

# the slowest single step that one process may wait for another
PATIENCE = timedelta(hours=2)


@contextmanager
def joined(device: str = "auto") -> Iterator[Team]:
    """The team of this process while the block runs: ALONE unless torchrun says otherwise by WORLD_SIZE.

    NCCL where the work is on GPUs (one for each process), gloo elsewhere.
    Raises ConfigError where there are fewer GPUs, ComputationError where the others cannot be reached.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if count == 1:
        yield ALONE
        return
    on_gpus = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if on_gpus:
        check_gpus(int(os.environ.get("LOCAL_WORLD_SIZE", str(count))), device)
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        torch.distributed.init_process_group("nccl" if on_gpus else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise ComputationError(
            f"process {rank} of {count} could not join the others: {str(error).splitlines()[0]}\n"
            "start them with torchrun --nproc-per-node N -m nst_nd ..."
        ) from error
    try:
        yield Team(rank, count)
    finally:
        torch.distributed.destroy_process_group()


def check_gpus(count: int, device: str) -> None:
    """ConfigError where so many processes cannot have a GPU each on this machine."""
    there = torch.cuda.device_count()
    if count > 1 and ":" in device:
        raise ConfigError(f"device: got {device} for {count} processes; allowed: cuda, of which each takes its own")
    if count > there:
        raise ConfigError(f"{count} processes on this machine, which has {there} GPUs; allowed: one for each GPU")
