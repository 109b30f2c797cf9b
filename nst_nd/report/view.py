"""What there is to see of a job: its signals as panels, and what had to be done to show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from nst_nd.drawing.signal import colours_of
from nst_nd.errors import NstError
from nst_nd.io import load, suffix_of
from nst_nd.report.papers import paper_panels
from nst_nd.report.pictures import Panel, Role, diverging, image_of, largest_change, stored
from nst_nd.report.record import Sidecar
from nst_nd.report.sounds import sound_panels
from nst_nd.report.text import visible
from nst_nd.report.volumes import preview, slices_of
from nst_nd.sample import Sample
from nst_nd.sidecar import shown

# the only files that leave their sampling rate open
_RATELESS = (".csv", ".npy")


@dataclass(frozen=True)
class View:
    """panels: in the order in which they stand. places: of the slider, none where there is none. volumes: NIfTI by
    role, as base64, which show them `whole`. said: what had to be done to show the rest. missing: what is not shown,
    and why.
    """

    panels: tuple[Panel, ...] = ()
    places: tuple[int, ...] = ()
    depth: int = 0
    edges: tuple[str, ...] = ()
    volumes: Mapping[str, str] = field(default_factory=dict)
    whole: str = ""
    window: tuple[float, float] | None = None
    said: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def middle(self) -> int:
        """Where the slider stands at first."""
        return len(self.places) // 2


def view_of(record: Sidecar, paths: Mapping[Role, Path], *, rate: float | None = None, channels: bool = False) -> View:
    """Of the files at hand, by role; the result must be among them.

    rate, channels: as of `load`, where the sidecar does not have them. Raises what `load` does for the result; an input
    that cannot be read is said.
    """
    asked = record.asked
    rate = rate if rate is not None or asked is None else asked.rate
    channels = channels or (asked is not None and asked.channels)
    missing: list[str] = []
    samples: dict[Role, Sample] = {}
    for role, path in paths.items():
        try:
            own = rate if suffix_of(path) in _RATELESS else None
            samples[role] = load(path, kind=record.kind, rate=own, channels=channels)
        except NstError as error:
            if role == "result":
                raise
            missing.append(f"{role}: cannot be shown: {_without_folder(str(error), path)}")
    content, result = samples.get("content"), samples["result"]
    if content is not None and content.data.shape != result.data.shape:
        missing.append("content: not of the size of the result, so there is no difference to show")
        samples.pop("content")
    return View(**_VIEWS[result.kind](samples, record), missing=tuple(missing))


def _image(samples: Mapping[Role, Sample], record: Sidecar) -> dict[str, Any]:
    del record
    pictures: dict[Role, Image.Image] = {role: image_of(sample) for role, sample in samples.items()}
    words: dict[Role, str] = {}
    if "content" in samples:
        change = (samples["result"].data - samples["content"].data).mean(axis=0) * 255.0
        largest = largest_change(change)
        pictures["difference"] = diverging(change, largest)
        words["difference"] = f"mean over the channels: blue {largest:.3g} levels of 255 darker, red as much brighter"
    panels = []
    for role, picture in pictures.items():
        uri, said = stored(picture)
        size = f"{picture.width} × {picture.height} pixels"
        said = "; ".join(part for part in (words.get(role, size), said) if part)
        panels.append(Panel(role, (uri,), picture.size, f"{role}: the image, {size}", said))
    many = [f"{role}: shown: {said}" for role, s in samples.items() if (said := colours_of(s.nc)[1])]
    return {"panels": tuple(panels), "said": tuple(many)}


def _audio(samples: Mapping[Role, Sample], record: Sidecar) -> dict[str, Any]:
    del record
    return {"panels": tuple(sound_panels(list(samples.items())))}


def _ecg(samples: Mapping[Role, Sample], record: Sidecar) -> dict[str, Any]:
    del record
    return {"panels": tuple(paper_panels(list(samples.items())))}


def _volume(samples: Mapping[Role, Sample], record: Sidecar) -> dict[str, Any]:
    content, result = samples.get("content"), samples["result"]
    seen = slices_of(content, samples.get("style"), result, record.settings.get("window"))
    unit = "HU" if record.preset == "ct" else ""
    low, high = seen.window
    said = [f"slices in the window {low:.4g} to {high:.4g} {unit}".rstrip() + ", 8 bits, without losses"]
    if len(seen.places) < seen.depth:
        said.append(f"{len(seen.places)} of {seen.depth} slices, spread evenly")
    panels = []
    for panel in seen.panels:
        sample = samples.get(panel.role, result)
        size = " × ".join(map(str, sample.shape)) + " voxels of " + " × ".join(f"{s:.3g}" for s in sample.grid.spacing)
        change = f"blue {seen.largest:.3g} {unit} lower, red as much higher".replace("  ", " ")
        panels.append(_with_words(panel, change if panel.role == "difference" else f"{size} mm"))
    volumes = {}
    for role in ("content", "result"):
        if role in samples:
            volumes[role], shape = preview(samples[role])
    size = " × ".join(map(str, shape))
    whole = "at full resolution" if shape == result.shape else f"downsampled to {size} voxels by means of blocks"
    said += [f"{role}: the first of {s.nc} channels is shown" for role, s in samples.items() if s.nc > 1]
    return {
        "panels": tuple(panels),
        "places": seen.places,
        "depth": seen.depth,
        "edges": seen.edges,
        "volumes": volumes,
        "whole": f"the 3-D view shows the volumes {whole}",
        "window": seen.window,
        "said": tuple(said),
    }


_VIEWS: dict[str, Callable[[Mapping[Role, Sample], Sidecar], dict[str, Any]]] = {
    "image": _image,
    "audio": _audio,
    "ecg": _ecg,
    "volume": _volume,
}


def _with_words(panel: Panel, words: str) -> Panel:
    return Panel(panel.role, panel.pictures, panel.size, panel.alt, words, panel.sound, panel.frame)


def _without_folder(message: str, path: Path) -> str:
    return visible(message.splitlines()[0].replace(str(path), shown(path)))
