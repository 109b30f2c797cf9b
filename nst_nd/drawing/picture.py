"""Picture, a matplotlib figure that notebooks show without pyplot; Sheet, one laid out in inches."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nst_nd.drawing.signal import AS_IT_IS

DPI = 150
MM_PER_INCH = 25.4
NAME_PT, TEXT_PT = 10.0, 8.0
# how thick a scale bar is, and how far from it its words are, in inches
BAR_PT, BESIDE = 2.5, 0.06


class Picture(Figure):
    """A figure that is nobody's current figure: drawing it changes nothing in pyplot, and needs no display."""

    def png(self, dpi: float = DPI) -> bytes:
        """As a PNG file."""
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=dpi)
        return stream.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()


class Sheet:
    """A picture of so many inches; places are in inches from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.picture = Picture(figsize=(width, height))

    def panel(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without ticks."""
        box = (left / self.width, 1.0 - (top + height) / self.height, width / self.width, height / self.height)
        axes: Axes = self.picture.add_axes(box)
        axes.set(xticks=[], yticks=[])
        return axes

    def words(self, x: float, y: float, text: str, **style: Any) -> None:
        """A line with its middle at y that begins at x, unless `style` aligns it otherwise."""
        look = {"fontsize": TEXT_PT, "ha": "left", "va": "center", **AS_IT_IS, **style}
        self.picture.text(x / self.width, 1.0 - y / self.height, text, **look)

    def bar(self, left: float, y: float, length: float, text: str) -> None:
        """A scale bar `length` inches long, with what it stands for beside it."""
        ends = [left / self.width, (left + length) / self.width]
        level = 1.0 - y / self.height
        line = Line2D(ends, [level, level], linewidth=BAR_PT, solid_capstyle="butt", gid=f"bar {text}")
        line.set_color(ink())
        self.picture.add_artist(line)
        self.words(left + length + BESIDE, y, text)


def ink() -> str:
    """The colour of text: dark styles of matplotlib have another one."""
    from matplotlib import rcParams

    return str(rcParams["text.color"])
