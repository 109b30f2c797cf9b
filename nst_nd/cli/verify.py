"""verify: whether tiles and processes change anything."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from nst_nd.cli import options as o
from nst_nd.errors import ExitStatus


def verify(
    content: Annotated[str, typer.Option("--content", metavar="FILE", help="The content to look at.")],
    style: Annotated[str, typer.Option("--style", metavar="FILE", help="The style.")],
    preset: o.PresetOption = None,
    config: o.Config = None,
    sets: o.Sets = None,
    edge: Annotated[int, typer.Option("--tile", min=4, help="Edge of the tiles of a volume; others get as many.")] = 32,
    processes: Annotated[int, typer.Option("--processes", min=1, max=16, help="Started for the comparison.")] = 2,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Compare the gradient in tiles and in several processes with the untiled one.

    On your own data and settings; exit code 4 where they differ by more than
    rounding.

    \b
    nst-nd verify --content head.nii.gz --style sharp.nii.gz --preset ct
    nst-nd verify --content photo.png --style texture.png --processes 3
    """
    del debug
    from nst_nd import verify as part
    from nst_nd.cli.process import keep_pages
    from nst_nd.engine.launch import joined

    keep_pages()
    settings = _settings(config, sets, {} if preset is None else {"preset": preset.value}, content, style)
    if part.WORKER in os.environ:
        with joined(str(settings.get("device", "auto"))) as team:
            part.work(content, style, settings, edge, team)
        return ExitStatus.DONE
    again = ["verify", "--content", content, "--style", style, "--tile", str(edge)]
    again += [] if preset is None else ["--preset", preset.value]
    again += [] if config is None else ["--config", str(config)]
    again += [word for assignment in sets or [] for word in ("--set", assignment)]
    size, findings, notes = part.verify(content, style, settings, edge, processes, again)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    fine = all(finding.fine for finding in findings)
    if as_json:
        found = [{"how": f.how, "relative_error": f.error, "fine": f.fine} for f in findings]
        print(json.dumps({"size": size, "tolerance": part.TOLERANCE, "fine": fine, "findings": found}))
    else:
        print(f"gradient at {'x'.join(map(str, size))} against the untiled one (allowed {part.TOLERANCE:.0e}):")
        for f in findings:
            print(f"  {f.how:<40} {f.error:.1e}  {'fine' if f.fine else 'TOO LARGE'}")
    return ExitStatus.DONE if fine else ExitStatus.COMPUTATION


def _settings(
    config: Path | None, sets: list[str] | None, given: dict[str, Any], content: str, style: str
) -> dict[str, Any]:
    from nst_nd.draft import Draft

    draft = Draft() if config is None else Draft.of_file(config)
    draft.put("the command line", content=content, style=[{"path": style}], output="none.npy", **given)
    for assignment in sets or []:
        draft.assign(assignment)
    return draft.job().settings_given()
