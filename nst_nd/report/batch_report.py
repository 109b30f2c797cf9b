"""The report of a batch: every job in a table, failures first, those unlike the others marked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nst_nd.batch.manifest import listed
from nst_nd.batch.records import HOME, STATES, Record, State, left
from nst_nd.errors import NstError
from nst_nd.report import page
from nst_nd.report.job_report import Written, report_of
from nst_nd.report.judgement import base_of, explanations
from nst_nd.report.outliers import FAR, FEWEST, far
from nst_nd.report.record import Sidecar, number, read_sidecar
from nst_nd.report.text import visible
from nst_nd.report.thumbnails import has_sidecar, inside, thumbnail_of

FILE = "report.html"
MOST_JOBS = 200_000
# of all thumbnails of a page together, as they are stored
THUMBNAIL_BYTES = 8_000_000
# failed jobs first; done ones last
_ORDER: tuple[State, ...] = ("failed", "interrupted", "running", "pending", "done")
LOSS = "final loss"
# colours of verdicts
_CHIPS: Mapping[State, str] = {
    "failed": "bad",
    "interrupted": "fair",
    "running": "fact",
    "pending": "fact",
    "done": "good",
}
# metrics that are shown at first, and which of them where nothing else speaks for any
MOST_COLUMNS = 5
_USUAL = ("style_distance_after", "gradient_correlation", "change_rms")
_DIGITS = 5


@dataclass
class _Job:
    """One row. values: final loss and metrics by name, NaN left out. far: scores of those that are marked.

    output, sidecar (without its steps): None where there is nothing to be seen or compared.
    """

    record: Record
    output: Path | None
    sidecar: Sidecar | None
    link: str
    values: dict[str, float] = field(default_factory=dict)
    far: dict[str, float] = field(default_factory=dict)
    thumbnail: str = ""

    @property
    def marks(self) -> int:
        return len(self.far) + len(self.record.warnings)


def batch_report(
    folder: Path,
    path: Path,
    *,
    thumbnails: bool = True,
    overwrite: bool = False,
    on_job: Callable[[int, int, str], None] | None = None,
) -> Written:
    """Write the report of the batch in `folder` to `path`; links to reports of jobs work where it lies in that folder.

    on_job: told how many of how many are done, and of what: "jobs" looked at, then "pictures" made.
    Raises InputError where `folder` is not a batch's.
    """
    found = records_of(folder)
    beside = path.resolve().parent == folder.resolve()
    jobs = []
    for done, record in enumerate(found, 1):
        jobs.append(_job(folder, record, linked=beside))
        if on_job is not None:
            on_job(done, len(found), "jobs")
    _mark(jobs)
    jobs.sort(key=lambda job: (_ORDER.index(job.record.state), -job.marks, job.record.name))
    said = _add_thumbnails(jobs, on_job) if thumbnails else ""
    counts = Counter(record.state for record in found)
    columns = _columns(jobs)
    shown = _first_columns(jobs, columns)
    html = page.render(
        "batch.html",
        ("theme.js", "table.js"),
        name=folder.resolve().name,
        total=len(jobs),
        counts=[(state, _CHIPS[state], counts[state]) for state in _ORDER if counts[state]],
        marked=sum(bool(job.far) for job in jobs),
        warned=sum(bool(job.record.warnings) for job in jobs),
        far=FAR,
        fewest=FEWEST,
        table=_table(jobs, columns, shown),
        linked=sum(bool(job.link) for job in jobs),
        said=said,
    )
    return Written(path, page.write(html, path, overwrite=overwrite), (said,) if said else ())


def records_of(folder: Path) -> list[Record]:
    """What became of every job, records that nobody has taken in yet included. Raises InputError as `listed` does."""
    home = folder / HOME
    known = {record.name: record for record in listed(home, STATES, MOST_JOBS)}
    return list((known | {record.name: record for record in left(home)}).values())


def _job(folder: Path, record: Record, *, linked: bool) -> _Job:
    output = inside(folder, record.name)
    sidecar, link = None, ""
    if output is not None and record.state == "done" and has_sidecar(output):
        try:
            sidecar = read_sidecar(output)
        except NstError:
            sidecar = None
        if linked and report_of(output).is_file():
            link = "./" + quote(f"{record.name}{report_of(Path('x')).name[1:]}")
    if sidecar is None and record.state == "done":
        lacks = "its sidecar is missing or cannot be read: it is compared with nothing"
        record = replace(record, warnings=(*record.warnings, lacks))
    values = {} if sidecar is None else {LOSS: sidecar.steps.loss}
    values |= {name: number(value) for name, value in record.metrics.items()}
    values = {name: value for name, value in values.items() if not math.isnan(value)}
    return _Job(record, output, None if sidecar is None else sidecar.without_steps(), link, values)


def _add_thumbnails(jobs: Sequence[_Job], on_job: Callable[[int, int, str], None] | None) -> str:
    """To jobs in this order, as many as THUMBNAIL_BYTES hold; words where they are not all.

    One result is in memory at a time.
    """
    seen = [job for job in jobs if job.sidecar is not None]
    size = 0
    for done, job in enumerate(seen):
        assert job.output is not None
        assert job.sidecar is not None
        small = thumbnail_of(job.output, job.sidecar)
        size += len(small)
        if size > THUMBNAIL_BYTES:
            most = f"{THUMBNAIL_BYTES / 1e6:g} MB"
            return f"only the first {done} of {len(seen)} results have a picture: pictures together take {most} at most"
        job.thumbnail = small
        if on_job is not None:
            on_job(done + 1, len(seen), "pictures")
    return ""


def _mark(jobs: Sequence[_Job]) -> None:
    """Compare what is alike: jobs of one kind and preset."""
    groups: dict[tuple[str, str], list[_Job]] = {}
    for job in jobs:
        if job.record.state == "done":
            own = job.sidecar
            groups.setdefault(("", "") if own is None else (own.kind, own.preset), []).append(job)
    for group in groups.values():
        for name in {name: None for job in group for name in job.values}:
            values = {str(i): job.values.get(name, math.nan) for i, job in enumerate(group)}
            for i, z in far(values).items():
                group[int(i)].far[name] = z


def _columns(jobs: Sequence[_Job]) -> list[str]:
    return list({name: None for job in jobs for name in job.values})


def _first_columns(jobs: Sequence[_Job], columns: Sequence[str]) -> list[str]:
    """The final loss, what has outliers or warnings, and a few that always say something."""
    marks = Counter(name for job in jobs for name in job.far)
    warned = Counter(warning.split(" ", 1)[0] for job in jobs for warning in job.record.warnings)
    often = [name for name, _ in (warned + marks).most_common()]
    wanted = [name for name in dict.fromkeys([LOSS, *often, *_USUAL]) if name in columns]
    return [name for name in columns if name in wanted[:MOST_COLUMNS]]


def _table(jobs: Sequence[_Job], columns: Sequence[str], shown: Sequence[str]) -> dict[str, Any]:
    """What the page makes rows of: numbers in the order of the columns."""
    known = explanations()
    heads = [
        {
            "name": visible(name),
            "shown": name in shown,
            "means": _means(name, known),
            "unit": visible(str(known.get(base_of(name), {}).get("unit", ""))),
        }
        for name in columns
    ]
    return {"columns": heads, "rows": [_row(job, columns) for job in jobs]}


def _means(name: str, known: Mapping[str, Mapping[str, Any]]) -> str:
    if name == LOSS:
        return "The sum of all weighted terms at the last step."
    return str(known.get(base_of(name), {}).get("means", ""))


def _row(job: _Job, columns: Sequence[str]) -> dict[str, Any]:
    record = job.record
    return {
        "name": visible(record.name),
        "state": record.state,
        "error": visible(record.error),
        "warnings": [visible(warning) for warning in record.warnings],
        "seconds": _seconds(record.seconds),
        "memory": record.peak_memory,
        "attempts": record.attempts,
        "picture": job.thumbnail,
        "link": job.link,
        "values": [_short(job.values.get(name)) for name in columns],
        "far": {str(columns.index(name)): round(z, 1) for name, z in job.far.items()},
    }


def _seconds(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 2)


def _short(value: float | None) -> float | str | None:
    """JSON has no word for what is infinite, as the largest floats are once they are rounded."""
    if value is None:
        return None
    rounded = float(f"{value:.{_DIGITS}g}")
    return rounded if math.isfinite(rounded) else str(rounded)
