"""`status`: how far a batch is; in a terminal a table that goes on until nothing is at work."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nst_nd.cli import options as o
from nst_nd.errors import ExitStatus

if TYPE_CHECKING:
    from rich.console import Group

    from nst_nd.batch.records import Record

# jobs of a state that are shown at once
MOST_SHOWN = 20
# seconds from one look to the next
EVERY = 1.0


@dataclass(frozen=True)
class Snapshot:
    """Of a batch. live: somebody is at work. counts: jobs by state. not_taken_in: records outside the manifest."""

    live: bool
    counts: dict[str, int]
    running: list[Record]
    failed: list[Record]
    not_taken_in: int


def look(folder: Path, most_failed: int) -> Snapshot:
    """Manifest and records as they are now; nothing is changed. Raises InputError where it is not a batch's folder."""
    from nst_nd.batch.lock import at_work
    from nst_nd.batch.manifest import Part, counted, listed
    from nst_nd.batch.records import HOME, STATES, left

    home = folder / HOME
    counts = dict.fromkeys(STATES, 0) | counted(home)
    more = {record.name: record for record in left(home)}
    failed = [r for r in listed(home, ("failed",), most_failed) if r.name not in more]
    failed += [record for record in more.values() if record.state == "failed"]
    for record in more.values():
        before = Part(home).get(record.name, left=False)
        if before is not None:
            counts[before.state] -= 1
        counts[record.state] += 1
    running = [r for r in listed(home, ("running",), MOST_SHOWN) if r.name not in more]
    running += [r for r in more.values() if r.state == "running"]
    return Snapshot(at_work(folder), counts, running, failed, len(more))


def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="The folder of a batch.")],
    failed: Annotated[bool, typer.Option("--failed", help="List every job that failed, with its error.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Look once, also in a terminal.")] = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """How far a batch is: jobs done, at work, failed, and why.

    In a terminal the table is kept up to date until nothing is at work;
    Ctrl-C ends it, and not the batch.

    \b
    nst-nd status cohort/
    nst-nd status cohort/ --once
    nst-nd status cohort/ --failed --json
    """
    del debug
    most = 1_000_000 if failed else MOST_SHOWN
    seen = look(folder, most)
    if as_json:
        about = {"running": seen.live, "counts": seen.counts, "not_taken_in": seen.not_taken_in}
        jobs = [{**asdict(record), "seconds": record.seconds} for record in [*seen.running, *seen.failed]]
        print(json.dumps({**about, "jobs": jobs}))
    elif seen.live and sys.stdout.isatty() and not once:
        _follow(folder, seen, most)
    else:
        print("\n".join(_lines(folder, seen)))
    return ExitStatus.DONE


def _lines(folder: Path, seen: Snapshot) -> list[str]:
    words = ", ".join(f"{number} {state}" for state, number in seen.counts.items() if number)
    lines = [f"{folder}: {words or 'no job yet'}" + ("" if seen.live else "; nothing is at work")]
    if seen.live:
        lines += [f"  running  {r.name}  on {r.host}, attempt {r.attempts}{_since(r)}" for r in seen.running]
    lines += [f"  failed   {r.name}: {_first(r)}" for r in seen.failed]
    if seen.counts["failed"] > len(seen.failed):
        lines.append(f"  (and {seen.counts['failed'] - len(seen.failed)} more; --failed lists them)")
    return lines


def _follow(folder: Path, seen: Snapshot, most: int) -> None:
    from rich.live import Live

    with Live(_table(folder, seen), auto_refresh=False) as live:
        try:
            while seen.live:
                time.sleep(EVERY)
                seen = look(folder, most)
                live.update(_table(folder, seen), refresh=True)
        except KeyboardInterrupt:
            return


def _table(folder: Path, seen: Snapshot) -> Group:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    total = sum(seen.counts.values())
    table = Table("job", "state", "host", "attempt", "for", box=None, padding=(0, 2, 0, 0))
    for record in seen.running if seen.live else ():
        # Text: names are data, not markup
        table.add_row(Text(record.name), "running", Text(record.host), str(record.attempts), _since(record)[2:])
    for record in seen.failed:
        table.add_row(Text(record.name), "failed", Text(record.host), str(record.attempts), Text(_first(record)))
    bar = ProgressBar(total=max(1, total), completed=seen.counts["done"], width=40)
    return Group(Text(_lines(folder, seen)[0]), bar, table)


def _since(record: Record) -> str:
    if record.started is None:
        return ""
    seconds = max(0, int(time.time() - record.started))
    return f", {seconds // 60}:{seconds % 60:02}"


def _first(record: Record) -> str:
    return (record.error.splitlines() or [""])[0]
