"""patches: what units of a network respond to, from files to a picture."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from nst_nd.cli import options as o
from nst_nd.errors import ConfigError, ExitStatus, Interrupted

if TYPE_CHECKING:
    from nst_nd import sample
    from nst_nd.patches.found import Found

_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
_MOST_UNITS = 64


def patches(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", show_default=False, help="Files, folders of them, patterns."),
    ],
    layer: Annotated[str, typer.Option("--layer", metavar="NAME", help="relu3_1; of several networks vgg19.relu3_1.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FIG", help="Picture: .png, .pdf or .svg.")],
    units: Annotated[
        str | None, typer.Option("--units", metavar="0-8,12", help="Channels of the layer; the first nine if absent.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, max=100, help="Patches of each unit.")] = 9,
    per_file: Annotated[
        int | None, typer.Option("--per-file", min=1, help="Patches of a unit from one file; any number if absent.")
    ] = None,
    inside: Annotated[
        bool, typer.Option("--inside", help="Leave out patches that reach beyond the ends of a signal.")
    ] = False,
    maximise: Annotated[bool, typer.Option("--maximise", help="Also make an input that excites each unit.")] = False,
    steps: Annotated[int, typer.Option("--steps", min=1, max=100_000, help="Of --maximise, for each unit.")] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of --maximise.")] = 0,
    network: Annotated[
        str | None,
        typer.Option("--network", metavar="NAME", help="vgg19, random, spectrogram, cochlea; the preset's if absent."),
    ] = None,
    preset: o.PresetOption = None,
    config: o.Config = None,
    sets: o.Sets = None,
    device: o.Device = None,
    max_memory: o.MaxMemory = None,
    kind: o.KindOption = None,
    rate: o.Rate = None,
    channels: o.Channels = False,
    strict: Annotated[bool, typer.Option("--strict", help="End at the first file that cannot be used.")] = False,
    overwrite: o.Overwrite = False,
    quiet: o.Quiet = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Show which patches of many files excite units of a layer most.

    One file after the other, in tiles where it is large: memory depends neither
    on their number nor, beyond --max-memory, on their size. Patches are as
    large as the layer's receptive field; no two of a unit overlap. FIG.json
    says where each was found. A file that cannot be used is named and left out
    (exit code 5), and so is one of another kind that no one named. Files that
    are named are of one kind.

    \b
    nst-nd patches photos/ --layer relu3_1 --units 0-8 -o units.png
    nst-nd patches 'ct/*.nii.gz' --preset ct --layer o1.relu2 -o ct.png
    nst-nd patches songs/ --layer cochlea.modulation --top 16 -o fig.pdf
    nst-nd patches *.png --layer relu2_1 --maximise -o made.png
    nst-nd patches scans/ --network random --layer relu2 -o random.png \\
        --set extractor.0.seed=3 --max-memory 4GiB
    """
    del debug
    started = time.perf_counter()
    _check_output(output, overwrite=overwrite)
    wanted = None if units is None else parsed_units(units)
    from nst_nd.cli.process import keep_pages, stopping

    if max_memory is None:
        keep_pages()
    from nst_nd.cli.counting import counting
    from nst_nd.io import ReadOptions
    from nst_nd.patches.inputs import collect
    from nst_nd.patches.record import save
    from nst_nd.patches.search import Query, search
    from nst_nd.sidecar import sidecar_of

    chosen = collect(inputs, exclude=(output, sidecar_of(output)) if overwrite else ())
    given = {"preset": preset and preset.value, "device": device, "max_memory": max_memory, "extractor": network}
    settings = _settings(config, sets, given, chosen.files[0])
    query = Query(layer, wanted, top, per_file, inside, maximise, strict)
    options = ReadOptions(cast("sample.Kind | None", kind and kind.value), rate, channels)
    silent = quiet or as_json
    try:
        with stopping() as should_stop:
            with counting("files", quiet=silent) as told:
                found = search(chosen.files, settings, query, options, told, should_stop, chosen.loose)
            if maximise:
                from nst_nd.patches.maximise import maximised

                with counting("units", quiet=silent) as told:
                    found = maximised(found, steps, seed, told, should_stop)
            record = save(found, output, overwrite=overwrite, seconds=time.perf_counter() - started)
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted; nothing is written") from error
    return _report(found, record, output, quiet=quiet, as_json=as_json)


def parsed_units(words: str) -> tuple[int, ...]:
    """0-8,12 as the numbers that it names, each once. Raises ConfigError."""
    found: dict[int, None] = {}
    for part in words.split(","):
        match = _RANGE.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise ConfigError(f"--units {words}: {part!r} is no unit and no range; allowed: 3, or 0-8, or 0-8,12")
        if last - first >= _MOST_UNITS:
            raise ConfigError(f"--units {words}: allowed are at most {_MOST_UNITS} units")
        found |= dict.fromkeys(range(first, last + 1))
    return tuple(found)


def _check_output(output: Path, *, overwrite: bool) -> None:
    from nst_nd.figures import check_figure
    from nst_nd.io.atomic import refuse_existing
    from nst_nd.sidecar import sidecar_of

    check_figure(output, overwrite=overwrite)
    refuse_existing(sidecar_of(output), overwrite)


def _settings(config: Path | None, sets: list[str] | None, given: dict[str, Any], first: Path) -> dict[str, Any]:
    """Keys of Settings; the files take the places that a job has for them."""
    from nst_nd.draft import Draft

    draft = Draft() if config is None else Draft.of_file(config)
    draft.put("the command line", style=[{"path": str(first)}], output="none.npy")
    for key, value in given.items():
        draft.put("--network" if key == "extractor" else f"--{key.replace('_', '-')}", **{key: value})
    for assignment in sets or []:
        draft.assign(assignment)
    return draft.job().settings_given()


def _report(found: Found, record: dict[str, Any], output: Path, *, quiet: bool, as_json: bool) -> int:
    """Notes and what was left out on stderr, the result on stdout; the exit code."""
    from nst_nd.report.text import visible
    from nst_nd.sidecar import encodable

    if not quiet:
        for note in record["notes"]:
            print(f"note: {visible(note)}", file=sys.stderr)
    for skipped in record["skipped"]:
        print(f"warning: {visible(skipped['file'])} is left out: {visible(skipped['reason'])}", file=sys.stderr)
    if as_json:
        print(json.dumps({"output": str(output), **record}))
    elif not quiet:
        print(encodable(str(output)))
        for unit, several in found.patches.items():
            best = f"{several[0].activation:.4g}" if several else "no response"
            print(
                f"unit {unit:<5} {best:<12} {', '.join(dict.fromkeys(visible(p['file']) for p in _of(record, unit)))}"
            )
    return ExitStatus.SOME_FAILED if found.skipped else ExitStatus.DONE


def _of(record: dict[str, Any], unit: int) -> list[dict[str, Any]]:
    return next(entry["patches"] for entry in record["units"] if entry["unit"] == unit)
