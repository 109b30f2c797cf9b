"""The jobs of a batch file: defaults under each of them, every combination of the matrix, every file of a glob."""

from __future__ import annotations

import copy
import glob
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from nst_nd.config import WORD_IS, Batch, Job, as_items
from nst_nd.draft import Draft
from nst_nd.errors import ConfigError
from nst_nd.io import stem_of
from nst_nd.marked_yaml import Marked, Place

# more is a slip in a matrix
MOST_JOBS = 200_000
_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Planned:
    """A job of a batch. name: its output below the folder of the batch, by which it is called. where: file and line."""

    name: str
    job: Job = field(repr=False)
    where: str


def expand(
    path: Path, marked: Marked, folder: Path, sets: Sequence[str] = (), options: Mapping[str, Any] | None = None
) -> list[Planned]:
    """Every job of a batch file, in the order of the file, the matrix and the names of files.

    folder: of the outputs. sets: as of `--set`. options: keys given by command-line options.
    Raises ConfigError (file:line): unknown keys, a glob without a file, a template with an unknown field or that leads
    out of the folder. Whether jobs are in each other's way is for refuse_clashes to say.
    """
    batch, places = Batch.of(marked), _places(marked)
    planned: list[Planned] = []
    for number in range(len(batch.jobs)):
        entry = {**batch.defaults, **batch.jobs[number]}
        origin = marked.where["jobs", number]
        where = {(): origin, **places["matrix"], **places["defaults"], **places.get(number, {})}
        for values in _variants(path, folder, entry, batch.matrix, where, origin):
            draft = Draft.of_values(path.parent, copy.deepcopy(values) if sets else values, where)
            for assignment in sets:
                draft.assign(assignment)
            for key, value in (options or {}).items():
                draft.put(f"--{key.replace('_', '-')}", **{key: value})
            planned.append(_planned(draft, folder, where.get(("output",), origin)))
            if len(planned) > MOST_JOBS:
                raise ConfigError(f"{origin}: more than {MOST_JOBS} jobs; make several batches of them")
    return planned


def _places(marked: Marked) -> dict[str | int, dict[Place, str]]:
    """Where each key was written, by job, and in the defaults and the matrix."""
    found: dict[str | int, dict[Place, str]] = {"matrix": {}, "defaults": {}}
    for place, where in marked.where.items():
        n = 2 if place[:1] == ("jobs",) else 1
        if len(place) > n:
            found.setdefault(place[n - 1], {})[place[n:]] = where
    return found


def _variants(
    path: Path,
    folder: Path,
    entry: dict[str, Any],
    matrix: Mapping[str, list[Any]],
    where: Mapping[Place, str],
    origin: str,
) -> Iterator[dict[str, Any]]:
    """The values of each job that an entry stands for.

    A job's own key wins over a matrix's.
    """
    keys = [key for key in matrix if key not in entry]
    for combination in itertools.product(*(matrix[key] for key in keys)):
        values = {**entry, **dict(zip(keys, combination, strict=True))}
        contents = _files(path, folder, values.get("content"), where.get(("content",), origin), "content")
        given = values.get("style")
        styles: list[Any] = [given]
        if isinstance(given, str) or (isinstance(given, list) and len(given) == 1 and isinstance(given[0], str)):
            one = given if isinstance(given, str) else given[0]
            styles = _files(path, folder, one, where.get(("style",), origin), "style")
        elif given is not None:
            _refuse_globs(given, where.get(("style",), origin))
        for content, style in itertools.product(contents, styles):
            job = {**values, **({} if content is None else {"content": content})}
            if style is not None:
                job["style"] = style
            yield job


def _files(path: Path, folder: Path, value: Any, where: str, key: str) -> list[Any]:
    """A name, or every file that fits a pattern, relative to the batch file as it was; none of the batch's outputs."""
    if not isinstance(value, str) or not _MAGIC.search(value) or (path.parent / value).exists():
        return [value]
    found = sorted(glob.glob(value, root_dir=path.parent, recursive=True))  # noqa: PTH207  # absolute ones too
    own = folder.resolve()
    found = [name for name in found if own not in (path.parent / name).resolve().parents]
    if not found:
        raise ConfigError(f"{where}: {key}: no file fits {value!r} in {path.parent}")
    return list(found)


def _refuse_globs(styles: Any, where: str) -> None:
    for item in as_items("style", styles):
        name = item.get("path") if isinstance(item, dict) else None
        if isinstance(name, str) and _MAGIC.search(name):
            raise ConfigError(f"{where}: style: got the pattern {name!r} in a list of styles; name each of them")


def _words(values: Mapping[str, Any]) -> dict[str, str]:
    """What a template may name: single values, and the parts of the names of content and first style."""
    words = {key: str(value) for key, value in values.items() if isinstance(value, str | int | float)}
    styles = as_items("style", values["style"]) if values.get("style") else []
    first = styles[0].get("path") if styles and isinstance(styles[0], dict) else None
    for key, name in (("content", values.get("content")), ("style", first)):
        if isinstance(name, str):
            file = Path(name)
            words |= {f"{key}.stem": stem_of(file), f"{key}.name": file.name, f"{key}.parent": file.parent.name}
    # files are named by their parts
    return {key: value for key, value in words.items() if key not in ("content", "output", *WORD_IS)}


def _planned(draft: Draft, folder: Path, where: str) -> Planned:
    template = draft.values.get("output")
    if isinstance(template, str):
        name = _named(template, _words(draft.values), where)
        draft.values["output"] = str(folder / name)
        return Planned(name, draft.job(), where)
    return Planned("", draft.job(), where)  # says what is wrong with it


def _named(template: str, words: Mapping[str, str], where: str) -> str:
    def put(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0][0]
        if found[1] not in words:
            known = ", ".join(sorted(words))
            raise ConfigError(f"{where}: output: no field {{{found[1]}}} in {template!r}; allowed: {known}")
        return words[found[1]]

    name = _FIELD.sub(put, template)
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or not name.isprintable():
        raise ConfigError(f"{where}: output: got {name!r}; allowed: a name under the folder that --out gives")
    if parts[0] == ".nst-nd":
        raise ConfigError(f"{where}: output: got {name!r}; .nst-nd is the batch's own folder")
    return str(PurePosixPath(name))
