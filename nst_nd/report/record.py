"""What a sidecar says, checked before anything is made of it: somebody else may have written it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nst_nd.errors import DecodeError, InputError
from nst_nd.report.text import visible
from nst_nd.sample import Kind
from nst_nd.sidecar import shown, sidecar_of

# a sidecar of 100,000 steps has about 20 MB
MOST_BYTES = 256 << 20
# a number, a word that stands for one ("inf"), or nothing
Value = float | str | None


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class RecordedFile(_Part):
    """Of an input or the output, see sidecar.described; without a folder."""

    name: str
    sha256: str
    bytes: int
    role: str = "result"
    companions: tuple[RecordedFile, ...] = ()
    files: int | None = None


class AskedStyle(_Part):
    """Of each style, in their order."""

    weight: float = 1.0
    labels: tuple[int, ...] = ()
    mask: bool = False


class Asked(_Part):
    """Keys of the job that are neither settings nor files."""

    style: tuple[AskedStyle, ...] = ()
    size: tuple[int, ...] | None = None
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
    shape: tuple[int, ...]
    settings: dict[str, Any]
    seed: int
    steps: Steps
    caution: str = ""
    versions: dict[str, str | None] = Field(default_factory=dict)
    request: str = ""
    asked: Asked | None = None
    networks: tuple[str, ...] = ()
    device: str = ""
    device_name: str | None = None
    threads: int | None = None
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    metrics: dict[str, Value] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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
    """As a float; "inf" as infinity, nothing and other words as NaN."""
    try:
        return math.nan if value is None else float(value)
    except ValueError:
        return math.nan
