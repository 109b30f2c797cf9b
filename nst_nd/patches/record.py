"""The JSON beside a picture: each patch with its file, its place in samples and in mm, seconds or pixels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nst_nd.boxes import Box
from nst_nd.engine.memory import bytes_of, in_words, peak_resident
from nst_nd.io.atomic import publishing
from nst_nd.patches.draw import DPI, figure_of
from nst_nd.patches.found import Found, Patch, Synthetic
from nst_nd.sample import Grid, Kind
from nst_nd.sidecar import plain, shown, sidecar_of, versions

# names of the axes in the order of the arrays
AXES: dict[Kind, tuple[str, ...]] = {
    "image": ("y", "x"),
    "audio": ("time",),
    "ecg": ("time",),
    "volume": ("i", "j", "k"),
}
_CAUTION = "for research, not for diagnosis"


def save(found: Found, path: Path, *, overwrite: bool, seconds: float) -> dict[str, Any]:
    """Draw the picture (.png, .pdf, .svg) and write PATH.json; both appear, or none. Returns what the JSON holds.

    Raises OutputError where they cannot be written or exist and `overwrite` does not give them up.
    """
    import matplotlib as mpl

    record = record_of(found, seconds)
    figure = figure_of(found)
    dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with publishing(path, overwrite=overwrite) as private, mpl.rc_context({"svg.hashsalt": "nst_nd"}):
        figure.savefig(private, dpi=DPI, metadata=dates.get(path.suffix.lower()))
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
        sidecar_of(private).write_text(f"{text}\n", encoding="utf-8")
    return record


def record_of(found: Found, seconds: float) -> dict[str, Any]:
    """Plain values, see the module. No folder and nothing of a header."""
    watched, settings = found.watched, found.settings
    field, grid = watched.receptive, found.first.grid
    peak = peak_resident()
    caution = {"caution": _CAUTION} if found.kind in ("ecg", "volume") else {}
    record = {
        "status": "done",
        **caution,
        "versions": versions(),
        "kind": found.kind,
        "preset": settings.preset,
        "network": _network_name(found),
        "layer": watched.layer,
        "units_of_layer": watched.channels,
        "axes": AXES[found.kind],
        "grid": _grid(grid),
        "receptive_field": {
            "samples": field.extent,
            grid.unit: None if field.extent is None else _times(field.extent, grid),
            "stride": field.stride,
        },
        "precision": settings.precision,
        "device": str(watched.device),
        "seconds": round(seconds, 3),
        "max_memory": settings.max_memory,
        "peak_memory_bytes": peak,
        "inputs": found.inputs,
        "skipped": [{"file": shown(file), "reason": reason} for file, reason in found.skipped],
        "notes": [*found.notes, *_too_much(found, peak)],
        "files": [file for _, file in sorted(found.files.items())],
        "units": [_unit(found, unit) for unit in found.patches],
    }
    return dict(plain(record))


def _too_much(found: Found, peak: int) -> list[str]:
    """A note where more memory was taken than was allowed."""
    limit = found.settings.max_memory
    if limit is None or found.watched.device.type != "cpu" or peak <= bytes_of(limit):
        return []
    return [f"the peak was {in_words(peak)}, above max_memory {limit}; the plan predicted less"]


def _network_name(found: Found) -> str:
    """As a sidecar has it: weights by their name alone."""
    name = found.watched.extractor.name
    for extractor in found.settings.extractor:
        if extractor.weights is not None:
            name = name.replace(extractor.weights, Path(extractor.weights).name)
    return name


def _unit(found: Found, unit: int) -> dict[str, Any]:
    made = found.synthetic.get(unit)
    synthetic = {} if made is None else {"synthetic": _synthetic(made)}
    return {"unit": unit, "patches": [_patch(found, unit, p) for p in found.patches[unit]], **synthetic}


def _patch(found: Found, unit: int, patch: Patch) -> dict[str, Any]:
    """box: within the file's samples, the first and the one after the last of each axis. field: beyond its ends too."""
    unit_word = patch.file_grid.unit
    ratio = [a / b for a, b in zip(patch.grid.spacing, patch.file_grid.spacing, strict=True)]
    seen = {"seen": {**_grid(patch.grid), "size": patch.size, "box": patch.box, "field": patch.field}}
    return {
        "layer": found.watched.layer,
        "unit": unit,
        "activation": patch.activation,
        "file": shown(patch.file),
        "input": patch.input,
        "position": patch.position,
        "box": _in_file(patch.box, ratio, patch.file_size) if patch.resampled else patch.box,
        "field": _in_file(patch.field, ratio, None) if patch.resampled else patch.field,
        "clipped": patch.clipped,
        unit_word: [_times(span, patch.grid, axis) for axis, span in enumerate(patch.box)],
        f"centre_{unit_word}": [
            (span.start + span.stop) / 2 * step for span, step in zip(patch.field, patch.grid.spacing, strict=True)
        ],
        "scaling": _scaling(found, patch),
        **_world(patch),
        **(seen if patch.resampled else {}),
    }


def _scaling(found: Found, patch: Patch) -> dict[str, Any]:
    """Model units are (value - offset) * gain, for each channel that the network sees.

    detail: with a region, the network sees of these only what is finer than lock_mm, and 0 outside of the region.
    """
    region, lock = found.settings.region, found.settings.lock_mm
    detail = {} if region is None else {"detail": {"region": region, "lock_mm": lock}}
    gain, offset = patch.scaling.gain.tolist(), patch.scaling.offset.tolist()
    return {"unit": patch.units, "gain": gain, "offset": offset, **detail}


def _world(patch: Patch) -> dict[str, Any]:
    """The centre of the field in the file's world, in mm; a voxel's centre has its own whole number."""
    affine = patch.file_grid.affine
    if affine is None:
        return {}
    steps = zip(patch.field, patch.grid.spacing, patch.file_grid.spacing, strict=True)
    index = [(span.start + span.stop) / 2 * a / b - 0.5 for span, a, b in steps]
    return {"centre_world_mm": [round(float(v), 4) for v in (np.asarray(affine) @ [*index, 1.0])[:3]]}


def _in_file(box: Box, ratio: Sequence[float], size: Sequence[int] | None) -> list[list[int]]:
    """A box of the signal that the network sees, in samples of the file, rounded outwards."""
    found = []
    for axis, (span, r) in enumerate(zip(box, ratio, strict=True)):
        start, stop = int(np.floor(span.start * r + 1e-6)), int(np.ceil(span.stop * r - 1e-6))
        found.append([start, stop] if size is None else [max(0, start), min(size[axis], stop)])
    return found


def _times(numbers: Sequence[int], grid: Grid, axis: int | None = None) -> list[float]:
    """In the unit of a grid: one number per axis, or all along one."""
    steps = grid.spacing if axis is None else [grid.spacing[axis]] * len(numbers)
    return [n * step for n, step in zip(numbers, steps, strict=True)]


def _grid(grid: Grid) -> dict[str, Any]:
    return {"unit": grid.unit, "spacing": grid.spacing, "rate": grid.rate}


def _synthetic(made: Synthetic) -> dict[str, Any]:
    return {"activation": made.activation, "start": made.start, "steps": made.steps, "seed": made.seed}
