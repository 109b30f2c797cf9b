"""stylize, texture and run: three ways to say a job."""

from __future__ import annotations

import json
import sys
from enum import Enum
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nst_nd.cli import options as o
from nst_nd.cli.table import metric_lines
from nst_nd.errors import ConfigError, ExitStatus, Interrupted

if TYPE_CHECKING:
    from nst_nd.config import Job
    from nst_nd.draft import Draft
    from nst_nd.job import Done


def stylize(
    content: Annotated[
        str,
        typer.Argument(metavar="CONTENT", show_default=False, help="The file, or folder of DICOM slices, to restyle."),
    ],
    style: o.Styles,
    output: o.Output,
    preset: o.PresetOption = None,
    config: o.Config = None,
    sets: o.Sets = None,
    content_weight: o.ContentWeight = None,
    style_weight: o.StyleWeight = None,
    iterations: o.Iterations = None,
    init: o.Init = None,
    seed: o.Seed = None,
    mask: o.Mask = None,
    style_mask: o.StyleMasks = None,
    labels: o.Labels = None,
    style_label: o.StyleLabels = None,
    device: o.Device = None,
    max_memory: o.MaxMemory = None,
    resume: o.Resume = False,
    figure: o.Figure = None,
    kind: o.KindOption = None,
    rate: o.Rate = None,
    channels: o.Channels = False,
    overwrite: o.Overwrite = False,
    strict: o.Strict = False,
    quiet: o.Quiet = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Restyle a content by one style or several.

    Beside OUT stands its sidecar OUT.json: settings, checksums, steps, metrics.
    Settings come from the preset, then --config, then --set, then the other
    options.

    \b
    nst-nd stylize cat.png tissue.png -o out.png --style-weight 100
    nst-nd stylize music.flac fire.wav -o out.wav --iterations 300
    nst-nd stylize ecg.hea noisy.csv -o out.csv --init style --seed 3
    nst-nd stylize smooth.nii.gz sharp.nii.gz -o out.nii.gz --preset ct
    nst-nd stylize ct_series/ sharp.nii.gz -o out.dicom --preset ct
    nst-nd stylize a.png b.png c.png -o out.png --set style.0.weight=3
    nst-nd stylize cat.png tissue.png -o out.png --figure seen.png
    nst-nd stylize a.nii b.nii c.nii -o out.nii --labels organs.nii \\
        --style-label 1 --style-label 2,3
    """
    del debug  # main looks for it
    styles = _styles(style, style_mask, style_label)
    draft = _draft(config, {"content": content, "style": styles, "output": output}, sets)
    _put(draft, preset=preset, content_weight=content_weight, style_weight=style_weight, iterations=iterations)
    _put(draft, init=init, seed=seed, mask=mask, labels=labels, device=device, max_memory=max_memory)
    _put(draft, kind=kind, rate=rate, channels=channels or None)
    return _perform(
        draft.job(), overwrite=overwrite, resume=resume, strict=strict, quiet=quiet, as_json=as_json, figure=figure
    )


def texture(
    style: o.Styles,
    output: o.Output,
    size: Annotated[
        str | None, typer.Option("--size", metavar="256x256", help="Width x height, i x j x k, or samples.")
    ] = None,
    duration: Annotated[float | None, typer.Option("--duration", help="Seconds, for signals.")] = None,
    preset: o.PresetOption = None,
    config: o.Config = None,
    sets: o.Sets = None,
    style_weight: o.StyleWeight = None,
    iterations: o.Iterations = None,
    init: o.Init = None,
    seed: o.Seed = None,
    style_mask: o.StyleMasks = None,
    device: o.Device = None,
    max_memory: o.MaxMemory = None,
    resume: o.Resume = False,
    figure: o.Figure = None,
    kind: o.KindOption = None,
    rate: o.Rate = None,
    channels: o.Channels = False,
    overwrite: o.Overwrite = False,
    strict: o.Strict = False,
    quiet: o.Quiet = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Make a texture of a style alone.

    It is as large as the style, or as --size or --duration say.

    \b
    nst-nd texture fire.wav --duration 5 -o fire5.wav
    nst-nd texture brick.png --size 256x256 -o wall.png --seed 1
    nst-nd texture sharp.nii.gz --size 64x64x16 -o noise.nii.gz --preset ct
    """
    del debug
    draft = _draft(config, {"style": _styles(style, style_mask), "output": output}, sets)
    if draft.values.get("content") is not None:
        raise ConfigError("texture takes no content, and the settings name one; use stylize")
    _put(draft, size=size, duration=duration, preset=preset, style_weight=style_weight, iterations=iterations)
    _put(draft, init=init, seed=seed, device=device, max_memory=max_memory, kind=kind, rate=rate)
    _put(draft, channels=channels or None)
    return _perform(
        draft.job(), overwrite=overwrite, resume=resume, strict=strict, quiet=quiet, as_json=as_json, figure=figure
    )


def run(
    job: Annotated[
        Path, typer.Argument(metavar="FILE.yaml", show_default=False, help="A job or a batch; see `nst-nd schema`.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder of the outputs; beside the file, named after it, if absent."),
    ] = None,
    sets: o.Sets = None,
    device: o.Device = None,
    max_memory: o.MaxMemory = None,
    workers: o.Workers = None,
    executor: o.ExecutorOption = None,
    part: o.Part = None,
    only: o.Only = None,
    retry_failed: o.RetryFailed = False,
    dry_run: o.DryRun = False,
    resume: o.Resume = False,
    overwrite: o.Overwrite = False,
    strict: o.Strict = False,
    quiet: o.Quiet = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Do the job of a YAML file, or every job of a batch.

    Inputs are relative to the file, outputs to --out. A batch does what is
    missing or changed, however often it is run, and goes on where it was
    stopped; `nst-nd status DIR` shows how far it is.

    \b
    nst-nd run configs/image.yaml
    nst-nd run configs/ct.yaml --out results --set style_weight=100
    nst-nd run cohort.yaml --dry-run
    nst-nd run cohort.yaml --workers 4
    nst-nd run cohort.yaml --only 'patient07*' --retry-failed
    nst-nd run cohort.yaml --part 2/5
    """
    del debug
    _prepare()
    from nst_nd.draft import Draft, is_batch, read_yaml

    marked = read_yaml(job)
    folder = job.with_suffix("") if out is None else out
    options = {"device": device, "max_memory": max_memory}
    if is_batch(marked):
        from nst_nd.cli.batch import Wanted, perform

        given = {key: value for key, value in options.items() if value is not None}
        named = None if executor is None else str(executor.value)
        wanted = Wanted(
            only or [], part, retry_failed, overwrite, dry_run, workers, named, strict, quiet, as_json=as_json
        )
        return perform(job, marked, folder, sets or [], given, wanted)
    of_batches = {"--part": part, "--only": only, "--workers": workers, "--executor": executor}
    for option, value in {**of_batches, "--retry-failed": retry_failed or None}.items():
        if value is not None:
            raise ConfigError(f"{option}: is for a batch, and {job} holds one job")
    draft = Draft.of_values(job.parent, marked.value, marked.where)
    for assignment in sets or []:
        draft.assign(assignment)
    _put(draft, **options)
    checked = draft.job()
    name = Path(checked.output)
    if name.is_absolute() or ".." in name.parts:
        raise ConfigError(f"{job}: output: got {checked.output!r}; allowed: a name under the folder that --out gives")
    placed = checked.model_copy(update={"output": str(folder / name)})
    if dry_run:
        from nst_nd.cli.batch import look

        return look(placed, folder, overwrite=overwrite, quiet=quiet, as_json=as_json)
    return _perform(
        placed, overwrite=overwrite, resume=resume, strict=strict, quiet=quiet, as_json=as_json, make_folder=True
    )


def _prepare() -> None:
    from nst_nd.cli.process import keep_pages
    from nst_nd.domains.target_cache import keep_targets

    keep_pages()
    keep_targets()


def _draft(config: Path | None, given: dict[str, Any], sets: list[str] | None) -> Draft:
    """The config, then what the arguments name, then --set (which may not name it again)."""
    _prepare()
    from nst_nd.draft import Draft

    draft = Draft() if config is None else Draft.of_file(config)
    for key, value in given.items():
        draft.put(f"argument {key}", **{key: value})
    for assignment in sets or []:
        key = assignment.partition("=")[0]
        if key in given:
            raise ConfigError(f"--set {assignment}: {key} is given twice, here and as an argument")
        draft.assign(assignment)
    return draft


def _put(draft: Draft, **options: Any) -> None:
    """Each option that was given, under its own name; None is one that was not."""
    for key, value in options.items():
        draft.put(f"--{key.replace('_', '-')}", **{key: value.value if isinstance(value, Enum) else value})


def _styles(paths: list[str], masks: list[str] | None, labels: list[str] | None = None) -> list[dict[str, Any]]:
    for option, given in (("--style-mask", masks), ("--style-label", labels)):
        if given and len(given) != len(paths):
            raise ConfigError(
                f"{option}: got {len(given)} for {len(paths)} styles; allowed: one for each, in their order"
            )
    return [
        {"path": path, "mask": mask, "labels": [] if label is None else label.split(",")}
        for path, mask, label in zip_longest(paths, masks or [], labels or [])
    ]


def _perform(
    job: Job,
    *,
    overwrite: bool,
    resume: bool,
    strict: bool,
    quiet: bool,
    as_json: bool,
    make_folder: bool = False,
    figure: Path | None = None,
) -> int:
    """Run the job with progress and signals, alone or as one of several processes, and say what came of it."""
    from nst_nd.cli.process import stopping
    from nst_nd.cli.progress import progress
    from nst_nd.engine.launch import joined
    from nst_nd.job import run_job

    try:
        with joined(job.device) as team, stopping() as should_stop:
            if job.processes not in (1, team.count):
                raise ConfigError(
                    f"processes: got {job.processes}, and there are {team.count}; start this job with "
                    f"torchrun --nproc-per-node {job.processes} -m nst_nd ..., or as part of a batch"
                )
            silent = quiet or team.rank > 0
            with progress(quiet=silent or as_json) as on_step:
                done = run_job(
                    job,
                    overwrite=overwrite,
                    make_folder=make_folder,
                    on_step=on_step,
                    should_stop=should_stop,
                    on_plan=None if silent else _say,
                    resume=resume,
                    figure=figure,
                    team=team,
                )
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted; nothing is written") from error
    return ExitStatus.DONE if done is None else _report(done, strict=strict, quiet=quiet, as_json=as_json)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _report(done: Done, *, strict: bool, quiet: bool, as_json: bool) -> int:
    """Notes and warnings on stderr, the result on stdout; the exit code."""
    if not quiet:
        for note in done.notes:
            print(f"note: {note}", file=sys.stderr)
    for warning in done.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print(json.dumps(_summary(done)))
    elif not quiet:
        print(done.output)
        for line in metric_lines(done.record["metrics"]):
            print(line)
    if not done.interrupted:
        return ExitStatus.COMPUTATION if strict and done.warnings else ExitStatus.DONE
    print(f"interrupted: the best so far is in {done.output}", file=sys.stderr)
    return ExitStatus.INTERRUPTED


def _summary(done: Done) -> dict[str, Any]:
    keys = ("status", "seconds", "metrics", "warnings", "notes")
    return {"output": str(done.output), "sidecar": str(done.sidecar), **{key: done.record[key] for key in keys}}
