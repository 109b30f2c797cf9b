"""info: what a file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from nst_nd.cli import options as o

if TYPE_CHECKING:
    from nst_nd import sample


def info(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", show_default=False, help="Any file that nst-nd reads, or a folder of DICOM slices."
        ),
    ],
    kind: o.KindOption = None,
    rate: o.Rate = None,
    channels: o.Channels = False,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="OUT", help="Draw it, with its scales: .png, .pdf or .svg.")
    ] = None,
    window: Annotated[
        str | None,
        typer.Option("--window", metavar="NAME|LOW,HIGH", help="Values from black to white of the picture; lung, ..."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the picture if it exists.")] = False,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Say what a file holds.

    Kind, size, channels, sampling, unit and range; nothing of a patient is shown.

    \b
    nst-nd info head.nii.gz
    nst-nd info ecg.csv --rate 500 --json
    nst-nd info ct_series/
    nst-nd info head.nii.gz --figure head.png --window brain
    nst-nd info head.nii.gz --figure head.png --window=-100,300
    """
    del debug
    from nst_nd.errors import ConfigError
    from nst_nd.figures import check_figure, write
    from nst_nd.io import load

    if figure is not None:
        check_figure(figure, overwrite=overwrite, others=[file])
    elif window is not None:
        raise ConfigError("--window: is for a picture; give --figure too")
    named = cast("sample.Kind | None", kind and kind.value)
    signal = load(file, kind=named, rate=rate, channels=channels)
    facts = _facts(signal, file)
    if figure is not None:
        write(signal.plot(window=_window(window)), figure, overwrite=overwrite)
    if as_json:
        print(json.dumps(facts))
        return
    for key, value in facts.items():
        for item in value if key == "notes" else [value]:
            if item not in (None, []):
                print(f"{key:<9}{_words(item)}")


def _window(words: str | None) -> str | list[float] | None:
    """The name of a window, or its two ends."""
    if words is None or "," not in words:
        return words
    try:
        return [float(word) for word in words.split(",")]
    except ValueError:
        return words


def _facts(signal: sample.Sample, file: Path) -> dict[str, Any]:
    grid = signal.grid
    # as people say it: images width first, volumes in the order of the file
    size = signal.shape[::-1] if signal.kind == "image" else signal.shape
    return {
        "file": file.name,
        "kind": signal.kind,
        "size": list(size),
        "channels": signal.nc,
        "names": list(signal.channels),
        "rate": grid.rate,
        "seconds": signal.shape[0] / grid.rate if grid.rate else None,
        "spacing": None if grid.rate or grid.unit == "px" else list(grid.spacing),
        "grid": "Hz" if grid.rate else grid.unit,
        "units": signal.units,
        "dtype": str(signal.data.dtype),
        "range": [float(signal.data.min()), float(signal.data.max())],
        "notes": list(signal.notes),
    }


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(_words(item) for item in value) if isinstance(value, list) else str(value)
