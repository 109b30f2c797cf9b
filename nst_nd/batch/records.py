"""What a worker leaves of a job: one JSON file each, complete or not there, until the manifest has taken it in.

No folder and nothing of a file's header gets into it: names of outputs, digests, numbers and messages.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nst_nd.errors import ExitStatus
from nst_nd.io.atomic import publishing

# below the folder of a batch
HOME = ".nst-nd"
State = Literal["pending", "running", "done", "failed", "interrupted"]
STATES: tuple[State, ...] = ("pending", "running", "done", "failed", "interrupted")


@dataclass(frozen=True)
class Record:
    """Of one job. name: its output below the folder of the batch.

    request: what was asked for, see checkpoint.request_of. attempts: how often it was started. started, ended: seconds
    since 1970. peak_memory: bytes, of its process. exit_status: what the job alone would have ended with. output:
    signatures of its files when it was done, see `signature`.
    """

    name: str
    state: State
    request: str = ""
    attempts: int = 0
    host: str = ""
    started: float | None = None
    ended: float | None = None
    peak_memory: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: str = ""
    exit_status: int = ExitStatus.DONE
    output: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """From start to end."""
        return None if self.started is None or self.ended is None else self.ended - self.started

    def begun(self) -> Record:
        """Started once more, here and now."""
        fresh = Record(self.name, "running", self.request, self.attempts + 1, platform.node(), time.time())
        return replace(fresh, host=fresh.host or "unknown")

    def failed(self, error: str, status: int) -> Record:
        """Ended now, without a result."""
        return replace(self, state="failed", ended=time.time(), error=error, exit_status=status)


def signature(path: Path) -> str:
    """Size, times and number of a file, which change with whatever is done to it; "" where there is none.

    A folder's is that of its files together.
    """
    try:
        if path.is_dir():
            inner = "\n".join(f"{file.name} {signature(file)}" for file in sorted(path.iterdir()))
            return hashlib.sha256(inner.encode()).hexdigest()
        stat = path.stat()
    except OSError:
        return ""
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"


def leave(record: Record, home: Path) -> None:
    """Write it to the folder of records below `home` (.nst-nd of a batch), in place of an earlier one of the job."""
    folder = home / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    with publishing(_path(record.name, home), overwrite=True) as private:
        private.write_text(json.dumps(asdict(record), allow_nan=False), encoding="utf-8")


def left(home: Path) -> Iterator[Record]:
    """Those that lie there. One that cannot be read is none: it was written by another version or by hand."""
    for path in (*sorted((home / "jobs").glob("*.taken")), *sorted((home / "jobs").glob("*.json"))):
        found = read(path)
        if found is not None:
            yield found


def take(home: Path) -> list[tuple[Path, Record]]:
    """Those that lie there, with the files to remove once they are safe elsewhere; what is left meanwhile stays.

    Files are renamed before they are read, so that a newer record of a job is never taken for the one that was read.
    """
    for path in (home / "jobs").glob("*.json"):
        older = path.with_suffix(".taken")
        if not older.exists():  # else of a process that was killed here; the newer one waits for the next time
            path.replace(older)
    found = ((path, read(path)) for path in sorted((home / "jobs").glob("*.taken")))
    return [(path, record) for path, record in found if record is not None]


def read(path: Path) -> Record | None:
    """That of a file; None where there is none, or one that cannot be read."""
    try:
        return of_values(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def one(name: str, home: Path) -> Record | None:
    """Of a job; None where there lies none."""
    path = _path(name, home)
    return read(path) or read(path.with_suffix(".taken"))


def of_values(values: Mapping[str, Any]) -> Record:
    """From what JSON holds of one. Raises TypeError or ValueError."""
    if values["state"] not in STATES:
        raise ValueError(f"state {values['state']!r}; allowed: {', '.join(STATES)}")
    return Record(**{**values, "warnings": tuple(values.get("warnings", ()))})


def forget(name: str, home: Path) -> None:
    """Remove the record of a job that the manifest has."""
    _path(name, home).unlink(missing_ok=True)


def sweep(home: Path) -> None:
    """Remove what killed processes left half-written in the folder of records."""
    for folder in (home / "jobs").glob(".*.part"):
        shutil.rmtree(folder, ignore_errors=True)


def _path(name: str, home: Path) -> Path:
    return home / "jobs" / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.json"
