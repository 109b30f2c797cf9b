"""The manifest of a batch: a table of what became of each job, in `.nst-nd/manifest.sqlite`.

The coordinator alone writes to it, under a lock; everybody else leaves records (see records.py), which it takes in. The
journal is SQLite's ordinary one, since the other kind (WAL) does not work across a network file system.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from nst_nd.batch import records
from nst_nd.batch.records import Record
from nst_nd.errors import ComputationError, InputError, OutputError

FILE = "manifest.sqlite"
VERSION = 1
_PLAIN = ("name", "state", "request", "attempts", "host", "started", "ended", "peak_memory", "error", "exit_status")
_JSON = ("metrics", "warnings", "output")
_COLUMNS = (*_PLAIN, *_JSON)
_TABLES = (
    "CREATE TABLE IF NOT EXISTS jobs (name TEXT PRIMARY KEY, state TEXT NOT NULL, request TEXT, attempts INTEGER,"
    " host TEXT, started REAL, ended REAL, peak_memory INTEGER, error TEXT, exit_status INTEGER, metrics TEXT,"
    " warnings TEXT, output TEXT)",
    "CREATE INDEX IF NOT EXISTS by_state ON jobs (state)",
    # digests of inputs, by the digest of where they lie (a path may name a patient): hashed once for all jobs and runs
    "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, signature TEXT NOT NULL, sha256 TEXT NOT NULL)",
)
_PUT = f"INSERT OR REPLACE INTO jobs ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"


class Manifest:
    """Open for writing, by one process at a time; see `opened`."""

    def __init__(self, connection: sqlite3.Connection, home: Path) -> None:
        self.connection, self.home = connection, home

    def get(self, name: str) -> Record | None:
        """What became of a job; None where nothing is known of it."""
        row = self.connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM jobs WHERE name = ?", (name,)).fetchone()
        return None if row is None else _record(row)

    def put(self, found: Iterable[Record]) -> None:
        """All of these or none, on disk when it returns; records that lie there of these jobs are removed."""
        found = list(found)
        self._write(_PUT, [_row(record) for record in found])
        for record in found:
            records.forget(record.name, self.home)

    def take_in(self) -> list[Record]:
        """The records that lie there; they are removed once they are in."""
        found = records.take(self.home)
        self._write(_PUT, [_row(record) for _, record in found])
        for path, _ in found:
            path.unlink(missing_ok=True)
        return [record for _, record in found]

    def keep_only(self, names: Iterable[str]) -> None:
        """Forget of all other jobs what failed or was not begun: nobody asks for them any more.

        What was begun is remembered, since it may have left an output without its sidecar.
        """
        self._write("CREATE TEMP TABLE IF NOT EXISTS asked (name TEXT PRIMARY KEY)", [()])
        self._write("INSERT OR IGNORE INTO asked VALUES (?)", [(name,) for name in names])
        others = "name NOT IN (SELECT name FROM asked)"
        self._write(f"DELETE FROM jobs WHERE state IN ('pending', 'failed') AND {others}", [()])
        self._write("DROP TABLE asked", [()])

    def ended(self, name: str) -> Record | None:
        """What its worker left of a job; None where it left nothing."""
        self.take_in()
        found = self.get(name)
        return None if found is None or found.state in ("pending", "running") else found

    def digest(self, path: Path, signature: str) -> str | None:
        """The sha256 of a file that has not changed since."""
        row = self.connection.execute(
            "SELECT sha256 FROM files WHERE path = ? AND signature = ?", (_place(path), signature)
        ).fetchone()
        return None if row is None else str(row[0])

    def put_digests(self, found: Mapping[tuple[Path, str], str]) -> None:
        """By path and signature."""
        rows = [(_place(path), signature, digest) for (path, signature), digest in found.items()]
        self._write("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)

    def _write(self, query: str, rows: list[tuple[Any, ...]]) -> None:
        try:
            with self.connection:
                self.connection.executemany(query, rows)
        except sqlite3.DatabaseError as error:
            raise _explained(error, self.home / FILE) from error


class Part:
    """What a part of a batch, one of several at work on the same folder, has in place of the manifest.

    It reads the manifest and leaves records, which whoever has the lock takes in; see `merged`.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def get(self, name: str, *, left: bool = True) -> Record | None:
        """See Manifest. left: or what a record says that nobody has taken in yet."""
        found = records.one(name, self.home) if left else None
        if found is not None:
            return found
        query = f"SELECT {', '.join(_COLUMNS)} FROM jobs WHERE name = ?"
        return next((_record(row) for row in _read(self.home, query, (name,))), None)

    def put(self, found: Iterable[Record]) -> None:
        """See Manifest; each by itself."""
        for record in found:
            records.leave(record, self.home)

    def take_in(self) -> list[Record]:
        """Nothing: the lock is needed for it."""
        return []

    def ended(self, name: str) -> Record | None:
        """See Manifest."""
        found = self.get(name)
        return None if found is None or found.state in ("pending", "running") else found

    def digest(self, path: Path, signature: str) -> str | None:
        """See Manifest."""
        query = "SELECT sha256 FROM files WHERE path = ? AND signature = ?"
        return next((str(row[0]) for row in _read(self.home, query, (_place(path), signature))), None)

    def put_digests(self, found: Mapping[tuple[Path, str], str]) -> None:
        """Nowhere: the next run of the whole batch finds them out."""


Ledger: TypeAlias = Manifest | Part


@contextmanager
def opened(home: Path) -> Iterator[Manifest]:
    """The manifest below `home`, made if need be.

    Raises InputError where it is damaged or of another version, OutputError where it cannot be written, and
    ComputationError on a full disk.
    """
    path = home / FILE
    try:
        connection = sqlite3.connect(path, timeout=30.0)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            _make(connection, path)
            yield Manifest(connection, home)
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise _explained(error, path) from error


def counted(home: Path) -> dict[str, int]:
    """How many jobs there are in each state, without taking anything in."""
    return dict(_read(home, "SELECT state, COUNT(*) FROM jobs GROUP BY state"))


def listed(home: Path, states: tuple[str, ...], most: int) -> list[Record]:
    """Up to `most` jobs in one of these states, the latest first."""
    marks = ", ".join("?" * len(states))
    query = (
        f"SELECT {', '.join(_COLUMNS)} FROM jobs WHERE state IN ({marks})"
        " ORDER BY COALESCE(ended, started, 0) DESC, name LIMIT ?"
    )
    return [_record(row) for row in _read(home, query, (*states, most))]


def _read(home: Path, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
    path = home / FILE
    if not path.is_file():
        raise InputError(f"{home.parent}: is not the folder of a batch; `nst-nd run BATCH.yaml --out DIR` makes one")
    try:
        # not read-only: what a process killed at a commit left has to be rolled back before anything can be read
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=30.0)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise _explained(error, path) from error


def _make(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, VERSION):
        raise InputError(f"{path}: of version {version}, this program knows {VERSION}; use another folder")
    if version == 0:
        with connection:
            for table in _TABLES:
                connection.execute(table)
            connection.execute(f"PRAGMA user_version = {VERSION}")


def _explained(error: sqlite3.DatabaseError, path: Path) -> Exception:
    said = str(error)
    if "full" in said or "disk I/O error" in said:
        return ComputationError(f"{path}: disk full; what is done is kept. Make room and run again")
    if "not a database" in said or "malformed" in said:
        return InputError(f"{path}: damaged: {said}\nremove it and run again; results that fit are kept")
    if "readonly" in said or "read-only" in said:
        return OutputError(f"{path}: a killed run left it in the middle of a change; run the batch again to mend it")
    return OutputError(f"{path}: cannot be used: {said}")


def _place(path: Path) -> str:
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()


def _row(record: Record) -> tuple[Any, ...]:
    plain = tuple(getattr(record, name) for name in _PLAIN)
    return plain + tuple(json.dumps(getattr(record, name), allow_nan=False) for name in _JSON)


def _record(row: tuple[Any, ...]) -> Record:
    values = dict(zip(_COLUMNS, row, strict=True))
    return records.of_values({**values, **{name: json.loads(values[name]) for name in _JSON}})
