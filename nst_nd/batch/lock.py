"""One run of a batch at a time: a lock in its folder, which goes with the process that has it."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nst_nd.batch.records import HOME
from nst_nd.errors import OutputError


@contextmanager
def locked(folder: Path, name: str = "lock", wait: float = 1.0, *, shared: bool = False) -> Iterator[Path]:
    """`.nst-nd` of a batch's folder, made if need be, for this process alone.

    name: of the lock; parts have one each. wait: seconds. shared: others may share it, but none have it alone.
    Raises OutputError where another process has it.
    """
    home = folder / HOME
    try:
        home.mkdir(parents=True, exist_ok=True)
        file = (home / name).open("a")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    with file:
        until = time.monotonic() + wait
        while not _taken(file, shared=shared):
            if time.monotonic() >= until:
                raise OutputError(f"{folder}: another run of this batch is at work; wait for it, or stop it")
            time.sleep(0.05)
        yield home


def _taken(file: IO[str], *, shared: bool = False) -> bool:
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def at_work(folder: Path, name: str = "lock*") -> bool:
    """Whether a run of the batch in this folder is going on, on this machine or one that shares its locks.

    name: of a lock, or a pattern.
    """
    for path in (folder / HOME).glob(name):
        with path.open("r") as file:
            if not _taken(file, shared=True):
                return True
    return False
