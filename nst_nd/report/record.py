"""What a sidecar says, checked before anything is made of it: somebody else may have written it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nst_nd.errors import DecodeError, InputError
from nst_nd.report.text import visible
from nst_nd.sample import Kind
from nst_nd.sidecar import shown, sidecar_of

# a sidecar of 100,000 steps has about 20 MB
MOST_BYTES = 256 << 20
# beyond it whole numbers are nobody's seeds and sizes, and overflow where they are divided or become floats
MOST_WHOLE = 2**64
# of lists and tables inside of each other in the settings
MOST_LEVELS = 32
# a number, a word that stands for one ("inf"), or nothing
Value = float | str | None
Whole = Annotated[int, Field(ge=-MOST_WHOLE, le=MOST_WHOLE)]


class _Part(BaseModel):
    # JSON has no NaN and no infinity: to_text writes null and words
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class RecordedFile(_Part):
    """Of an input or the output, see sidecar.described; without a folder."""

    name: str
    sha256: str
    bytes: Whole
    role: str = "result"
    companions: tuple[RecordedFile, ...] = ()
    files: Whole | None = None


class AskedStyle(_Part):
    """Of each style, in their order."""

    weight: float = 1.0
    labels: tuple[Whole, ...] = ()
    mask: bool = False


class Planned(_Part):
    """What the memory plan says of the run. processes: that did it together."""

    processes: int = Field(default=1, ge=1, le=MOST_WHOLE)


class Asked(_Part):
    """Keys of the job that are neither settings nor files."""

    style: tuple[AskedStyle, ...] = ()
    size: tuple[Whole, ...] | None = None
    duration: float | None = None
    kind: Kind | None = None
    rate: float | None = None
    channels: bool = False


def total(values: Iterable[float]) -> float:
    """Their sum; infinite or NaN where it has no finite one."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # larger than any float; infinite on both sides
        return math.nan


class Steps(_Part):
    """columns: iteration, scale and the terms; rows: their numbers at each step."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Value, ...], ...] = ()

    @model_validator(mode="after")
    def _rectangular(self) -> Steps:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"steps: a row that has not the {len(self.columns)} numbers of the columns")
        if self.rows and self.columns[:2] != ("iteration", "scale"):
            raise ValueError("steps: the first columns are not iteration and scale")
        return self

    @property
    def loss(self) -> float:
        """The sum of the terms at the last step; NaN where there is none."""
        return total(number(value) for value in self.rows[-1][2:]) if self.rows else math.nan


class Sidecar(_Part):
    """The keys of a sidecar that a report is made of; see job.py."""

    status: Literal["done", "interrupted"]
    kind: Kind
    inputs: tuple[RecordedFile, ...]
    output: RecordedFile
    shape: tuple[Whole, ...]
    settings: dict[str, Any]
    seed: Whole
    steps: Steps
    caution: str = ""
    versions: dict[str, str | None] = Field(default_factory=dict)
    request: str = ""
    asked: Asked | None = None
    networks: tuple[str, ...] = ()
    device: str = ""
    device_name: str | None = None
    threads: Whole | None = None
    seconds: float | None = Field(default=None, ge=0, le=MOST_WHOLE)
    peak_memory_bytes: Whole | None = None
    memory: Planned = Planned()
    metrics: dict[str, Value] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @field_validator("settings")
    @classmethod
    def _bounded(cls, settings: dict[str, Any]) -> dict[str, Any]:
        _check_numbers(settings, MOST_LEVELS)
        return settings

    def without_steps(self) -> Sidecar:
        """All the rest: of many jobs, the rows of the steps are what takes memory."""
        return self.model_copy(update={"steps": Steps()})

    @property
    def preset(self) -> str:
        """The domain; the kind's own where the settings name none."""
        return str(self.settings.get("preset") or self.kind)

    @property
    def limits(self) -> dict[str, float]:
        """Largest absolute value of a metric that passes without a warning."""
        limits = self.settings.get("limits")
        items = limits.items() if isinstance(limits, dict) else ()
        return {str(k): float(v) for k, v in items if isinstance(v, int | float) and not isinstance(v, bool)}


def _check_numbers(value: Any, levels: int) -> None:
    """ValueError unless every number inside is finite and bounded."""
    if levels == 0:
        raise ValueError(f"more than {MOST_LEVELS} lists or tables inside of each other")
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            _check_numbers(item, levels - 1)
    if isinstance(value, int) and abs(value) > MOST_WHOLE:
        raise ValueError("a whole number of more than 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number that is not finite")


def read_sidecar(output: Path) -> Sidecar:
    """That of a result. Raises InputError where there is none, DecodeError where it is not one of nst-nd's."""
    path = sidecar_of(output)
    name = visible(shown(path))
    if not path.is_file():
        raise InputError(f"{output}: has no sidecar {name} beside it\na report is made of a result with its sidecar")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DecodeError(f"{path}: {path.stat().st_size} bytes; allowed: {MOST_BYTES}")
        return Sidecar.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DecodeError(f"{path}: not a sidecar of nst-nd: {visible(where)}: {visible(first['msg'])}") from error
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"{path}: not a sidecar of nst-nd, or cut short: {visible(str(error))}") from error


def number(value: Value) -> float:
    """As a float; "inf" as infinity, nothing, other words and what no float holds as NaN."""
    try:
        return math.nan if value is None else float(value)
    except (ValueError, TypeError, OverflowError):  # a batch's manifest is not checked
        return math.nan
