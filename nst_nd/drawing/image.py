"""Images side by side, their pixels in true proportion, with a scale bar; and what lies between two of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from nst_nd.drawing.picture import NAME_PT, Picture, Sheet
from nst_nd.drawing.scale import even_limit, nice_length, reduced, window_limits, window_words
from nst_nd.drawing.signal import Column, Signal, View, colours_of, drawable

# inches: the square that an image fits into, when it is alone and beside others; margins; lines of words
ALONE, BESIDE_OTHERS = 5.0, 3.0
MARGIN, HEAD, FOOT, LINE = 0.25, 0.5, 0.62, 0.17
# columns are never narrower than their words
LEAST_COLUMN = 2.6
LEAST_SIDE = 0.02
# of what fits into it, so much may a scale bar take
BAR_SHARE = 0.4
DIFFERENCE_COLOURS = "RdBu_r"
FULL_SCALE = (0.0, 1.0)


def image_figure(columns: Sequence[Column], view: View) -> Picture:
    """Every image with its size, a scale bar (px, or mm where pixels have a size), and clipping as it is shown."""
    asked = window_limits(view.window, False)
    most = ALONE if len(columns) == 1 else BESIDE_OTHERS
    sizes = [_inches(column.signal, most) for column in columns]
    widths = [max(LEAST_COLUMN, width) for width, _ in sizes]
    high = max(height for _, height in sizes)
    sheet = Sheet(sum(widths) + MARGIN * (len(columns) + 1), HEAD + high + FOOT)
    left = MARGIN
    for column, (width, height), room in zip(columns, sizes, widths, strict=True):
        _image(sheet, column, (left, HEAD, width, height), asked)
        left += room + MARGIN
    return sheet.picture


def _inches(signal: Signal, most: float) -> tuple[float, float]:
    """Width and height at which the longer side is `most`."""
    high, wide = (n * step for n, step in zip(signal.shape, signal.grid.spacing, strict=True))
    scale = most / max(high, wide)
    return max(LEAST_SIDE, wide * scale), max(LEAST_SIDE, high * scale)


def _image(
    sheet: Sheet, column: Column, box: tuple[float, float, float, float], asked: tuple[float, float] | None
) -> None:
    left, top, width, height = box
    signal = column.signal
    rows, columns = signal.shape
    pixels, side = reduced(signal.data)
    less = None if column.less is None else reduced(column.less.data)[0]
    axes = sheet.panel(*box)
    spacing, unit = signal.grid.spacing, signal.grid.unit
    facts = f"{columns} x {rows} px"
    if unit != "px":
        facts += f", {spacing[1]:.3g} x {spacing[0]:.3g} {unit}"
    sheet.words(left, 0.17, drawable(column.name), fontsize=NAME_PT, fontweight="bold")
    sheet.words(left, 0.36, facts)
    if less is not None:
        difference = (pixels - less).mean(axis=0)
        limit = even_limit([difference])
        _show(axes, difference, (-limit, limit), DIFFERENCE_COLOURS)
        means = " (mean of channels)" if len(pixels) > 1 else ""
        colour_bar(sheet, axes, (left, top + height, width), f"{signal.units}{means}")
        return
    colours, said = _colours(pixels, asked or FULL_SCALE)
    _show(axes, colours, (0.0, 1.0), "gray")
    per_inch = columns * spacing[1] / width
    length = nice_length(BAR_SHARE * columns * spacing[1])
    sheet.bar(left, top + height + 0.16, length / per_inch, f"{length:g} {unit}")
    said += [f"shown at 1/{side}"] * (side > 1)
    said += [] if asked is None else [f"window {window_words(asked, signal.units)}"]
    for line in range(0, len(said), 2):
        sheet.words(left, top + height + 0.36 + LINE * line / 2, ", ".join(said[line : line + 2]))


def _show(axes: Axes, pixels: NDArray[Any], limits: tuple[float, float], colours: str) -> None:
    # the panel has the proportions; colours are between neighbours of the same image only
    axes.imshow(pixels, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")


def _colours(pixels: NDArray[np.float64], limits: tuple[float, float]) -> tuple[NDArray[np.float64], list[str]]:
    """[row, column] or [row, column, 3] in 0..1, and what had to be left out, in words."""
    kept, words = colours_of(len(pixels))
    pixels, said = pixels[:kept], [words] if words else []
    finite = np.nan_to_num(pixels, nan=0.0, posinf=limits[1], neginf=limits[0])
    scaled = (finite - limits[0]) / (limits[1] - limits[0])
    if scaled.min() < -1e-6 or scaled.max() > 1.0 + 1e-6:
        said.append("clipped for display")
    clipped = np.clip(scaled, 0.0, 1.0)
    return (clipped[0] if len(clipped) == 1 else clipped.transpose(1, 2, 0)), said


def colour_bar(sheet: Sheet, axes: Axes, place: tuple[float, float, float], unit: str) -> None:
    """Below a panel whose lower left corner and width are `place`, in inches, with the unit under it."""
    left, bottom, width = place
    width = max(width, LEAST_COLUMN)
    scale = sheet.panel(left, bottom + 0.1, width, 0.1)
    mappable = axes.images[0]
    low, high = mappable.get_clim()
    scale.imshow(np.linspace(low, high, 256)[None], cmap=mappable.get_cmap(), aspect="auto", extent=(low, high, 0, 1))
    scale.set(yticks=[], xlim=(low, high))
    for share, value, side in ((0.0, low, "left"), (0.5, (low + high) / 2, "center"), (1.0, high, "right")):
        sheet.words(left + share * width, bottom + 0.29, f"{value:+.3g}" if value else "0", ha=side)
    sheet.words(left + width / 2, bottom + 0.47, unit, ha="center")
