"""Files found again: those that a result was made of, by their names and sha256; results, by their sidecars."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nst_nd.report.record import RecordedFile
from nst_nd.sidecar import described, shown, sidecar_of

# entries of a folder that are looked at
MOST_ENTRIES = 20_000
State = Literal["found", "changed", "missing"]
_WORDS = {
    "found": "sha256 as the sidecar has it",
    "changed": "a file of this name is there, but its sha256 is another one: not shown",
    "missing": "not found beside the result, one folder up or where the command ran",
}


@dataclass(frozen=True)
class Found:
    """path: None unless the very file was found, or given in its place."""

    file: RecordedFile
    state: State
    path: Path | None

    @property
    def words(self) -> str:
        """What to say of it."""
        return _WORDS[self.state]


def find(file: RecordedFile, folders: Sequence[Path], given: Path | None = None) -> Found:
    """A recorded file in one of these folders, or `given`, which counts as changed where its sha256 is another.

    By its name first, then by its size in case it has been renamed; what counts is the sha256.
    """
    seen = False
    for path in [given] if given is not None else _candidates(file, folders):
        if same(path, file):
            return Found(file, "found", path)
        seen = seen or given is not None or shown(path) == file.name
    return Found(file, "changed" if seen else "missing", None)


def results_in(folder: Path) -> list[Path]:
    """Files and folders in it that have a sidecar beside them, by name; what the sidecars say is not looked at."""
    return [path for path in _entries(folder) if sidecar_of(path).is_file()]


def same(path: Path, file: RecordedFile) -> bool:
    """Whether it is the very file, companions included."""
    try:
        if not path.is_dir() and path.stat().st_size != file.bytes:
            return False
        found = described(path)
    except OSError:
        return False
    mine = [found["sha256"], *(other["sha256"] for other in found["companions"])]
    return mine == [file.sha256, *(other.sha256 for other in file.companions)]


def _candidates(file: RecordedFile, folders: Sequence[Path]) -> Iterator[Path]:
    """Names first, in all folders; then, for files that may have been renamed, those of the same size."""
    others = []
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        for path in _entries(folder):
            if shown(path) == file.name:
                yield path
            elif path.is_file():
                others.append(path)
    yield from (path for path in others if _size(path) == file.bytes)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(itertools.islice(folder.iterdir(), MOST_ENTRIES))
    except OSError:
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
