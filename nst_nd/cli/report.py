"""report: one HTML file about a result, or about a batch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nst_nd.cli import options as o
from nst_nd.errors import ExitStatus

if TYPE_CHECKING:
    from nst_nd.report.job_report import Written

# jobs after which a long batch says how far it is
_EVERY = 100
# results of a folder that an error names
_NAMED = 3
_FILE_SUFFIXES = (".html", ".htm")


def report(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT|DIR",
            show_default=False,
            help="A result with its sidecar, its folder, or the folder of a batch.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="The page; OUT.report.html or DIR/report.html if absent."),
    ] = None,
    content: Annotated[
        Path | None, typer.Option("--content", metavar="FILE", help="The content, where it lies elsewhere.")
    ] = None,
    style: Annotated[
        list[Path] | None, typer.Option("--style", metavar="FILE", help="A style that lies elsewhere; repeatable.")
    ] = None,
    inputs: Annotated[
        list[Path] | None,
        typer.Option("--inputs", metavar="DIR", help="A folder to look for content and style in; repeatable."),
    ] = None,
    no_thumbnails: Annotated[
        bool, typer.Option("--no-thumbnails", help="Of a batch: no pictures of results, which have to be read.")
    ] = False,
    rate: o.Rate = None,
    channels: o.Channels = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page if it exists.")] = False,
    quiet: o.Quiet = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Make one HTML page about a result or a batch, to be opened without a network.

    A folder that is no batch's stands for the one result with a sidecar in it.
    Of a result: what was asked, what came out, how it converged, what is good
    and bad about it, and how to have it again. Content and style are found by
    their names and sha256 beside the result, one folder up or here. Of a batch:
    every job in a table, failed ones first, those unlike the others marked.

    \b
    nst-nd report burning.flac
    nst-nd report results/job/
    nst-nd report out.nii.gz -o out.html --inputs scans/
    nst-nd report cohort/ --overwrite
    """
    del debug
    from nst_nd.batch.manifest import FILE
    from nst_nd.batch.records import HOME

    given = [*([content] if content else []), *(style or []), *(inputs or [])]
    if (target / HOME / FILE).is_file():
        _refuse(given, rate, channels)
        written = _batch(target, output, thumbnails=not no_thumbnails, overwrite=overwrite, quiet=quiet or as_json)
    else:
        written = _job(target, output, content, style or [], inputs or [], rate, channels, overwrite=overwrite)
    if not quiet:
        for line in written.said:
            print(f"note: {line}", file=sys.stderr)
    if as_json:
        print(json.dumps({"report": str(written.path), "bytes": written.size, "notes": list(written.said)}))
    elif not quiet:
        print(f"{written.path}  {written.size / 1e6:.2f} MB")
    return ExitStatus.DONE


def _job(
    target: Path,
    output: Path | None,
    content: Path | None,
    styles: list[Path],
    folders: list[Path],
    rate: float | None,
    channels: bool,
    *,
    overwrite: bool,
) -> Written:
    from nst_nd.errors import InputError
    from nst_nd.report.job_report import Sources, job_report, report_of

    target = _result(target)
    for path in [*([content] if content else []), *styles]:
        if not path.exists():
            raise InputError(f"{path}: no such file")
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: --inputs names a folder, and this is none")
    page = _checked(output or report_of(target), overwrite=overwrite)
    sources = Sources(content, styles, folders, rate, channels)
    return job_report(target, page, sources=sources, overwrite=overwrite)


def _result(target: Path) -> Path:
    """The target itself, or the only result in a folder. Raises InputError where there is none, or several."""
    from nst_nd.errors import InputError
    from nst_nd.report.inputs import results_in
    from nst_nd.report.text import visible
    from nst_nd.sidecar import shown, sidecar_of

    if not target.exists():
        raise InputError(f"{target}: no such file")
    if not target.is_dir() or (target.name and sidecar_of(target).is_file()):
        return target
    found = results_in(target)
    if not found:
        raise InputError(
            f"{target}: is neither the folder of a batch nor one with a result and its sidecar\n"
            "give the output of a job, or the folder that `nst-nd run` wrote to"
        )
    if len(found) > 1:
        names = ", ".join(visible(shown(path)) for path in found[:_NAMED]) + ", ..." * (len(found) > _NAMED)
        raise InputError(
            f"{target}: has {len(found)} results with sidecars and no record of a batch: {names}\ngive one of them"
        )
    return found[0]


def _batch(target: Path, output: Path | None, *, thumbnails: bool, overwrite: bool, quiet: bool) -> Written:
    from nst_nd.report.batch_report import FILE, batch_report

    def on_job(done: int, total: int, what: str) -> None:
        if done % _EVERY == 0 and not quiet:
            print(f"{done} of {total} {what}", file=sys.stderr, flush=True)

    page = _checked(output or target / FILE, overwrite=overwrite)
    return batch_report(target, page, thumbnails=thumbnails, overwrite=overwrite, on_job=on_job)


def _refuse(given: list[Path], rate: float | None, channels: bool) -> None:
    from nst_nd.errors import ConfigError

    if given or rate is not None or channels:
        raise ConfigError("--content, --style, --inputs, --rate, --channels: are for one result, and this is a batch")


def _checked(path: Path, *, overwrite: bool) -> Path:
    """ConfigError unless it is to be a page; OutputError where it cannot be written."""
    from nst_nd.errors import ConfigError, OutputError
    from nst_nd.io.atomic import refuse_existing

    if path.suffix.lower() not in _FILE_SUFFIXES:
        raise ConfigError(f"{path}: a report is a page; allowed: {', '.join(_FILE_SUFFIXES)}")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: {path.parent} is not a folder that exists; make it first")
    refuse_existing(path, overwrite)
    return path
