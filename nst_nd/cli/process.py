"""What the command line changes about its own process: the allocator and the signals."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# from glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_pages() -> None:
    """Let glibc keep freed memory for the next activation; other C libraries are left as they are.

    By default each tensor of some megabytes is mapped afresh and unmapped again at every step, and the kernel zeroes
    its pages anew: page faults take as long as the convolutions. Call it before torch is imported.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """While it runs, a first Ctrl-C or SIGTERM is remembered: the function given answers True from then on.

    A second one raises KeyboardInterrupt at once. Afterwards the handlers are those of before.
    """
    asked = False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        del number, frame
        if asked:
            raise KeyboardInterrupt
        asked = True
        if sys.stderr.isatty():
            print("\nstopping after this step; once more to stop at once", file=sys.stderr)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield lambda: asked
    finally:
        for number, old in zip(numbers, before, strict=True):
            signal.signal(number, old)
