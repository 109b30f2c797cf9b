"""metrics: what a result did to its content, from the files alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from nst_nd.cli import options as o
from nst_nd.cli.table import metric_lines
from nst_nd.errors import ExitStatus

if TYPE_CHECKING:
    from nst_nd import sample

# NPY stores no grid: the content's is taken
_GRIDLESS = ".npy"


def metrics(
    result: Annotated[Path, typer.Argument(metavar="RESULT", show_default=False, help="What came out.")],
    content: Annotated[Path, typer.Option("--content", metavar="FILE", help="What it was made of.")],
    style: Annotated[Path, typer.Option("--style", metavar="FILE", help="What it should look or sound like.")],
    preset: o.PresetOption = None,
    kind: o.KindOption = None,
    rate: o.Rate = None,
    channels: o.Channels = False,
    figure: o.Figure = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the picture if it exists.")] = False,
    strict: o.Strict = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Measure a result against its content and its style.

    With networks and statistics that no preset optimises; the result may come
    from any program. Limits are the preset's.

    \b
    nst-nd metrics out.nii.gz --content c.nii.gz --style s.nii.gz --preset ct
    nst-nd metrics burning.wav --content music.flac --style fire.wav --json
    nst-nd metrics out.hea --content c.hea --style s.csv --figure paper.png
    """
    del debug
    from nst_nd.domains import PRESETS
    from nst_nd.domains.guard import breaches
    from nst_nd.domains.metrics import measure
    from nst_nd.domains.resolve import resolve
    from nst_nd.errors import ConfigError, InputError
    from nst_nd.figures import check_figure, draw
    from nst_nd.io import load, suffix_of
    from nst_nd.job import RATELESS
    from nst_nd.sidecar import plain

    if figure is not None:
        check_figure(figure, overwrite=overwrite, others=[result, content, style])
    named = cast("sample.Kind | None", kind and kind.value)

    def read(file: Path) -> sample.Sample:
        return load(file, kind=named, rate=rate if suffix_of(file) in RATELESS else None, channels=channels)

    ours, theirs, made = (read(file) for file in (content, style, result))
    if (made.kind, made.data.shape) != (ours.kind, ours.data.shape):
        got, allowed = (f"{s.kind} of {s.nc} x {'x'.join(map(str, s.shape))}" for s in (made, ours))
        raise InputError(f"{result}: {got}; allowed: {allowed}, as the content")
    if suffix_of(result) != _GRIDLESS and not _alike(made.grid, ours.grid):
        steps = [" x ".join(f"{s:g}" for s in g.spacing) + f" {g.unit}" for g in (made.grid, ours.grid)]
        raise InputError(f"{result}: its samples are {steps[0]} apart; allowed: {steps[1]}, as the content's")
    if theirs.kind != ours.kind:
        raise InputError(f"{style}: of kind {theirs.kind}; allowed: {ours.kind}, as the content")
    settings = resolve({} if preset is None else {"preset": preset.value}, ours.kind)
    assert settings.preset is not None
    if PRESETS[settings.preset].kind != ours.kind:
        raise ConfigError(f"--preset {settings.preset}: is for {PRESETS[settings.preset].kind}, not for {ours.kind}")
    measured = measure(ours, [theirs], made, settings.preset)
    if figure is not None:
        draw(ours, theirs, made, figure, overwrite=overwrite, hounsfield=settings.preset == "ct")
    beyond = breaches(measured, settings.limits)
    found = plain(measured)
    for breach in beyond:
        print(f"warning: {breach.words}", file=sys.stderr)
    if as_json:
        print(json.dumps({"metrics": found, "warnings": [breach.words for breach in beyond]}))
    else:
        for line in metric_lines(found):
            print(line)
    return ExitStatus.COMPUTATION if strict and beyond else ExitStatus.DONE


def _alike(a: sample.Grid, b: sample.Grid) -> bool:
    """Up to the rounding of single precision headers."""
    return all(abs(x - y) <= 1e-4 * y for x, y in zip(a.spacing, b.spacing, strict=True))
