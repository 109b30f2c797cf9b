"""Whether jobs of a batch would be in each other's way: files that two of them write, or that one writes and one reads.

Jobs have no order and may be done at the same time, in other runs or on other machines, so that either is a mistake of
the batch as a whole, whichever of its jobs are chosen.
"""

# ruff: noqa: PTH114, PTH118, PTH120  # see Places

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nst_nd.batch.expand import Planned
from nst_nd.errors import ConfigError
from nst_nd.job import files_of
from nst_nd.sidecar import companions, sidecar_of


def refuse_clashes(planned: Sequence[Planned]) -> None:
    """Raise ConfigError for the first job whose files another one writes, writes into, or reads.

    Files are compared by where they are, links followed; a file counts with its companion (WFDB, ANALYZE) and sidecar.
    """
    places, written, read = Places(), dict[str, Planned](), dict[str, Planned]()
    targets = [(one, places.written(Path(one.job.output))) for one in planned]
    for one, found in targets:
        for place in found:
            first = written.setdefault(place, one)
            if first is not one:
                raise ConfigError(_both(first, one))
    for one in planned:
        for path in files_of(one.job):
            for place in places.read(path):
                read.setdefault(place, one)
    folders: set[str] = set()
    for one, found in targets:
        folder = os.path.dirname(found[0])
        # the folder, too: a series of slices is read as one
        reader = next((read[place] for place in (folder, *found) if place in read), None)
        if reader is not None:
            raise ConfigError(
                f"{one.where}: output: writing {one.name} would replace or change an input of {reader.name}\n"
                "choose another output, or another --out"
            )
        while folder not in folders:
            folders.add(folder)
            if folder in written:
                raise ConfigError(_both(written[folder], one))
            folder = os.path.dirname(folder)


def _both(first: Planned, second: Planned) -> str:
    names = first.name if first.name == second.name else f"{first.name} and {second.name} to the same place"
    return (
        f"{second.where}: output: two jobs would write {names}, the other from {first.where}\n"
        "name what differs in the template, such as {content.stem} or a key of the matrix"
    )


class Places:
    """Where files are, with the links above them followed; each folder is looked up once.

    By os.path, on words: it has an answer for names too long and links in a circle, too (that job alone fails of them
    later), and is quick where there are many thousands.
    """

    def __init__(self) -> None:
        self.folders: dict[str, str] = {}

    def written(self, output: Path) -> list[str]:
        """What an output replaces, itself first: links that have its name, not what they lead to."""
        return [self._of(str(path)) for path in (*companions(output), sidecar_of(output))]

    def read(self, path: Path) -> list[str]:
        """What an input needs: its files, and what those lead to that are links."""
        files = [str(file) for file in companions(path)]
        return [*map(self._of, files), *(os.path.realpath(file) for file in files if os.path.islink(file))]

    def _of(self, path: str) -> str:
        folder, name = os.path.split(path)
        if folder not in self.folders:
            self.folders[folder] = os.path.realpath(folder)
        return os.path.join(self.folders[folder], name)
