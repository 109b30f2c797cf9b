"""What memory there is, what this process has taken of it, and sizes in words."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import sys
from pathlib import Path

import torch

from nst_nd.engine.team import Team
from nst_nd.errors import ConfigError

# of what is free, without a limit: the rest is for whatever else the machine does
SHARE_OF_FREE = 0.9
# from glibc's malloc.h
_M_MMAP_THRESHOLD, _M_MMAP_MAX = -3, -4
LARGE_BLOCK = 4 * 2**20
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt]?)(?:i?b)?", re.IGNORECASE)


def bytes_of(words: str) -> int:
    """4GiB, 800M, 2.5g or plain bytes; K, M, G and T are powers of 1024. Raises ValueError for anything else."""
    found = _SIZE.fullmatch(words.strip())
    size = int(float(found[1]) * _UNITS[found[2].lower()]) if found else 0
    if not size:
        raise ValueError(f"{words!r} is no size; write 4GiB, 800MiB or a number of bytes above 0")
    return size


def in_words(size: float) -> str:
    """2.50 GiB, 312 MiB."""
    return f"{size / 2**30:.2f} GiB" if abs(size) >= 2**30 else f"{size / 2**20:.0f} MiB"


def resident() -> int:
    """Bytes of memory of this process now, mapped pages included; 0 where the system does not say."""
    return _status("VmRSS")


def peak_resident() -> int:
    """The most that it has been; see resident."""
    high = _status("VmHWM")
    if high:
        return high
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, other systems kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_memory() -> int:
    """Bytes that this process may still take: what the machine has, or its control groups allow, whichever is less."""
    here = [*_machine(), *_groups()]
    return min(here) if here else 4 * 2**30


def forget_peak() -> None:
    """From now on peak_resident tells the most since now, on Linux; elsewhere the most since the process began."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def whole_memory() -> int:
    """Bytes that this machine has, or that its control groups allow; always the same, whatever else is at work."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", _text(Path("/proc/meminfo")), re.MULTILINE)
    machine = [int(found[1]) * 1024] if found else []
    limits = [_text(path / name).strip() for path, name in _group_limits()]
    return min([*machine, *(int(limit) for limit in limits if limit.isdigit())], default=4 * 2**30)


def free_on(device: torch.device) -> int:
    """Bytes that are free on an accelerator, or to this process on the machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_memory()


def room(limit: str | None, device: torch.device, team: Team) -> tuple[int, int]:
    """Bytes that may be taken on top of what this process has, the same for all processes; and what this one has.

    limit: max_memory, of the whole process (of the device, where that is not the CPU); None: what is free.
    """
    trim()
    before = resident()
    if limit is not None:
        found = bytes_of(limit) - (before if device.type == "cpu" else 0)
    else:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if device.type == "cpu" else 1
        found = int(SHARE_OF_FREE * free_on(device) / local)
    if team.count == 1:
        return found, before
    each = torch.zeros(team.count, dtype=torch.float64)
    each[team.rank] = found
    return int(team.total(each).min()), before


def check_room(need: int, what: str, limit: str | None, team: Team) -> str:
    """The plan of work on the CPU that takes `need` bytes at a time, in words; from now on within a limit, if any.

    Raises ConfigError where there are fewer.
    """
    available, had = room(limit, torch.device("cpu"), team)
    if need > available:
        raise ConfigError(
            f"{in_words(max(0, available))} of memory on top of the program are too little for {what}: "
            f"it takes {in_words(need)}\nallow more with max_memory"
        )
    if limit is not None:
        return_large_blocks()
    return (
        f"memory plan for {what}: piece by piece; predicted on top of the program {in_words(need)}; "
        f"the program itself has {in_words(had)}"
    )


def trim() -> None:
    """Give freed memory back to the system, which keep_pages asked the allocator to hold on to."""
    if sys.platform.startswith("linux"):
        malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if malloc_trim is not None:
            malloc_trim(0)


def return_large_blocks() -> None:
    """From now on, large blocks are mapped and go back to the system when they are freed.

    keep_pages has the heap keep everything, which is faster, but a heap grows to twice what tiles of changing sizes
    hold at once: not where memory is bounded.
    """
    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_MAX, 65536)
            mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on an accelerator or on the machine."""
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )


def _status(key: str) -> int:
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _machine() -> list[int]:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return []
    return [int(found[1]) * 1024] if found else []


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _groups() -> list[int]:
    """What every control group above this process leaves, version 2 or 1; file cache that it can drop is free."""
    return [size for folder, name in _group_limits() for size in _left(folder, name, _USED[name])]


def _group_limits() -> list[tuple[Path, str]]:
    """The folder of every control group above this process, and the file there that says its limit."""
    found = []
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = Path("/sys/fs/cgroup") if not controllers else Path("/sys/fs/cgroup/memory")
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            found.append((folder, name))
            if folder == root:
                break
    return found


# beside each limit, what is taken of it
_USED = {"memory.max": "memory.current", "memory.limit_in_bytes": "memory.usage_in_bytes"}


def _left(folder: Path, limit: str, used: str) -> list[int]:
    try:
        most, taken = (folder / limit).read_text().strip(), int((folder / used).read_text())
        found = re.search(r"^(?:total_)?inactive_file (\d+)", (folder / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return []
    cache = int(found[1]) if found else 0
    return [max(0, int(most) - taken + cache)] if most.isdigit() else []
