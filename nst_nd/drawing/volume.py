"""Volumes in three orthogonal planes: true proportions in mm, letters of the body, scale bars, a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.drawing.anatomy import Plane, planes_of, tilt_of
from nst_nd.drawing.image import BAR_SHARE, DIFFERENCE_COLOURS, LEAST_SIDE, colour_bar
from nst_nd.drawing.picture import NAME_PT, Picture, Sheet
from nst_nd.drawing.scale import even_limit, nice_length, reduced, usual_limits, window_limits, window_words
from nst_nd.drawing.signal import Column, Signal, View, drawable
from nst_nd.errors import ConfigError

# inches: the longest side of a plane; margins; room for letters beside and above it, and for the bar below
LONGEST = 2.7
MARGIN, HEAD, MORE, FOOT = 0.2, 0.51, 0.17, 0.62
LETTER, TITLE, ABOVE, BELOW = 0.28, 0.24, 0.2, 0.46
LEAST_COLUMN = 2.9
# a bar shorter than this, in inches, is no help: narrow planes have bars that are wider than they are
LEAST_BAR = 0.3
# degrees off the axes of the body from which on it is said
OBLIQUE = 2.0
# these are shown in one window, so that they can be compared
TOGETHER = ("content", "result")


@dataclass(frozen=True)
class _Cell:
    """One plane of one volume: values [row, column], width and height in inches, and mm in an inch."""

    plane: Plane
    at: int
    values: NDArray[Any]
    width: float
    height: float
    per_inch: float
    reduced: int


def volume_figure(columns: Sequence[Column], view: View, hounsfield: bool = False) -> Picture:
    """Axial, coronal and sagittal slices that meet at one voxel: below each other, or beside each other of one volume.

    hounsfield: values are in HU, though the volume's unit does not say so: soft tissue is shown by default.
    Raises ConfigError where `view.at` is no voxel of the first volume.
    """
    cells = [_cells(column, _meeting(column.signal, columns[0].signal, view.at)) for column in columns]
    limits = _limits(columns, cells, view, hounsfield)
    grid = [list(row) for row in zip(*cells, strict=True)] if len(columns) > 1 else cells
    wide = [max(LEAST_COLUMN, *(row[n].width + 2 * LETTER for row in grid)) for n in range(len(grid[0]))]
    high = [max(cell.height for cell in row) + TITLE + ABOVE + BELOW for row in grid]
    head = HEAD + MORE * any(_peculiar(column.signal) for column in columns)
    sheet = Sheet(sum(wide) + MARGIN * (len(wide) + 1), head + sum(high) + FOOT)
    for n, column in enumerate(columns):
        _head(sheet, column, MARGIN + sum(wide[:n]) + MARGIN * n)
    top = head
    for row, height in zip(grid, high, strict=True):
        for n, cell in enumerate(row):
            which = n if len(columns) > 1 else 0
            left = MARGIN + sum(wide[:n]) + MARGIN * n
            _draw(sheet, cell, (left, top, wide[n]), limits[which], columns[which])
        top += height
    for n, column in enumerate(columns):
        _foot(sheet, column, (MARGIN + sum(wide[:n]) + MARGIN * n, top, wide[n]), limits[n], hounsfield)
    return sheet.picture


def _meeting(signal: Signal, first: Signal, at: Sequence[int] | None) -> tuple[int, ...]:
    """The voxel where the planes meet: the one asked for in volumes of the first one's size, else the middle."""
    middle = tuple(n // 2 for n in signal.shape)
    if at is None:
        return middle
    voxel = [int(v) for v in at if isinstance(v, int | np.integer)]
    inside = len(voxel) == len(at) == len(first.shape)
    if not inside or not all(0 <= v < n for v, n in zip(voxel, first.shape, strict=True)):
        most = ", ".join(str(n - 1) for n in first.shape)
        raise ConfigError(f"at: got {tuple(at)}; allowed: a voxel (i, j, k) from (0, 0, 0) to ({most})")
    return tuple(voxel) if signal.shape == first.shape else middle


def _cells(column: Column, at: Sequence[int]) -> list[_Cell]:
    signal = column.signal
    planes = planes_of(signal.grid.affine)
    lengths = [n * step for n, step in zip(signal.shape, signal.grid.spacing, strict=True)]
    per_inch = max(lengths) / LONGEST
    out = []
    for plane in planes:
        values, side = reduced(plane.cut(signal.data[:1], at[plane.normal]))
        if column.less is not None:
            values = values - reduced(plane.cut(column.less.data[:1], at[plane.normal]))[0]
        inches = [max(LEAST_SIDE, lengths[axis] / per_inch) for axis in (plane.across, plane.down)]
        out.append(_Cell(plane, at[plane.normal], values[0], inches[0], inches[1], per_inch, side))
        scratch.release(signal.data)
    return out


def _limits(
    columns: Sequence[Column], cells: Sequence[Sequence[_Cell]], view: View, hounsfield: bool
) -> list[tuple[float, float]]:
    """Black and white of each volume; of a difference, as far from 0 on either side."""
    together = [cell.values for column, mine in zip(columns, cells, strict=True) for cell in mine if _joined(column)]
    out = []
    for column, mine in zip(columns, cells, strict=True):
        planes = [cell.values for cell in mine]
        if column.less is not None:
            limit = even_limit(planes)
            out.append((-limit, limit))
            continue
        asked = window_limits(view.window, hounsfield or column.signal.units == "HU")
        out.append(asked or usual_limits(together if _joined(column) else planes))
    return out


def _joined(column: Column) -> bool:
    return column.name in TOGETHER and column.less is None


def _head(sheet: Sheet, column: Column, left: float) -> None:
    grid = column.signal.grid
    size = " x ".join(str(n) for n in column.signal.shape)
    step = " x ".join(f"{s:.3g}" for s in grid.spacing)
    sheet.words(left, 0.17, drawable(column.name), fontsize=NAME_PT, fontweight="bold")
    sheet.words(left, 0.36, f"{size}, {step} {grid.unit}")
    sheet.words(left, 0.53, _peculiar(column.signal))


def _peculiar(signal: Signal) -> str:
    """What is not as usual: channels that are not shown, axes that are not those of the body."""
    tilt, nc = tilt_of(signal.grid.affine), len(signal.data)
    more = [f"channel 1 of {nc}"] * (nc > 1) + [f"oblique by {tilt:.0f}°"] * (tilt >= OBLIQUE)
    return ", ".join(more)


def _draw(
    sheet: Sheet, cell: _Cell, place: tuple[float, float, float], limits: tuple[float, float], column: Column
) -> None:
    """A plane with its title, letters and bar, in the middle of a column that begins at `place` and is so wide."""
    left, top, room = place
    plane = cell.plane
    shown = f", shown at 1/{cell.reduced}" if cell.reduced > 1 else ""
    slices = column.signal.shape[plane.normal]
    middle = left + room / 2
    title = f"{plane.name}, {'ijk'[plane.normal]} = {cell.at} of 0 to {slices - 1}{shown}"
    sheet.words(middle, top + TITLE / 2, title, ha="center")
    start, upper = middle - cell.width / 2, top + TITLE + ABOVE
    axes = sheet.panel(start, upper, cell.width, cell.height)
    axes.set_gid(f"{column.name}: {plane.name}")
    colours = "gray" if column.less is None else DIFFERENCE_COLOURS
    axes.imshow(cell.values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    level, lower = upper + cell.height / 2, upper + cell.height
    style = {"ha": "center", "fontweight": "bold"}
    sheet.words(start - LETTER / 2, level, plane.left, **style)
    sheet.words(start + cell.width + LETTER / 2, level, plane.right, **style)
    sheet.words(middle, upper - ABOVE / 2, plane.top, **style)
    sheet.words(middle, lower + 0.12, plane.bottom, **style)
    length = nice_length(max(BAR_SHARE * cell.width, LEAST_BAR) * cell.per_inch)
    sheet.bar(start, lower + 0.27, length / cell.per_inch, f"{length:g} {column.signal.grid.unit}")


def _foot(
    sheet: Sheet, column: Column, place: tuple[float, float, float], limits: tuple[float, float], hounsfield: bool
) -> None:
    left, top, room = place
    units = "HU" if hounsfield and column.signal.units == "arbitrary" else column.signal.units
    if column.less is None:
        sheet.words(left, top + 0.2, f"window {window_words(limits, units)}")
        return
    axes = next(axes for axes in sheet.picture.axes if str(axes.get_gid()).startswith(f"{column.name}: "))
    colour_bar(sheet, axes, (left, top, room), "arbitrary units" if units == "arbitrary" else units)
