"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Preset(StrEnum):
    """Domains, as in Settings.preset."""

    IMAGE = "image"
    AUDIO = "audio"
    ECG = "ecg"
    VOLUME = "volume"
    CT = "ct"


class Kind(StrEnum):
    """Kinds of signal, as in nst_nd.sample, which imports numpy and so must wait."""

    IMAGE = "image"
    AUDIO = "audio"
    ECG = "ecg"
    VOLUME = "volume"


Styles = Annotated[list[str], typer.Argument(metavar="STYLE", show_default=False, help="One style file or several.")]
Output = Annotated[
    str,
    typer.Option(
        "-o", "--output", metavar="FILE", help="File to write; its suffix says the format (.dicom: a folder)."
    ),
]
PresetOption = Annotated[Preset | None, typer.Option("--preset", help="Domain; by the kind of file if absent.")]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="YAML with more settings.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any key of the config, e.g. extractor.0.seed=7; repeatable."),
]
ContentWeight = Annotated[float | None, typer.Option("--content-weight", help="alpha, the weight of the content.")]
StyleWeight = Annotated[float | None, typer.Option("--style-weight", help="beta, the weight of the style.")]
Iterations = Annotated[int | None, typer.Option("--iterations", help="Optimiser steps over all scales together.")]
Init = Annotated[str | None, typer.Option("--init", metavar="content|noise|style|FILE", help="What to start from.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of every random draw; 0 if absent.")]
Mask = Annotated[str | None, typer.Option("--mask", metavar="FILE", help="0 to 1; 0 keeps the content bit for bit.")]
Labels = Annotated[
    str | None,
    typer.Option("--labels", metavar="FILE", help="Label map of the content; what no style is for stays as it is."),
]
StyleLabels = Annotated[
    list[str] | None,
    typer.Option("--style-label", metavar="N[,N]", help="Labels that a style is for; once for each style."),
]
StyleMasks = Annotated[
    list[str] | None,
    typer.Option("--style-mask", metavar="FILE", help="0 to 1: where a style counts; once for each style."),
]
Device = Annotated[str | None, typer.Option("--device", metavar="auto|cpu|cuda|cuda:1|mps", help="Where to compute.")]
MaxMemory = Annotated[
    str | None,
    typer.Option("--max-memory", metavar="4GiB", help="What a process may hold; what is free if absent."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint OUT.ckpt, if there is one.")]
KindOption = Annotated[Kind | None, typer.Option("--kind", help="Kind of signal in files that do not say (NPY).")]
Rate = Annotated[float | None, typer.Option("--rate", help="Hz, for CSV and NPY files that carry no time.")]
Channels = Annotated[bool, typer.Option("--channels", help="The last axis of a 4-D NIfTI holds channels.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
Figure = Annotated[
    Path | None,
    typer.Option("--figure", metavar="FILE", help="Draw content, style and result side by side: .png, .pdf or .svg."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit code 4 where a metric of the result is beyond its limit.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, notes and results; errors only.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes of a batch; one per GPU or for four cores, if absent."),
]
Part = Annotated[
    str | None, typer.Option("--part", metavar="I/N", help="Of a batch, the I-th of N parts, for any scheduler.")
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="NAME", help="Of a batch, outputs of this name or pattern; may be repeated."),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Also jobs whose inputs could not be used, though nothing changed.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, where, in how much memory, and what is wrong.")
]


class ExecutorName(StrEnum):
    """Who does the jobs of a batch."""

    LOCAL = "local"
    SLURM = "slurm"


ExecutorOption = Annotated[
    ExecutorName | None, typer.Option("--executor", help="Of a batch: processes here, or a Slurm cluster's queue.")
]
