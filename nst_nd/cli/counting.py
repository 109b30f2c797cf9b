"""How many of a number of things are done: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nst_nd.report.text import visible

# (done, of all, the current one)
Told = Callable[[int, int, str], None]
_SECONDS = 10.0


@contextmanager
def counting(what: str, *, quiet: bool) -> Iterator[Told]:
    """What to call with every thing that is begun, and once more at the end, while the block runs."""
    if quiet:
        yield lambda *_: None
    elif sys.stderr.isatty():
        with _bar(what) as told:
            yield told
    else:
        yield _Lines(what)


class _Lines:
    """A line for the first and the last thing, and ten seconds after the last one."""

    def __init__(self, what: str) -> None:
        self.what, self.last = what, 0.0

    def __call__(self, done: int, total: int, words: str) -> None:
        now = time.perf_counter()
        if done < total and now - self.last < _SECONDS:
            return
        self.last = now
        print(f"{self.what} {done}/{total}  {visible(words)}".rstrip(), file=sys.stderr, flush=True)


@contextmanager
def _bar(what: str) -> Iterator[Told]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def told(done: int, total: int, words: str) -> None:
            bar.update(task, completed=done, total=total, description=escape(visible(words)))

        yield told
