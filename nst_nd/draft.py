"""How a job comes together: a YAML file, then `--set key=value`, then options, each remembered for messages."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from nst_nd.config import BATCH_KEYS, WORD_IS, Job, StyleFile, as_items
from nst_nd.domains import PRESETS
from nst_nd.domains.settings import INIT_WORDS, ExtractorSettings, Settings
from nst_nd.errors import ConfigError, InputError
from nst_nd.io import codec_for
from nst_nd.marked_yaml import MAX_BYTES, Marked, Place, parse


@dataclass
class Draft:
    """A job being put together. where: for each place in values, what to call it in a message."""

    values: dict[str, Any] = field(default_factory=dict)
    where: dict[Place, str] = field(default_factory=dict)

    @classmethod
    def of_file(cls, path: Path) -> Draft:
        """The mapping in a YAML file, its input paths seen from the working directory.

        Raises InputError if the file cannot be read, ConfigError (file:line) if it is not the YAML of one job.
        """
        marked = read_yaml(path)
        if is_batch(marked):
            where = next(marked.where[(key,)] for key in BATCH_KEYS if key in marked.value)
            raise ConfigError(f"{where}: this is a batch of jobs, which `nst-nd run` does; give the file of one job")
        return cls.of_values(path.parent, marked.value, marked.where)

    @classmethod
    def of_values(cls, folder: Path, values: dict[str, Any], where: Mapping[Place, str]) -> Draft:
        """A job's values, its input paths relative to `folder`; where each was written."""
        return cls(_seen_from(folder, values), dict(where))

    def put(self, where: str, **values: Any) -> None:
        """Give keys their values; None leaves a key as it is. where: the option that says so."""
        for key, value in values.items():
            if value is not None:
                self.values[key] = value
                self._mark((key,), where)

    def assign(self, assignment: str) -> None:
        """Do what `--set key=value` says; dots lead into lists and mappings, as in extractor.0.seed=7.

        Raises ConfigError for an unknown key, a place that is not there and a value that is not plain YAML.
        """
        where = f"--set {assignment}"
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise ConfigError(f"{where}: got no key and value; allowed is key=value")
        first, *rest = key.split(".")
        if first not in Job.model_fields:
            raise ConfigError(f"{where}: {_unknown(first, Job)}")
        value = parse(text, lambda _: where).value
        place: list[str | int] = [first]
        if not rest:
            self.values[first] = value
        else:
            holder: Any = self._opened(first, where)
            for part in rest[:-1]:
                step = _step(holder, part, where)
                place.append(step)
                holder = holder.setdefault(step, {}) if isinstance(holder, dict) else holder[step]
            step = _step(holder, rest[-1], where)
            place.append(step)
            holder[step] = value
        self._mark(tuple(place), where)

    def job(self) -> Job:
        """The job, checked; also against the preset's defaults where the preset is named.

        Raises ConfigError: where, key, what was got, what is allowed.
        """
        self._refuse_switches()
        try:
            job = Job.model_validate(self.values)
            if job.preset is not None:
                Settings.model_validate({**PRESETS[job.preset].defaults, **job.settings_given()})
        except ValidationError as error:
            raise ConfigError(self._complaint(error)) from error
        return job

    def _refuse_switches(self) -> None:
        """YAML reads yes, no, on and off as booleans, which would pass for the numbers 1 and 0."""
        for key, value in self.values.items():
            if key not in Job.model_fields or Job.model_fields[key].annotation is bool:
                continue
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, bool):
                    raise ConfigError(f"{self._located((key,))}{key}: got {str(item).lower()}; it is not a switch")

    def _opened(self, key: str, where: str) -> Any:
        """The list or mapping under this key in plain form; the preset's default where nothing is given."""
        value = self.values.get(key)
        if value is None:
            default = Job.model_fields[key].get_default(call_default_factory=True)
            value = _plain(PRESETS[self._preset(where)].defaults.get(key, default))
        if key in WORD_IS:
            value = as_items(key, value)
        if not isinstance(value, list | dict):
            raise ConfigError(f"{where}: {key} has no parts")
        self.values[key] = value
        return value

    def _preset(self, where: str) -> str:
        given = self.values.get("preset") or self.values.get("kind")
        if given in PRESETS:
            return str(given)
        styles = as_items("style", self.values.get("style") or [])
        path = self.values.get("content") or (styles and styles[0].get("path"))
        kinds = codec_for(Path(path), reading=True).kinds if isinstance(path, str) else ()
        if len(kinds) == 1:
            return kinds[0]
        raise ConfigError(f"{where}: changes a part of a default that depends on the preset; name the preset too")

    def _mark(self, place: Place, where: str) -> None:
        self.where = {p: w for p, w in self.where.items() if p[: len(place)] != place}
        self.where[place] = where

    def _located(self, loc: Place) -> str:
        for n in range(len(loc), -1, -1):
            if loc[:n] in self.where:
                return f"{self.where[loc[:n]]}: "
        return ""

    def _complaint(self, error: ValidationError) -> str:
        first, *others = error.errors(include_url=False)
        loc, got = first["loc"], _short(first["input"])
        others = [
            e for e in others if e["loc"] != loc[: len(e["loc"])]
        ]  # a wrong item makes its list too short as well
        message = first["msg"].removeprefix("Value error, ")
        if not loc:  # of several keys at once: the first one that was given leads to the line
            loc = next(((word,) for word in re.findall(r"\w+", message) if (word,) in self.where), ())
            text = message
        elif first["type"] == "extra_forbidden":
            text = _unknown(str(loc[-1]), _model_at(loc))
        elif first["type"] == "missing":
            text = f"{_dotted(loc)}: missing; it must be given"
        elif first["type"] == "value_error":
            text = f"{_dotted(loc)}: {message}"
        else:
            allowed = re.findall(r"'([^']*)'", str(first.get("ctx", {}).get("expected", "")))
            near = _nearest(str(first["input"]), allowed)
            text = f"{_dotted(loc)}: got {got}; {message[0].lower()}{message[1:]}{near}"
        more = f"\n(and {len(others)} more)" if others else ""
        return f"{self._located(loc)}{text}{more}"


def read_yaml(path: Path) -> Marked:
    """The mapping of a job or batch file. Raises InputError (cannot be read), ConfigError (file:line)."""
    marked = parse(_text(path), lambda line: f"{path}:{line}")
    if marked.value is None:
        raise ConfigError(f"{path}:1: empty; a job has style, output and more keys, see `nst-nd schema`")
    if not isinstance(marked.value, dict):
        raise ConfigError(f"{path}:1: a job is a mapping of keys to values, one `key: value` a line")
    return marked


def is_batch(marked: Marked) -> bool:
    """Whether a file holds a batch of jobs."""
    return any(key in marked.value for key in BATCH_KEYS)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}; a YAML file is needed") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}:1: larger than {MAX_BYTES} bytes, which no job is")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}:1: not a text file in UTF-8") from error


def _seen_from(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The values with input paths that are relative to `folder` made to be so; wrong types are left to the checks."""

    def seen(holder: dict[str, Any], key: str, keep: tuple[str, ...] = ()) -> None:
        value = holder.get(key)
        if isinstance(value, str) and value and value not in keep:
            holder[key] = str(folder / value)

    out = {**values, **{key: as_items(key, values[key]) for key in WORD_IS if key in values}}
    seen(out, "content")
    seen(out, "mask")
    seen(out, "labels")
    seen(out, "init", INIT_WORDS)
    for item in (item for key in WORD_IS for item in out.get(key, ()) if isinstance(item, dict)):
        for key in ("path", "mask", "weights"):
            seen(item, key)
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(exclude_unset=True))
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _step(holder: Any, part: str, where: str) -> str | int:
    if isinstance(holder, dict):
        return part
    if not isinstance(holder, list):
        raise ConfigError(f"{where}: {holder!r:.40} has no part {part!r}")
    if not part.isdecimal() or int(part) >= len(holder):
        raise ConfigError(f"{where}: got part {part!r} of a list; allowed: 0 to {len(holder) - 1}")
    return int(part)


def _model_at(loc: Place) -> type[BaseModel]:
    models: dict[str | int, type[BaseModel]] = {"style": StyleFile, "extractor": ExtractorSettings}
    return models.get(loc[0], Job) if len(loc) > 1 else Job


def _unknown(key: str, model: type[BaseModel]) -> str:
    return f"{key}: unknown key{_nearest(key, list(model.model_fields)) or '; `nst-nd schema` lists the known ones'}"


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _dotted(loc: Place) -> str:
    return ".".join(str(part) for part in loc)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
