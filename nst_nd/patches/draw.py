"""Pictures of patches: a row for each unit, from its highest activation down, all of one size and on one scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nst_nd.boxes import size_of
from nst_nd.domains.domain import FULL_SCALE
from nst_nd.drawing.scale import nice_length
from nst_nd.drawing.signal import AS_IT_IS, drawable
from nst_nd.errors import ConfigError
from nst_nd.io import stem_of
from nst_nd.patches.found import Found, Patch
from nst_nd.patches.views import View
from nst_nd.sample import Kind
from nst_nd.sidecar import shown

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
# inches
CELL, TRACE_WIDTH, GAP, CAPTION, LEFT, TOP, FOOT = 1.0, 1.5, 0.06, 0.27, 0.62, 0.74, 0.12
TICKS = 0.34
INK, FAINT, BEYOND, HATCH = "#1a1a1a", "#666666", "#e4e4e4", "#c4c4c4"
LINE = "#33658a"
# letters of a file's name under a patch
NAME = 15
PLANES = ("i j", "i k", "j k")
# axes of one picture: some seconds of drawing, and some ten thousand pixels along each side
MOST_PLACES = 3000


@dataclass(frozen=True)
class _Cell:
    """What stands in one place of a row. low, high: values of volumes that are black and white. made: not found.

    sides: of the field along each axis, in the unit of the grid on which it was seen.
    """

    view: View
    activation: float
    words: str
    low: float
    high: float
    made: bool = False
    sides: tuple[float, ...] = ()


@dataclass(frozen=True)
class _Sheet:
    """Inches: of a place, and of the whole. planes: places below each other for one patch."""

    wide: float
    planes: int
    columns: int
    rows: int
    made: bool
    traces: bool

    @property
    def row(self) -> float:
        """Of a unit."""
        return self.planes * (CELL + GAP) + CAPTION

    @property
    def width(self) -> float:
        """At least as wide as the words on top."""
        return max(4.6, LEFT + self.columns * (self.wide + GAP) + 2 * GAP * self.made + GAP)

    @property
    def height(self) -> float:
        """With the words on top, and ticks under traces."""
        return TOP + self.rows * self.row + FOOT + TICKS * self.traces

    def left(self, column: int) -> float:
        """Of a place; what was made stands a little apart."""
        return LEFT + column * (self.wide + GAP) + 2 * GAP * (self.made and column > 0)

    def top(self, row: int) -> float:
        """Of the places of a unit, from below; captions are over traces, under pictures."""
        return self.height - TOP - row * self.row - CAPTION * self.traces

    def box(self, row: int, column: int, plane: int) -> tuple[float, float, float, float]:
        """For Figure.add_axes."""
        low = self.top(row) - plane * (CELL + GAP) - CELL
        return self.left(column) / self.width, low / self.height, self.wide / self.width, CELL / self.height


def check_room(kind: Kind, units: int, top: int, made: bool) -> None:
    """ConfigError where a picture of `top` patches for each of so many units would be too large. made: inputs too."""
    each = units * _planes(kind)
    if each * (top + made) > MOST_PLACES:
        parts = f" x {_planes(kind)} planes" if _planes(kind) > 1 else ""
        raise ConfigError(
            f"a picture of {units} units x {top + made} patches{parts} is too large; allowed for {units} units: "
            f"top up to {MOST_PLACES // each - made}, or fewer units"
        )


def _planes(kind: Kind) -> int:
    return len(PLANES) if kind == "volume" else 1


def figure_of(found: Found) -> Figure:
    """Images as they are; signals as traces on one time axis; volumes as three planes with a scale bar in mm."""
    from matplotlib.figure import Figure

    rows = {unit: _cells(found, unit) for unit in found.patches}
    traces = found.kind in ("audio", "ecg")
    columns = max(1, *(len(cells) for cells in rows.values()))
    planes = _planes(found.kind)
    sheet = _Sheet(TRACE_WIDTH if traces else CELL, planes, columns, len(rows), bool(found.synthetic), traces)
    figure = Figure(figsize=(sheet.width, sheet.height))
    _words(figure, sheet, 0.12, sheet.height - 0.24, _title(found), 9)
    for line, words in enumerate(_subtitle(found)):
        _words(figure, sheet, 0.12, sheet.height - 0.42 - 0.13 * line, words, 6.5, FAINT)
    draw = _drawer(found)
    for row, (unit, cells) in enumerate(rows.items()):
        middle = sheet.top(row) - planes * (CELL + GAP) / 2
        _words(figure, sheet, 0.12, middle, f"unit\n{unit}", 8)
        if not cells:
            _words(figure, sheet, LEFT, middle, "no input excites it", 8, FAINT)
        for column, cell in enumerate(cells):
            axes = [figure.add_axes(sheet.box(row, column, plane)) for plane in range(planes)]
            draw(axes, cell, unit, column == int(sheet.made) or (cell.made and column == 0))
            axes[0].tick_params(labelbottom=traces and row == len(rows) - 1)
            _caption(figure, sheet, row, column, cell)
    if traces:
        _words(figure, sheet, LEFT, 0.13, "time in s from the start of the receptive field", 6.5, FAINT)
    return figure


def _caption(figure: Figure, sheet: _Sheet, row: int, column: int, cell: _Cell) -> None:
    left, colour = sheet.left(column), LINE if cell.made else INK
    number = f"{cell.activation:.4g}"
    if sheet.traces:
        _words(figure, sheet, left, sheet.top(row) + 0.08, number, 6, colour)
        _words(figure, sheet, left + 0.36, sheet.top(row) + 0.08, cell.words, 5, FAINT)
    else:
        under = sheet.top(row) - sheet.planes * (CELL + GAP) + GAP
        _words(figure, sheet, left, under - 0.08, number, 6, colour)
        _words(figure, sheet, left, under - 0.18, cell.words, 5, FAINT)


def _words(figure: Figure, sheet: _Sheet, x: float, y: float, words: str, size: float, colour: str = INK) -> None:
    """At inches from the left and from below."""
    figure.text(x / sheet.width, y / sheet.height, words, fontsize=size, color=colour, va="center", **AS_IT_IS)


def _cells(found: Found, unit: int) -> list[_Cell]:
    made = found.synthetic.get(unit)
    best = found.patches[unit]
    cells = []
    if made is not None:
        sides = _sides(made.samples, found.first.grid.spacing)
        limits = _limits(best[0] if best else None, found)
        cells = [_Cell(made.view, made.activation, "made for it", *limits, True, sides)]
    return cells + [
        _Cell(
            p.view, p.activation, _where(found, p), *_limits(p, found), False, _sides(size_of(p.field), p.grid.spacing)
        )
        for p in best
    ]


def _sides(samples: Sequence[int], spacing: Sequence[float]) -> tuple[float, ...]:
    return tuple(n * step for n, step in zip(samples, spacing, strict=True))


def _limits(patch: Patch | None, found: Found) -> tuple[float, float]:
    """The values that a file's mapping brings to the ends of the model's range."""
    scaling = found.scaling if patch is None else patch.scaling
    half, middle = FULL_SCALE / 2.0 / float(scaling.gain[0]), float(scaling.offset[0])
    return middle - half, middle + half


def _where(found: Found, patch: Patch) -> str:
    """Name of the file, with the time where the field, and so the axis, begins; an asterisk where it reaches beyond."""
    name = _name(patch.file)
    if found.kind in ("audio", "ecg"):
        name += f" {patch.field[0].start * patch.grid.spacing[0]:.2f} s"
    return name + " *" * patch.clipped


def _name(file: Path) -> str:
    stem = drawable(stem_of(type(file)(shown(file))))
    return stem if len(stem) <= NAME else f"{stem[: NAME - 1]}…"


def _title(found: Found) -> str:
    label = drawable(found.watched.extractor.name.partition("(")[0])
    return f"{drawable(found.watched.layer)} of {label}: what excites its units most"


def _subtitle(found: Found) -> list[str]:
    """Two lines, each as short as the narrowest sheet."""
    used = found.inputs - len(found.skipped)
    clipped = any(patch.clipped for several in found.patches.values() for patch in several)
    more = ["* reaches beyond the signal, hatched"] if clipped else []
    inputs = f"{used} input{'s' * (used != 1)}"
    if found.kind == "image" and found.first.nc not in (1, 3):
        more.append(_channels_words(found.first.nc))
    head = f"receptive field {field_words(found)}; {inputs}; the larger number is the activation"
    return [head, "; ".join(more)]


def _channels_shown(nc: int) -> int:
    """Of an image; a second or a fourth channel is mostly opacity, of others nobody knows."""
    return 3 if nc >= 3 else 1


def _channels_words(nc: int) -> str:
    kept = _channels_shown(nc)
    return f"shown: channels 1 to {kept} of {nc}" if kept > 1 else f"shown: channel 1 of {nc}"


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
_Drawer = Callable[[Sequence["Axes"], _Cell, int, bool], None]


def _drawer(found: Found) -> _Drawer:
    if found.kind == "image":
        return _image
    if found.kind == "volume":
        return _volume(found)
    return _trace(found)


def _image(axes: Sequence[Axes], cell: _Cell, unit: int, first: bool) -> None:
    del unit, first
    (picture,) = cell.view
    _bare(axes[0])
    beyond: NDArray[np.bool_] = np.isnan(picture.max(axis=-1))
    picture = picture[..., : _channels_shown(picture.shape[-1])]
    colours = np.repeat(picture, 3, axis=-1) if picture.shape[-1] == 1 else picture
    colours = np.where(beyond[..., None], 0.0, colours).clip(0.0, 1.0)
    axes[0].imshow(np.concatenate([colours, ~beyond[..., None]], axis=-1), interpolation="nearest", aspect="equal")


def _volume(found: Found) -> _Drawer:
    """Planes in mm, first axis to the right and second one up, in the gray of their file, with bars in the first."""
    everywhere = len({cell.sides for unit in found.patches for cell in _cells(found, unit)}) > 1

    def draw(axes: Sequence[Axes], cell: _Cell, unit: int, first: bool) -> None:
        del unit
        for n, (place, plane) in enumerate(zip(axes, cell.view, strict=True)):
            _bare(place)
            across, up = (cell.sides[axis] for axis in ((0, 1), (0, 2), (1, 2))[n])
            place.imshow(
                np.ma.masked_invalid(plane.T),
                origin="lower",
                cmap="gray",
                vmin=cell.low,
                vmax=cell.high,
                extent=(0.0, across, 0.0, up),
                interpolation="nearest",
                aspect="equal",
            )
            if first:
                place.set_ylabel(PLANES[n], fontsize=5, color=FAINT, labelpad=1, **AS_IT_IS)
            if first or everywhere:
                _bar(place, across, up)

    return draw


def _bar(axes: Axes, across: float, up: float) -> None:
    """A bar of a round length, at most half as long as the picture is wide."""
    length = nice_length(across / 2.0)
    left, low = 0.06 * across, 0.07 * up
    for colour, width in (("black", 3.2), ("white", 1.6)):
        axes.plot([left, left + length], [low, low], color=colour, linewidth=width, solid_capstyle="butt")
    outline = {"boxstyle": "square,pad=0.12", "facecolor": "black", "edgecolor": "none", "alpha": 0.55}
    look = {"fontsize": 5, "color": "white", "va": "bottom", "bbox": outline, **AS_IT_IS}
    axes.text(left, low + 0.06 * up, f"{length:g} mm", **look)


def _trace(found: Found) -> _Drawer:
    """Channels one below the other, each about its own level, on one scale for a unit."""
    every = [cell for unit in found.patches for cell in _cells(found, unit)]
    seconds = max([cell.sides[0] for cell in every], default=found.first.grid.spacing[0])
    apart = {unit: max([_spread(cell.view[0]) for cell in _cells(found, unit)], default=1.0) for unit in found.patches}

    def draw(axes: Sequence[Axes], cell: _Cell, unit: int, first: bool) -> None:
        (place,), (wave,), each = axes, cell.view, apart[unit] or 1.0
        time = np.linspace(0.0, cell.sides[0], wave.shape[-1], endpoint=False)
        for channel, (low, high) in enumerate(wave):
            level = float(np.nanmedian(low + high) / 2.0) + channel * each
            place.fill_between(time, low - level, high - level, color=LINE, linewidth=0.5)
        bottom, top = (0.45 - len(wave)) * each, 0.55 * each
        beyond = np.isnan(wave[0, 0])
        place.fill_between(
            time, bottom, top, where=beyond, facecolor=BEYOND, edgecolor=HATCH, hatch="//////", linewidth=0
        )
        place.set(xlim=(0.0, seconds), ylim=(bottom, top), yticks=[])
        place.locator_params(axis="x", nbins=3)
        place.tick_params(labelsize=5, length=2, color=FAINT, labelcolor=FAINT, pad=1)
        if first:
            how = "apart" if len(wave) > 1 else "high"
            level_words = f"{each:.2g} {drawable(found.first.units)} {how}"
            place.set_ylabel(level_words, fontsize=5, color=FAINT, labelpad=1, **AS_IT_IS)
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
