"""Moments of styles on disk: a style that was looked at once need not be looked at again by the next process.

A file per style, network and way of working, named by the sha256 of all that its bits depend on: the package's own
code, torch, the machine's instruction set and threads, the network, the plan, the signal and its mask. What is read
is thus what would have been computed, to the last bit. Off unless `keep_targets` is called, as the command line does.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nst_nd.features.statistics import Moments

# names the folder; empty: nothing is kept
VARIABLE = "NST_ND_CACHE"
SUFFIX = ".targets.safetensors"
# of all files together; the ones that were not used for longest go
MOST_BYTES = 256 * 2**20
# seconds after which nobody is writing any more
STALE = 3600.0
_folder: Path | None = None


def keep_targets() -> None:
    """From now on, this process keeps the moments of its styles in `cache_folder`, and looks there first."""
    global _folder  # of the process
    _folder = cache_folder()


def cache_folder() -> Path | None:
    """Where they are: NST_ND_CACHE, or nst_nd in the user's cache; None where that is empty, or there is none."""
    given, base = os.environ.get(VARIABLE), os.environ.get("XDG_CACHE_HOME")
    if given is not None:
        return Path(given) if given else None
    if base:
        return Path(base) / "nst_nd"
    try:
        return Path.home() / ".cache" / "nst_nd"
    except RuntimeError:  # a user without a home
        return None


def kept_moments(
    key: tuple[Any, ...],
    signals: tuple[Tensor | None, ...],
    device: torch.device,
    make: Callable[[], dict[str, Moments]],
) -> dict[str, Moments]:
    """Moments by tap for this key and the digests of these signals: those on disk, else those that `make` gives.

    A file that cannot be read is made again, and one that cannot be written is left out: a cache must not end a run.
    """
    if _folder is None:
        return make()
    words = (_surroundings(), str(device), _name_of(device), torch.get_num_threads(), key, *map(digest, signals))
    path = _folder / (hashlib.sha256(repr(words).encode()).hexdigest() + SUFFIX)
    found = _read(path, device)
    if found is None:
        found = make()
        _write(path, found)
    return found


def digest(x: Tensor | None) -> str:
    """Of a tensor's values, shape and dtype."""
    if x is None:
        return ""
    values = x.detach().cpu().contiguous().numpy()
    found = hashlib.sha256(repr((values.shape, values.dtype)).encode())
    found.update(values.data)
    return found.hexdigest()


def size_of(folder: Path) -> tuple[int, int]:
    """Number of files that are kept there, and their bytes."""
    sizes = [info.st_size for _, info in _files(folder)]
    return len(sizes), sum(sizes)


@cache
def _surroundings() -> tuple[str, ...]:
    """What all bits depend on: the code of this package, torch, and the processor."""
    code = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        code.update(file.read_bytes())
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith("flags")), platform.machine())
    return code.hexdigest(), torch.__version__, torch.backends.cpu.get_cpu_capability(), flags


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def _read(path: Path, device: torch.device) -> dict[str, Moments] | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = load_file(path)
        with suppress(OSError):  # a folder of somebody else's
            os.utime(path)
        by_tap: dict[str, dict[str, Tensor]] = {}
        for name, value in stored.items():
            tap, _, part = name.rpartition("/")
            by_tap.setdefault(tap, {})[part] = value.to(device)
        return {
            tap: Moments(parts["count"], parts.get("sum"), parts["outer"], parts.get("pivot"))
            for tap, parts in by_tap.items()
        }
    except (OSError, SafetensorError, KeyError):
        return None


def _write(path: Path, moments: dict[str, Moments]) -> None:
    from safetensors.torch import save

    parts = {
        f"{tap}/{name}": value.detach().cpu().contiguous().clone()
        for tap, m in moments.items()
        for name in ("count", "sum", "outer", "pivot")
        if (value := getattr(m, name)) is not None
    }
    partial: Path | None = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=".part", dir=path.parent)
        partial = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(save(parts))
        partial.replace(path)
        partial = None
        _prune(path.parent)
    except OSError:
        pass  # a full disk, a folder that may not be written to
    finally:
        if partial is not None:
            with suppress(OSError):
                partial.unlink()


def _prune(folder: Path) -> None:
    """The latest files stay, MOST_BYTES of them at most."""
    total, now = 0, time.time()
    for file in folder.glob("*.part"):
        with suppress(OSError):  # of a process that was killed
            if file.stat().st_mtime < now - STALE:
                file.unlink()
    for file, info in sorted(_files(folder), key=lambda pair: -pair[1].st_mtime_ns):
        total += info.st_size
        if total > MOST_BYTES:
            with suppress(OSError):
                file.unlink()


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    found = []
    for file in folder.glob(f"*{SUFFIX}"):
        with suppress(OSError):  # another process may have taken it away
            found.append((file, file.stat()))
    return found
