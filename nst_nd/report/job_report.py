"""The report of one result: read what is there, judge it, put it on a page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nst_nd.report import page
from nst_nd.report.convergence import charts
from nst_nd.report.inputs import Found, find, same
from nst_nd.report.judgement import ORDER, WORDS, Judged, judged
from nst_nd.report.pictures import Role
from nst_nd.report.record import Sidecar, read_sidecar
from nst_nd.report.repeat import command, job_text
from nst_nd.report.view import View, view_of

SUFFIX = ".report.html"
# settings that are said first; all of them stand below
_FIRST = (
    *("preset", "method", "iterations", "scales", "optimizer", "init", "content_weight", "style_weight", "tv_weight"),
    *("content_layers", "style_layers", "statistic", "content_normalisation", "style_normalisation", "pooling"),
    *("padding", "step_exponent", "style_scale", "original_colors", "window", "lock_mm", "protect", "region"),
)
_MIB = 1 << 20


@dataclass(frozen=True)
class Sources:
    """What a sidecar cannot know. content, styles: files in place of those it names. folders: where to look besides.

    rate, channels: as of `load`.
    """

    content: Path | None = None
    styles: Sequence[Path] = ()
    folders: Sequence[Path] = ()
    rate: float | None = None
    channels: bool = False


@dataclass(frozen=True)
class Written:
    """path, and its size in bytes. said: what is not on the page, and why, in words."""

    path: Path
    size: int
    said: tuple[str, ...] = field(default=())


def report_of(output: Path) -> Path:
    """out.png -> out.png.report.html."""
    return output.with_name(f"{output.name}{SUFFIX}")


def job_report(output: Path, path: Path, *, sources: Sources | None = None, overwrite: bool = False) -> Written:
    """Write the report of a result to `path`.

    Raises InputError where result or sidecar are missing or cannot be read, OutputError where `path` cannot be written.
    """
    sources = sources or Sources()
    record = read_sidecar(output)
    inputs = _found(record, output, sources)
    paths = _paths(inputs, output)
    view = view_of(record, paths, rate=sources.rate, channels=sources.channels)
    changed = not same(output, record.output)
    html = _html(record, inputs, view, changed=changed)
    said = [f"{f.file.role} {f.file.name}: {f.words}" for f in inputs if f.state != "found"]
    said += ["the result has changed since its sidecar was written"] if changed else []
    return Written(path, page.write(html, path, overwrite=overwrite), (*said, *view.missing))


def _found(record: Sidecar, output: Path, sources: Sources) -> list[Found]:
    folders = [output.parent, *sources.folders, output.resolve().parent.parent, Path()]
    styles = iter(sources.styles)
    found = []
    for file in record.inputs:
        given = sources.content if file.role == "content" else None
        given = next(styles, None) if file.role == "style" else given
        found.append(find(file, folders, given))
    return found


def _paths(inputs: Sequence[Found], output: Path) -> dict[Role, Path]:
    """Of the content, the first style and the result, in the order in which they are shown."""
    paths: dict[Role, Path] = {}
    roles: tuple[Role, ...] = ("content", "style")
    for role in roles:
        first = next((found.path for found in inputs if found.file.role == role), None)
        if first is not None:
            paths[role] = first
    paths["result"] = output
    return paths


def _html(record: Sidecar, inputs: Sequence[Found], view: View, *, changed: bool) -> str:
    metrics, drawn, job_file = judged(record), charts(record.steps), job_text(record)
    names: dict[str, str] = {"result": record.output.name, "difference": ""}
    for found in reversed(inputs):
        names[found.file.role] = found.file.name
    code, packed = page.niivue() if view.volumes else ("", "")
    return page.render(
        "job.html",
        ("theme.js", "compare.js", *(("volume.js",) if view.volumes else ())),
        (code,) if view.volumes else (),
        record=record,
        name=record.output.name,
        names=names,
        summary=_summary(record),
        counts=_counts(metrics),
        changed=changed,
        inputs=inputs,
        view=view,
        slices=_slices(view),
        volume_data={"volumes": view.volumes, "window": view.window},
        niivue=packed,
        metrics=metrics,
        charts=drawn,
        several_scales=any(len(chart.curves) > 1 for chart in drawn),
        asked=_asked(record),
        job_file=job_file,
        job_uri=f"data:text/yaml;base64,{base64.b64encode(job_file.encode()).decode()}",
        command=command(record),
        facts=_facts(record),
    )


def _summary(record: Sidecar) -> str:
    size = record.shape[::-1] if record.kind == "image" else record.shape
    steps = len(record.steps.rows)
    samples = " samples" if record.kind in ("audio", "ecg") else ""
    parts = [record.preset, " × ".join(map(str, size)) + samples, f"{steps} steps", f"seed {record.seed}"]
    return ", ".join([*parts, *([_duration(record.seconds)] if record.seconds is not None else [])])


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{seconds:.1f} s" if seconds < 60 else f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02} h"


def _counts(metrics: Sequence[Judged]) -> list[tuple[str, str, int]]:
    counts = [(verdict, WORDS[verdict], sum(m.verdict == verdict for m in metrics)) for verdict in ORDER]
    return [entry for entry in counts if entry[2]]


def _slices(view: View) -> dict[str, Any]:
    pictures = {panel.role: panel.pictures for panel in view.panels}
    return {"pictures": pictures, "places": view.places, "depth": view.depth}


def _asked(record: Sidecar) -> list[tuple[str, str]]:
    networks = [f"{n.get('name')} ({n.get('label') or n.get('name')})" for n in _networks(record.settings)]
    first = [(key, _value(record.settings[key])) for key in _FIRST if record.settings.get(key) not in (None, [], {})]
    return [*first, ("networks", ", ".join(networks) or "–")]


def _networks(settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = settings.get("extractor")
    return [n for n in found if isinstance(n, Mapping)] if isinstance(found, list) else []


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return str(value) if not isinstance(value, bool) else "yes" if value else "no"


def _facts(record: Sidecar) -> list[tuple[str, str]]:
    asked = record.asked
    versions = [(name, version) for name, version in record.versions.items() if version is not None]
    peak = record.peak_memory_bytes
    facts: list[tuple[str, Any]] = [
        ("seed", record.seed),
        ("device", " ".join(filter(None, [record.device, record.device_name]))),
        ("threads", record.threads),
        ("seconds", record.seconds),
        ("peak memory", None if peak is None else f"{peak / _MIB:.0f} MiB"),
        ("sampling rate given", asked.rate if asked is not None else None),
        ("request (sha256 of settings and inputs)", record.request),
        *versions,
    ]
    return [(key, str(value)) for key, value in facts if value not in (None, "")]
