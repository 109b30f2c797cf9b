"""python -m nst_nd.app.looker: looks at one uploaded file, in a process that may take only so much and that may die.

Standard input is one object of JSON, see `looking`; standard output has one too: {"seen": {...}} or {"error": words}.
"""

from __future__ import annotations

import contextlib
import json
import re
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from nst_nd.errors import InputError, NstError
from nst_nd.io import load, outline
from nst_nd.sample import Sample


def answer(order: dict[str, Any]) -> dict[str, Any]:
    """What is asked for, or why it cannot be had."""
    _bounded(order["memory"], order["seconds"])
    try:
        return {"seen": _drawn(order) if order["views"] else _outlined(order)}
    except NstError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "looking at it takes more memory than is free for that"}


def _bounded(memory: int, seconds: int) -> None:
    """So many bytes on top of the program, where the system counts them; and so many seconds, app or no app."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _data() + memory
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    signal.alarm(seconds)


def _data() -> int:
    """Bytes that this process has taken so far and that its limit counts; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        found = re.search(r"^VmData:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0
    return 0


def _outlined(order: dict[str, Any]) -> dict[str, Any]:
    sample = _outline(order)
    return {"kind": sample.kind, "shape": sample.shape, "nc": sample.nc, "rate": sample.grid.rate}


def _drawn(order: dict[str, Any]) -> dict[str, Any]:
    from nst_nd.app import pictures

    if _outline(order).data.size > pictures.MOST_VALUES:
        raise InputError("it is too large to be shown here")
    window = None if order["window"] is None else (order["window"][0], order["window"][1])
    sample = load(order["path"], kind=order["kind"], rate=order["rate"])
    pictures.put(pictures.view_of(sample, window), Path(order["views"]), "view")
    return {}


def _outline(order: dict[str, Any]) -> Sample:
    return outline(order["path"], kind=order["kind"], rate=order["rate"])


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
