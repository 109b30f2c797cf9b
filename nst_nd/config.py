"""A job: the keys of Settings together with the files to read and to write."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, field_validator, model_validator

from nst_nd.domains.settings import Model, Positive, Settings
from nst_nd.engine.memory import bytes_of
from nst_nd.errors import ConfigError
from nst_nd.marked_yaml import Marked
from nst_nd.sample import Kind

# 256x256
_BY_SIGN = r"\d+(x\d+){0,2}"
# keys whose items may be written as a bare word, and what the word is then
WORD_IS = {"style": "path", "extractor": "name"}


class StyleFile(Model):
    """One style of a job."""

    path: str = Field(min_length=1, description="a file of the content's kind")
    weight: Positive = Field(1.0, description="share among several styles")
    mask: str | None = Field(None, description="a file of the style's size, 0 to 1: where its statistics are taken")
    labels: tuple[NonNegativeInt, ...] = Field(
        (), description="with a label map: a label or several, the part of the content that this style is for"
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return [value] if isinstance(value, int) else value


class Job(Settings):
    """One transfer from files to a file. Paths are as seen from the working directory once read."""

    content: str | None = Field(None, min_length=1, description="the file to restyle; absent: a texture is made")
    style: tuple[StyleFile, ...] = Field(min_length=1, description="a file, or several, each with a weight and a mask")
    output: str = Field(
        min_length=1,
        description="the file to write; its suffix says the format; .dicom: a folder, derived from a DICOM content",
    )
    mask: str | None = Field(None, description="a file of the content's size, 0 to 1: 0 keeps the content bit for bit")
    labels: str | None = Field(
        None, min_length=1, description="a label map of the content's size: each style says which labels it is for"
    )
    size: tuple[PositiveInt, ...] | None = Field(
        None, description="texture: width x height, i x j x k or samples; a list or like 256x256; absent: the style's"
    )
    duration: Positive | None = Field(None, description="texture of a signal: seconds")
    kind: Kind | None = Field(None, description="kind of signal of files that do not say, such as NPY")
    rate: Positive | None = Field(None, description="Hz, for CSV and NPY files that carry no time")
    processes: PositiveInt = Field(
        1,
        description="in a batch: processes that do the job together, each with a GPU or its share of the cores; for a "
        "volume too large for one (a single job is started with torchrun)",
    )
    channels: bool = Field(False, description="the last axis of a 4-D NIfTI holds channels")

    @field_validator("style", mode="before")
    @classmethod
    def _paths(cls, value: Any) -> Any:
        return as_items("style", value)

    @field_validator("size", mode="before")
    @classmethod
    def _by_sign(cls, value: Any) -> Any:
        if isinstance(value, str) and re.fullmatch(_BY_SIGN, value):
            return value.split("x")
        return [value] if isinstance(value, int) else value

    @model_validator(mode="after")
    def _weights_fit(self) -> Job:
        """In place of Settings' own: how many layers there are is known once the preset's defaults are under them."""
        if self.size is not None and self.duration is not None:
            raise ValueError("size and duration are both given; choose one")
        if self.content is not None and (self.size is not None or self.duration is not None):
            raise ValueError("size and duration are for textures; the result is as large as the content")
        return self

    def settings_given(self) -> dict[str, Any]:
        """The keys of Settings that somebody gave; the preset's defaults apply to the others.

        Weights belong to their layers: where only layers are given, the preset's weights are set aside.
        """
        given = self.model_dump(include=self.model_fields_set & set(Settings.model_fields), exclude_unset=True)
        for kind in ("content", "style"):
            if f"{kind}_layers" in given:
                given.setdefault(f"{kind}_layer_weights", None)
        return given


class SlurmSettings(Model):
    """What each job of a batch asks Slurm for."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    minutes: PositiveInt = Field(240, description="time limit of a job; at its end it is queued again and goes on")
    cpus: PositiveInt = Field(4, description="cores of a job")
    gpus: NonNegativeInt = Field(0, description="GPUs of a job; 0 or 1 unless a job can use more")
    memory: str | None = Field(None, description="of a job, such as 16GiB; absent: what the partition gives")
    at_once: PositiveInt = Field(256, description="jobs that may run at a time")
    more: dict[str, str | int | bool] = Field(default_factory=dict, description="further options of sbatch by name")

    @field_validator("memory")
    @classmethod
    def _size(cls, value: str | None) -> str | None:
        if value is not None:
            bytes_of(value)
        return value


class Batch(Model):
    """Many jobs: the keys of `defaults` lie under those of each job, and each job is done for every combination of what
    `matrix` lists. Content and style may be patterns such as scans/*.nii.gz, and outputs templates such as
    {content.stem}_{style_weight}.nii.gz.
    """

    defaults: dict[str, Any] = Field(default_factory=dict, description="keys of every job that does not say otherwise")
    matrix: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict, description="keys with a list of values each: one job for every combination"
    )
    jobs: list[dict[str, Any]] = Field(min_length=1, description="the jobs, each with the keys of a job file")
    executor: Literal["local", "slurm"] = Field("local", description="processes on this machine, or a cluster's queue")
    slurm: SlurmSettings = Field(default_factory=SlurmSettings, description="what executor slurm asks for")
    workers: PositiveInt | None = Field(None, description="processes; absent: one per GPU, or one for four cores")

    @classmethod
    def of(cls, marked: Marked) -> Batch:
        """Checked. Raises ConfigError with file and line."""
        try:
            return cls.model_validate(marked.value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = first["loc"]
            line = next((marked.where[place[:n]] for n in range(len(place), -1, -1) if place[:n] in marked.where), "")
            raise ConfigError(f"{line}: {'.'.join(map(str, place))}: {first['msg'].lower()}") from error


# what tells a batch file from a job file
BATCH_KEYS = ("jobs", "matrix", "defaults")


def job_schema() -> dict[str, Any]:
    """JSON schema of a job file, for editors."""
    schema = Job.model_json_schema()
    properties = schema["properties"]
    for key in WORD_IS:
        items = {"anyOf": [{"type": "string"}, properties[key]["items"]]}
        several = {**properties[key], "items": items}
        told = {k: several.pop(k) for k in ("default", "description", "title") if k in several}
        properties[key] = {**told, "anyOf": [*items["anyOf"], several]}
    by_sign = {"type": "string", "pattern": rf"^{_BY_SIGN}$"}
    properties["size"]["anyOf"] += [by_sign, {"type": "integer", "minimum": 1}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "nst-nd job"}


def batch_schema() -> dict[str, Any]:
    """JSON schema of a batch file, for editors."""
    batch, job = Batch.model_json_schema(), job_schema()
    definitions = job.pop("$defs", {})
    some = {key: value for key, value in job.items() if key not in ("$schema", "title", "required")}
    batch["properties"]["defaults"] |= some
    batch["properties"]["jobs"]["items"] = some
    return {"$schema": job["$schema"], **batch, "$defs": definitions, "title": "nst-nd batch"}


def as_items(key: str, value: Any) -> list[Any]:
    """A bare item as a list of one, and bare words as mappings."""
    items = value if isinstance(value, list | tuple) else [value]
    return [{WORD_IS[key]: item} if isinstance(item, str) else item for item in items]
