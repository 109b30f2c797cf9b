"""How a batch tells of itself: a bar for the whole and one for each job at work, or lines; and events as JSON lines."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from nst_nd.errors import ExitStatus

if TYPE_CHECKING:
    from nst_nd.batch.coordinator import Tally
    from nst_nd.batch.records import Record

# below the home of a batch
LOG = "events.jsonl"
# seconds from one line to the next while inputs are hashed
LOOKED_EVERY = 10.0


class Told:
    """A listener of a run, and what it says at its end. home: where the log of events goes."""

    def __init__(self, home: Path, *, quiet: bool) -> None:
        self.log: TextIO = (home / LOG).open("a", encoding="utf-8", buffering=1)
        self.started = self.looked = time.monotonic()
        self.bars = _Bars() if not quiet and sys.stderr.isatty() else None
        self.lines = not quiet and self.bars is None

    def __enter__(self) -> Told:
        self.write(event="begin")
        if self.bars is not None:
            self.bars.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars is not None:
            self.bars.progress.stop()
        self.write(event="end" if error is None else "broken off")
        with contextlib.suppress(OSError):
            self.log.close()

    def on_look(self, number: int, tally: Tally) -> None:
        """See Listener."""
        if self.bars is not None:
            self.bars.on_look(number, tally)
        elif self.lines and time.monotonic() - self.looked > LOOKED_EVERY:
            self.looked = time.monotonic()
            print(f"[{number}/{tally.total}] looked at; inputs are hashed", file=sys.stderr)

    def on_job(self, record: Record, tally: Tally) -> None:
        """See Listener."""
        self.write(
            event=record.state,
            name=record.name,
            attempt=record.attempts,
            seconds=record.seconds,
            error=record.error,
            warnings=list(record.warnings),
        )
        if self.bars is not None:
            self.bars.on_job(record, tally)
        elif self.lines and record.state != "running":
            number = tally.total - tally.left
            took = "" if record.seconds is None else f"  {record.seconds:.1f} s"
            said = f": {record.error.splitlines()[0]}" if record.error else ""
            print(
                f"[{number}/{tally.total}] {record.state} {record.name}{took}{said}{self._rest(tally)}", file=sys.stderr
            )

    def on_step(self, name: str, iteration: int, total: int) -> None:
        """See Listener."""
        if self.bars is not None:
            self.bars.on_step(name, iteration, total)

    def write(self, **event: Any) -> None:
        """One line of the log; on a full disk there is none."""
        with contextlib.suppress(OSError):
            print(json.dumps({"time": round(time.time(), 3), **event}), file=self.log)

    def ended(self, tally: Tally, folder: Path, *, stopped: bool, as_json: bool, strict: bool) -> int:
        """The summary; the exit code."""
        about = {
            "folder": str(folder),
            "jobs": tally.total,
            "kept": tally.kept,
            "done": tally.done,
            "failed": tally.failed,
            "left": tally.left + tally.interrupted,
            "warned": tally.warned,
            "seconds": round(tally.seconds, 3),
        }
        if as_json:
            print(json.dumps(about))
        else:
            words = ", ".join(f"{about[key]} {key}" for key in ("kept", "done", "failed", "left") if about[key])
            print(f"{folder}: {tally.total} jobs: {words or 'nothing to do'}", file=sys.stderr)
        if stopped:
            return ExitStatus.INTERRUPTED
        if tally.failed:
            return ExitStatus.SOME_FAILED
        return ExitStatus.COMPUTATION if strict and tally.warned else ExitStatus.DONE

    def _rest(self, tally: Tally) -> str:
        made = tally.done + tally.failed
        if not tally.left or not made:
            return ""
        seconds = (time.monotonic() - self.started) / made * tally.left
        return f"  about {_span(seconds)} left"


class _Bars:
    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Left

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self.progress = Progress(*columns, TextColumn("left"), Left(), console=Console(stderr=True))
        self.whole: Any = None
        self.looking: Any = None
        self.jobs: dict[str, Any] = {}

    def on_look(self, number: int, tally: Tally) -> None:
        if self.looking is None:
            self.looking = self.progress.add_task("looking at inputs", total=tally.total)
        self.progress.update(self.looking, completed=number + 1, visible=number + 1 < tally.total)

    def on_job(self, record: Record, tally: Tally) -> None:
        if self.whole is None:
            self.whole = self.progress.add_task("batch", total=tally.total)
        self.progress.update(self.whole, completed=tally.total - tally.left, total=tally.total)
        if record.state == "running":
            self.jobs[record.name] = self.progress.add_task(_short(record.name), total=None)
            return
        task = self.jobs.pop(record.name, None)
        if task is not None:
            self.progress.remove_task(task)
        if record.state == "failed":
            self.progress.console.print(f"failed {record.name}: {record.error}", markup=False, highlight=False)

    def on_step(self, name: str, iteration: int, total: int) -> None:
        if name in self.jobs:
            self.progress.update(self.jobs[name], completed=iteration, total=total)


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"...{name[-37:]}"


def _span(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
