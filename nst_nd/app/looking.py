"""Uploaded files are decoded in a process of their own: one that is too much for it ends that, and not the app."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nst_nd.engine.memory import free_memory
from nst_nd.errors import InputError
from nst_nd.sample import Kind

LOOKER = "nst_nd.app.looker"
# seconds that a look may take; share of the memory that is free, and what it may take at least
PATIENCE, SHARE, LEAST = 120, 0.5, 2**28
# two large files at a time would share what is free
_TURN = threading.Lock()


@dataclass(frozen=True)
class Outline:
    """What a file says of itself. rate: Hz."""

    kind: Kind
    shape: tuple[int, ...]
    nc: int
    rate: float | None


def outlined(path: Path, kind: Kind | None, rate: float | None) -> Outline:
    """What is in a file; kind, rate: of one that does not say. Raises InputError where it cannot be used."""
    seen = _ask(path=path, kind=kind, rate=rate, views=None, window=None)
    return Outline(seen["kind"], tuple(seen["shape"]), seen["nc"], seen["rate"])


def drawn(path: Path, kind: Kind, rate: float | None, views: Path, window: tuple[float, float] | None) -> None:
    """Its picture, as view.png and view.json in the folder `views`. Raises InputError where that cannot be."""
    _ask(path=path, kind=kind, rate=rate, views=views, window=window)


def _ask(**order: Any) -> dict[str, Any]:
    with _TURN:
        limits = {"memory": max(LEAST, int(SHARE * free_memory())), "seconds": PATIENCE}
        try:
            ended = subprocess.run(
                [sys.executable, "-P", "-m", LOOKER],
                input=json.dumps({**order, **limits}, default=str),
                capture_output=True,
                text=True,
                start_new_session=True,  # Ctrl-C is the app's to answer
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise InputError(
                f"looking at it takes more than {PATIENCE} s; `nst-nd stylize` has no such limit"
            ) from None
        except OSError as error:
            raise InputError(f"no process could be started to look at it: {error.strerror or error}") from error
    try:
        said = json.loads(ended.stdout)
    except ValueError:
        last = (ended.stderr.strip().splitlines() or [""])[-1][:200]
        raise InputError(f"the process that looked at it ended with status {ended.returncode}: {last}") from None
    if "error" in said:
        raise InputError(said["error"])
    return dict(said["seen"])
