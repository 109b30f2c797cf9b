"""One job on disk: check the output, read, stylize, measure, write, sidecar."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nst_nd.checkpoint import Checkpoints, checkpoint_of, identity_of, request_of
from nst_nd.config import Job
from nst_nd.domains.device import pick_device
from nst_nd.domains.domain import Style
from nst_nd.domains.guard import breaches
from nst_nd.domains.metrics import measure
from nst_nd.domains.settings import INIT_WORDS, Settings
from nst_nd.domains.stylize import Result, transfer
from nst_nd.domains.work import Viewer
from nst_nd.engine.memory import bytes_of, in_words, peak_resident
from nst_nd.engine.optimise import Step
from nst_nd.engine.team import ALONE, Team
from nst_nd.errors import ConfigError, Interrupted, NstError, OutputError
from nst_nd.figures import check_figure, write
from nst_nd.io import check_source, codec_for, folder_of, load, save, suffix_of
from nst_nd.io.atomic import refuse_existing
from nst_nd.io.image import stored_numbers
from nst_nd.sample import Sample
from nst_nd.sidecar import companions, described, plain, shown, sidecar_of, steps_table, versions, write_sidecar

# the only files that leave their sampling rate open
RATELESS = (".csv", ".npy")
# the only files whose fourth axis may hold channels
_WITH_AXES = (".nii", ".nii.gz", ".hdr", ".img")
_RESEARCH = "for research, not for diagnosis"


@dataclass(frozen=True)
class Done:
    """What a job left on disk. record: the sidecar's content. notes: all that had to be said, in words.

    warnings: metrics beyond their limits, in words.
    """

    output: Path
    sidecar: Path
    record: dict[str, Any] = field(repr=False)
    interrupted: bool

    @property
    def notes(self) -> list[str]:
        """Conversions, guards and losses, in words."""
        return list(self.record["notes"])

    @property
    def warnings(self) -> list[str]:
        """See the class."""
        return list(self.record["warnings"])


@dataclass(frozen=True)
class _Inputs:
    content: Sample | None
    styles: list[Style]
    init: Sample | None
    mask: Sample | None
    labels: Sample | None
    size: tuple[int, ...] | None

    @property
    def first(self) -> Sample:
        return self.styles[0].sample if self.content is None else self.content


def run_job(
    job: Job,
    *,
    overwrite: bool = False,
    make_folder: bool = False,
    on_step: Callable[[Step], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_plan: Callable[[str], None] | None = None,
    resume: bool = False,
    whole: bool = False,
    figure: Path | None = None,
    viewer: Viewer | None = None,
    team: Team = ALONE,
) -> Done | None:
    """Do one job. What can be wrong with the output or the settings is found out before anything is computed.

    make_folder: make the output's folder if need be. should_stop: see stylize; once it is True, the best so far is
    written, or Interrupted raised where there is nothing yet. on_plan: told the memory plan before anything is
    computed. resume: go on from the job's checkpoint, if there is one. whole: for one of many, nothing is written
    before the last step, and a checkpoint that does not fit is no error. figure: where to draw content, styles and
    result. viewer: sees the result while it comes. team: the processes that do it together; the first one writes, the
    others return None.
    Raises OutputError, ConfigError, InputError, ComputationError; then no output is left behind, unless the message
    says that the result is written and only its sidecar or its picture is not.
    """
    started = time.perf_counter()
    output = Path(job.output)
    overwrite = overwrite or (resume and checkpoint_of(output).exists())  # what an interrupted run wrote
    check_output(output, files_of(job), overwrite=overwrite, make_folder=make_folder)
    if figure is not None:
        check_figure(figure, overwrite=overwrite, others=[*files_of(job), *companions(output), sidecar_of(output)])
    pick_device(job.device)
    files = [described(path, role=role) for role, path in roles_of(job) if path.is_file() or path.is_dir()]
    keeper = Checkpoints(output, identity_of(job, files, team.count), resume=resume, overwrite=overwrite, lenient=whole)
    inputs = _read(job)
    _check_kind(output, inputs)
    if should_stop():
        raise Interrupted("interrupted before the first step; nothing is written")
    result = transfer(
        inputs.content,
        inputs.styles,
        settings=_settings(job, inputs),
        size=inputs.size,
        init=inputs.init,
        mask=inputs.mask,
        labels=inputs.labels,
        on_step=on_step,
        should_stop=should_stop,
        on_plan=on_plan,
        keeper=keeper,
        viewer=viewer,
        team=team,
    )
    if result is None:
        return None
    if result.interrupted and whole:
        raise Interrupted("interrupted; nothing is written but the checkpoint, if it was time for one")
    metrics = _measure(inputs, result)
    if make_folder:
        output.parent.mkdir(parents=True, exist_ok=True)
    said = save(result.sample, output, overwrite=overwrite)
    seconds = time.perf_counter() - started
    notes = [*_notes(job, inputs), *keeper.notes, *result.notes, *said]
    record = _record(job, files, inputs, result, notes, metrics, seconds)
    done = Done(output, write_sidecar(record, output, overwrite=overwrite), record, result.interrupted)
    if figure is not None:
        _draw(result, figure, output, overwrite=overwrite)
    if not result.interrupted:
        keeper.remove()
    return done


def _draw(result: Result, figure: Path, output: Path, *, overwrite: bool) -> None:
    """The picture. The error says that the result itself is there."""
    try:
        write(result.plot(), figure, overwrite=overwrite)
    except NstError as error:
        raise type(error)(f"{output} is written, its picture is not\n{error}") from error


def _settings(job: Job, inputs: _Inputs) -> dict[str, Any]:
    """What was given; a file to start from has been read and is given as such."""
    given = job.settings_given()
    return given if inputs.init is None else {key: value for key, value in given.items() if key != "init"}


def check_output(output: Path, inputs: list[Path], *, overwrite: bool, make_folder: bool = False) -> None:
    """OutputError unless the output and its sidecar can be written and are none of the inputs."""
    check_target(output, overwrite=overwrite)
    read = {file.resolve(): file for path in inputs for file in companions(path)}
    inside = {file.parent: path for file, path in read.items()} if folder_of(output) else {}
    for target in (*companions(output), sidecar_of(output)):
        replaced = {**inside, **read}.get(target.resolve())
        if replaced is not None:
            raise OutputError(f"{output}: writing it would replace the input {replaced}; choose another")
    check_folder(output, make_folder=make_folder)


def check_target(output: Path, *, overwrite: bool) -> None:
    """ConfigError for a suffix that no codec writes; OutputError where something lies there that is not replaced."""
    codec_for(output, reading=False)
    for target in (*companions(output), sidecar_of(output)):
        refuse_existing(target, True, folder_of(target))
        if not overwrite and os.path.lexists(target):
            raise OutputError(f"{target}: exists already; choose another name or give --overwrite")


def check_folder(output: Path, *, make_folder: bool) -> None:
    """OutputError unless the folder of an output can be written, or made."""
    folder = output.parent
    while make_folder and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise OutputError(f"{output}: {folder} is not a folder that exists; make it first")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{output}: the folder {folder} cannot be written: {error.strerror}") from error


def files_of(job: Job) -> list[Path]:
    """Every file that the job reads."""
    return [path for _, path in roles_of(job)]


def roles_of(job: Job) -> list[tuple[str, Path]]:
    """What each input file is for, in a fixed order."""
    roles: list[tuple[str, str | None]] = [("content", job.content)]
    for style in job.style:
        roles += [("style", style.path), ("style mask", style.mask)]
    roles += [("mask", job.mask), ("labels", job.labels), ("init", None if job.init in INIT_WORDS else job.init)]
    roles += [("weights", extractor.weights) for extractor in job.extractor]
    return [(role, Path(path)) for role, path in roles if path is not None]


def _read(job: Job) -> _Inputs:
    def read(path: str) -> Sample:
        rate = job.rate if suffix_of(Path(path)) in RATELESS else None
        return load(path, kind=job.kind, rate=rate, channels=job.channels)

    check_options(job)
    content = None if job.content is None else read(job.content)
    styles = [Style(read(s.path), s.weight, None if s.mask is None else read(s.mask), s.labels) for s in job.style]
    init = None if job.init in INIT_WORDS else read(job.init)
    mask = None if job.mask is None else read(job.mask)
    labels = None if job.labels is None else stored_numbers(read(job.labels))
    return _Inputs(content, styles, init, mask, labels, texture_size(job, styles[0].sample))


def check_options(job: Job) -> None:
    """ConfigError where a key goes with none of the job's files, or names one that is not there."""
    suffixes = {suffix_of(path) for path in files_of(job)}
    if job.rate is not None and not suffixes & set(RATELESS):
        raise ConfigError(f"rate: is for {' and '.join(RATELESS)} files; the others say theirs")
    if job.channels and not suffixes & set(_WITH_AXES):
        raise ConfigError(f"channels: is for {', '.join(_WITH_AXES)} files")
    if job.init not in INIT_WORDS and not Path(job.init).exists():
        raise ConfigError(f"init: got {job.init!r}; allowed: {', '.join(INIT_WORDS)} or a file that exists")


def texture_size(job: Job, style: Sample) -> tuple[int, ...] | None:
    """Positions per axis of a texture in the order of the arrays; None where the style's own is meant."""
    if job.duration is not None:
        if style.grid.rate is None:
            raise ConfigError("duration: is for signals with a sampling rate; give size instead, or a rate")
        return (max(1, round(job.duration * style.grid.rate)),)
    if job.size is None:
        return None
    if len(job.size) != len(style.shape):
        raise ConfigError(f"size: got {len(job.size)} numbers; this style has {len(style.shape)} axes")
    return tuple(reversed(job.size)) if style.kind == "image" else job.size


def _check_kind(output: Path, inputs: _Inputs) -> None:
    codec, sample = codec_for(output, reading=False), inputs.first
    if sample.kind not in codec.kinds:
        raise ConfigError(
            f"{output}: {codec.name} holds {', '.join(codec.kinds)}, the result is of kind {sample.kind}\n"
            "choose a suffix of that kind, such as the content's own"
        )
    check_source(inputs.content, output)


def _measure(inputs: _Inputs, result: Result) -> dict[str, float]:
    styles = [style.sample for style in inputs.styles]
    return measure(inputs.content, styles, result.sample, result.settings.preset)


def _notes(job: Job, inputs: _Inputs) -> list[str]:
    """What was said while reading, with the name of the file."""
    samples = [inputs.content]
    for style in inputs.styles:
        samples += [style.sample, style.mask]
    samples += [inputs.mask, inputs.labels, inputs.init]
    read = [sample for sample in samples if sample is not None]
    return [
        f"{shown(path)}: {note}" for path, sample in zip(files_of(job), read, strict=False) for note in sample.notes
    ]


def _record(
    job: Job,
    files: list[dict[str, Any]],
    inputs: _Inputs,
    result: Result,
    notes: list[str],
    metrics: dict[str, float],
    seconds: float,
) -> dict[str, Any]:
    device = pick_device(result.settings.device)
    peak = peak_resident()
    memory = {"peak_memory_bytes": peak, "memory": result.memory}
    limit = result.settings.max_memory
    if limit is not None and device.type == "cpu" and peak > bytes_of(limit):
        notes.append(f"the peak was {in_words(peak)}, above max_memory {limit}; the plan predicted less")
    if device.type == "cuda":
        memory["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated(device)
    research = {"caution": _RESEARCH} if inputs.first.kind in ("ecg", "volume") else {}
    record = {
        "status": "interrupted" if result.interrupted else "done",
        **research,
        "versions": versions(),
        "kind": inputs.first.kind,
        "inputs": files,
        "request": request_of(job, files),
        "asked": _asked(job),
        "output": described(Path(job.output)),
        "shape": result.sample.shape,
        "settings": _without_folders(result.settings, job.init),
        "seed": result.settings.seed,
        "networks": [_network_name(name, result.settings) for name in result.networks],
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": result.settings.threads or torch.get_num_threads(),
        "seconds": round(seconds, 3),
        **memory,
        "metrics": metrics,
        "warnings": [breach.words for breach in breaches(metrics, result.settings.limits)],
        "notes": notes,
        "steps": steps_table(result.history),
    }
    return dict(plain(record))


def _asked(job: Job) -> dict[str, Any]:
    """The keys of a job beside its settings and file names: what it takes to ask for the same again."""
    styles = [{"weight": s.weight, "labels": s.labels, "mask": s.mask is not None} for s in job.style]
    return {"style": styles, **job.model_dump(include={"size", "duration", "kind", "rate", "channels", "processes"})}


def _without_folders(settings: Settings, init: str) -> dict[str, Any]:
    values = settings.model_dump()
    values["init"] = shown(Path(init))
    for extractor in values["extractor"]:
        extractor["weights"] = extractor["weights"] and Path(extractor["weights"]).name
    return values


def _network_name(name: str, settings: Settings) -> str:
    for extractor in settings.extractor:
        if extractor.weights is not None:
            name = name.replace(extractor.weights, Path(extractor.weights).name)
    return name
