"""Steps as a bar on a terminal, as a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nst_nd.engine.optimise import LOOK_EVERY, Step

_SECONDS = 10.0
_LINES = 10


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[Step], None] | None]:
    """What to call with every step while the block runs; None with quiet."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar() as on_step:
            yield on_step
    else:
        yield _Lines()


class _Loss:
    """The loss in words. On an accelerator reading it waits for the device, so it is read now and then."""

    def __init__(self) -> None:
        self.words = ""

    def read(self, step: Step) -> str:
        if step.values.device.type == "cpu" or step.iteration % LOOK_EVERY == 0 or not self.words:
            self.words = f"{step.loss:.4g}"
        return self.words


class _Lines:
    """A line every tenth of the way, or ten seconds after the last one."""

    def __init__(self) -> None:
        self.loss = _Loss()
        self.tenth = 0
        self.last = time.perf_counter()

    def __call__(self, step: Step) -> None:
        tenth = step.iteration * _LINES // step.total
        now = time.perf_counter()
        if tenth == self.tenth and now - self.last < _SECONDS:
            return
        self.tenth, self.last = tenth, now
        line = f"iteration {step.iteration}/{step.total}  {_scale(step)}  loss {self.loss.read(step)}"
        print(f"{line}  {step.seconds:.1f} s", file=sys.stderr, flush=True)


@contextmanager
def _bar() -> Iterator[Callable[[Step], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    loss = _Loss()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("preparing", total=None, loss="-")

        def on_step(step: Step) -> None:
            words = _scale(step)
            bar.update(task, completed=step.iteration, total=step.total, description=words, loss=loss.read(step))

        yield on_step


def _scale(step: Step) -> str:
    return f"scale {step.scale + 1}/{step.scales} ({'x'.join(str(n) for n in step.size)})"
