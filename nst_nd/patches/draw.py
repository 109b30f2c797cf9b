"""Pictures of patches: a row for each unit, from its highest activation down, all of one size and on one scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nst_nd.boxes import size_of
from nst_nd.io import stem_of
from nst_nd.patches.found import Found, Patch, Synthetic
from nst_nd.patches.views import View
from nst_nd.sidecar import shown

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
# inches
CELL, TRACE_WIDTH, GAP, CAPTION, LEFT, TOP, FOOT = 1.0, 1.5, 0.06, 0.27, 0.62, 0.62, 0.12
TICKS = 0.34
INK, FAINT, BEYOND, HATCH = "#1a1a1a", "#666666", "#e4e4e4", "#c4c4c4"
LINE = "#33658a"
# letters of a file's name under a patch
NAME = 15
# values of volumes without a window that are drawn from black to white
SHARES = (1.0, 99.0)
PLANES = ("i j", "i k", "j k")


@dataclass(frozen=True)
class _Cell:
    """What stands in one place of a row."""

    view: View
    activation: float
    words: str


def figure_of(found: Found) -> Figure:
    """Images as they are; signals as traces on one time axis; volumes as three planes with a scale bar in mm."""
    from matplotlib.figure import Figure

    rows = {unit: _cells(found, unit) for unit in found.patches}
    made = bool(found.synthetic)
    columns = made + max([1, *(len(several) for several in found.patches.values())])
    planes = len(PLANES) if found.kind == "volume" else 1
    traces = found.kind in ("audio", "ecg")
    wide, high = (TRACE_WIDTH if traces else CELL), CELL
    row = planes * (high + GAP) + CAPTION
    ticks = TICKS if traces else 0.0
    width = max(4.2, LEFT + columns * (wide + GAP) + made * 2 * GAP + GAP)
    height = TOP + len(rows) * row + FOOT + ticks
    figure = Figure(figsize=(width, height))
    figure.text(0.12 / width, 1 - 0.24 / height, _title(found), fontsize=9, color=INK, va="center")
    figure.text(0.12 / width, 1 - 0.42 / height, _subtitle(found), fontsize=6.5, color=FAINT, va="center")
    draw = _drawer(found)
    for number, (unit, cells) in enumerate(rows.items()):
        top = height - TOP - number * row
        middle = (top - planes * (high + GAP) / 2) / height
        figure.text(0.12 / width, middle, f"unit\n{unit}", fontsize=8, color=INK, va="center")
        if not any(cells):
            figure.text(LEFT / width, middle, "no input excites it", fontsize=8, color=FAINT, va="center")
        for column, cell in enumerate(cells):
            if cell is None:
                continue
            left = LEFT + column * (wide + GAP) + (made and column > 0) * 2 * GAP
            boxes = [
                ((left) / width, (top - (n + 1) * (high + GAP)) / height, wide / width, high / height)
                for n in range(planes)
            ]
            axes = [figure.add_axes(box) for box in boxes]
            draw(axes, cell.view, unit, column == 0 or (made and column == 1))
            if traces:
                axes[0].tick_params(labelbottom=number == len(rows) - 1)
            under = (top - planes * (high + GAP) - 0.03) / height
            colour = INK if column or not made else LINE
            figure.text(left / width, under, f"{cell.activation:.4g}", fontsize=6, color=colour, va="top")
            figure.text(left / width, under - 0.1 / height, cell.words, fontsize=5, color=FAINT, va="top")
    if traces:
        figure.text(LEFT / width, 0.1 / height, "time in s from the start of the field", fontsize=6.5, color=FAINT)
    return figure


def _cells(found: Found, unit: int) -> list[_Cell | None]:
    patches: list[_Cell | None] = [
        _Cell(patch.view, patch.activation, _where(found, patch)) for patch in found.patches[unit]
    ]
    if not found.synthetic:
        return patches
    made: Synthetic | None = found.synthetic.get(unit)
    return [None if made is None else _Cell(made.view, made.activation, "made for it"), *patches]


def _where(found: Found, patch: Patch) -> str:
    """Name of the file, with the time where there is one; an asterisk where the field reaches beyond the signal."""
    name = _name(patch.file)
    if found.kind in ("audio", "ecg"):
        name += f" {patch.box[0].start * patch.grid.spacing[0]:.2f} s"
    return name + " *" * patch.clipped


def _name(file: Path) -> str:
    stem = stem_of(type(file)(shown(file)))
    return stem if len(stem) <= NAME else f"{stem[: NAME - 1]}…"


def _title(found: Found) -> str:
    label = found.watched.extractor.name.partition("(")[0]
    return f"{found.watched.tap} of {label}: what excites its units most"


def _subtitle(found: Found) -> str:
    used = found.inputs - len(found.skipped)
    clipped = any(patch.clipped for several in found.patches.values() for patch in several)
    parts = [f"receptive field {field_words(found)}", f"{used} input{'s' * (used != 1)}", "activation under each patch"]
    return "; ".join(parts) + ("; * reaches beyond the signal, hatched" if clipped else "")


def field_words(found: Found) -> str:
    """The size of the receptive field in words: width x height for images."""
    extent, grid = found.watched.receptive.extent, found.first.grid
    if extent is None:
        return "the whole signal"
    if found.kind == "image":
        return f"{' x '.join(map(str, reversed(extent)))} px"
    size = [n * step for n, step in zip(extent, grid.spacing, strict=True)]
    return f"{' x '.join(f'{n:.4g}' for n in size)} {grid.unit}"


# (axes of a cell, what it shows, its unit, whether it begins a row)
_Drawer = Callable[[Sequence["Axes"], View, int, bool], None]


def _drawer(found: Found) -> _Drawer:
    if found.kind == "image":
        return _image
    if found.kind == "volume":
        return _volume(found)
    return _trace(found)


def _views(found: Found, unit: int | None = None) -> Iterator[View]:
    for number, several in found.patches.items():
        if unit in (None, number):
            yield from (patch.view for patch in several)
    for number, made in found.synthetic.items():
        if unit in (None, number):
            yield made.view


def _image(axes: Sequence[Axes], shown_view: View, unit: int, first: bool) -> None:
    del unit, first
    (picture,) = shown_view
    _bare(axes[0])
    beyond: NDArray[np.bool_] = np.isnan(picture.max(axis=-1))
    colours = np.repeat(picture, 3, axis=-1) if picture.shape[-1] != 3 else picture
    colours = np.where(beyond[..., None], 0.0, colours).clip(0.0, 1.0)
    axes[0].imshow(np.concatenate([colours, ~beyond[..., None]], axis=-1), interpolation="nearest", aspect="equal")


def _volume(found: Found) -> _Drawer:
    """Planes in mm, first axis to the right and second one up, with one scale of values and a bar."""
    planes = [plane[np.isfinite(plane)] for several in _views(found) for plane in several]
    values = np.concatenate(planes) if planes else np.zeros(1, np.float32)
    low, high = found.settings.window or (float(np.percentile(values, share)) for share in SHARES)
    extents = [_extents(found, plane) for plane in range(len(PLANES))]

    def draw(axes: Sequence[Axes], planes: View, unit: int, first: bool) -> None:
        del unit
        for n, (place, plane) in enumerate(zip(axes, planes, strict=True)):
            _bare(place)
            across, up = extents[n] or plane.shape
            place.imshow(
                np.ma.masked_invalid(plane.T),
                origin="lower",
                cmap="gray",
                vmin=low,
                vmax=max(high, low + 1e-6),
                extent=(0.0, across, 0.0, up),
                interpolation="nearest",
                aspect="equal",
            )
            if first:
                place.set_ylabel(PLANES[n], fontsize=5, color=FAINT, labelpad=1)
            if first and n == 0:
                _bar(place, across, up)

    return draw


def _extents(found: Found, plane: int) -> tuple[float, float] | None:
    """Width and height of a plane of the field in mm; None where it differs from patch to patch."""
    fields = {size_of(patch.field) for several in found.patches.values() for patch in several}
    if len(fields) != 1:
        return None
    mm = [n * step for n, step in zip(fields.pop(), found.first.grid.spacing, strict=True)]
    a, b = ((0, 1), (0, 2), (1, 2))[plane]
    return mm[a], mm[b]


def _bar(axes: Axes, across: float, up: float) -> None:
    """A bar of a round length, at most half as long as the picture is wide."""
    length = round_length(across / 2.0)
    left, low = 0.06 * across, 0.07 * up
    for colour, width in (("black", 3.2), ("white", 1.6)):
        axes.plot([left, left + length], [low, low], color=colour, linewidth=width, solid_capstyle="butt")
    outline = {"boxstyle": "square,pad=0.12", "facecolor": "black", "edgecolor": "none", "alpha": 0.55}
    axes.text(left, low + 0.06 * up, f"{length:g} mm", fontsize=5, color="white", va="bottom", bbox=outline)


def round_length(most: float) -> float:
    """1, 2 or 5 times a power of ten, at most this."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (5.0, 2.0, 1.0) if step * power <= most * (1 + 1e-9))


def _trace(found: Found) -> _Drawer:
    """Channels one below the other, each about its own level, on one scale for a unit."""
    step = found.first.grid.spacing[0]
    lengths = [patch.field[0].length for several in found.patches.values() for patch in several]
    seconds = max(lengths, default=1) * step

    def draw(axes: Sequence[Axes], shown_view: View, unit: int, first: bool) -> None:
        (place,), (wave,) = axes, shown_view
        apart = max([_spread(several[0]) for several in _views(found, unit)]) or 1.0
        time = np.linspace(0.0, seconds, wave.shape[-1], endpoint=False)
        for channel, (low, high) in enumerate(wave):
            level = float(np.nanmedian(low + high) / 2.0) + channel * apart
            place.fill_between(time, low - level, high - level, color=LINE, linewidth=0.5)
            missing = np.isnan(low)
            if missing.any():
                bottom, top = -(channel + 0.5) * apart, (0.5 - channel) * apart
                place.fill_between(time, bottom, top, where=missing, color=BEYOND, linewidth=0.0)
        place.set(xlim=(0.0, seconds), ylim=(-(len(wave) - 0.45) * apart, 0.55 * apart), yticks=[])
        place.locator_params(axis="x", nbins=3)
        place.tick_params(labelsize=5, length=2, color=FAINT, labelcolor=FAINT, pad=1)
        if first:
            place.set_ylabel(f"{apart:.2g} {found.first.units}", fontsize=5, color=FAINT, labelpad=1)
        for spine in place.spines.values():
            spine.set(color=HATCH, linewidth=0.5)

    return draw


def _spread(wave: NDArray[np.float32]) -> float:
    """The largest range of a channel of [C, 2, column]."""
    return float(np.nanmax(np.nanmax(wave[:, 1], axis=1) - np.nanmin(wave[:, 0], axis=1)))


def _bare(axes: Any) -> None:
    """A place for a picture; what a picture leaves open is beyond the signal."""
    axes.set(xticks=[], yticks=[])
    axes.patch.set(facecolor=BEYOND, edgecolor=HATCH, hatch="//////", linewidth=0.0)
    for spine in axes.spines.values():
        spine.set(color=HATCH, linewidth=0.4)
