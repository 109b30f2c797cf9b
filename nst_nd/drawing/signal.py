"""What is drawn: anything with the fields of Sample, which lies above this package and is handed in."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import ConfigError, InputError

# names of the axes that a kind of signal has
AXES = {"audio": ("time",), "ecg": ("time",), "image": ("row", "column"), "volume": ("i", "j", "k")}
# which kinds an option of View is for
FOR = {
    "window": ("image", "volume"),
    "at": ("volume",),
    "start": ("audio", "ecg"),
    "seconds": ("audio", "ecg"),
}
LONGEST_LABEL = 32
# of an image, as it is drawn
COLOURS = 3
# text of unknown origin is shown as it is: no mathematics, no TeX
AS_IT_IS: dict[str, Any] = {"parse_math": False, "usetex": False}


@runtime_checkable
class Grid(Protocol):
    """See nst_nd.sample.Grid."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbours along each axis, in `unit`."""

    @property
    def unit(self) -> str:
        """s, mm or px."""

    @property
    def rate(self) -> float | None:
        """Hz."""

    @property
    def affine(self) -> NDArray[Any] | None:
        """[4, 4], voxel to mm in RAS."""


@runtime_checkable
class Signal(Protocol):
    """See nst_nd.sample.Sample."""

    @property
    def data(self) -> NDArray[Any]:
        """[channel, *space]."""

    @property
    def kind(self) -> str:
        """A key of AXES."""

    @property
    def units(self) -> str:
        """Of the values."""

    @property
    def grid(self) -> Grid:
        """Where the samples lie."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Names."""

    @property
    def gaps(self) -> NDArray[np.bool_] | None:
        """True where nothing was recorded."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was converted on the way in."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the spatial axes."""


@dataclass(frozen=True)
class View:
    """Which part is shown, and how; options that are not for this kind of signal are refused.

    window: values from black to white, in the signal's unit, or the name of one in HU (see `window.WINDOWS`).
    at: voxel (i, j, k) where the three planes meet, also in others of that size; the middle if absent, and in volumes
    of another size. start, seconds: of a recording.
    """

    window: Sequence[float] | str | None = None
    at: Sequence[int] | None = None
    start: float = 0.0
    seconds: float | None = None

    def check(self, kind: str) -> None:
        """ConfigError for an option of other kinds, and for times that are none."""
        given = {"window": self.window, "at": self.at, "start": self.start or None, "seconds": self.seconds}
        for name, value in given.items():
            if value is not None and kind not in FOR[name]:
                raise ConfigError(f"{name}: is for {' and '.join(FOR[name])}, this is of kind {kind}")
        if not (math.isfinite(self.start) and self.start >= 0.0):
            raise ConfigError(f"start: got {self.start}; allowed: 0 or more, in seconds")
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds > 0.0):
            raise ConfigError(f"seconds: got {self.seconds}; allowed: above 0")


@dataclass(frozen=True)
class Column:
    """A signal under its name. less: of the same shape; what is drawn is then the signal less this one."""

    name: str
    signal: Signal
    less: Signal | None = None


def check_shape(signal: Signal) -> None:
    """InputError for a kind that is not drawn, and for a number of axes that its kind does not have."""
    names = AXES.get(signal.kind)
    if names is None:
        raise InputError(f"a signal of kind {signal.kind!r} is not drawn; allowed: {', '.join(AXES)}")
    if len(signal.shape) != len(names):
        raise InputError(
            f"data of shape {signal.data.shape} is not drawn as {signal.kind}; allowed: [channel, {', '.join(names)}]"
        )
    if signal.data.size == 0:
        raise InputError(f"data of shape {signal.data.shape} is empty; there is nothing to draw")
    spacing = signal.grid.spacing
    if not all(math.isfinite(step) and step > 0.0 for step in spacing):
        raise InputError(f"its samples are {spacing} {signal.grid.unit} apart; allowed: finite, above 0")


def label(text: str) -> str:
    """Text of unknown origin in one short line: what cannot be printed or turns the line round is a question mark."""
    line = " ".join(text.split())
    kept = "".join(c if c.isprintable() and unicodedata.bidirectional(c) not in ("R", "AL") else "?" for c in line)
    return kept if len(kept) <= LONGEST_LABEL else f"{kept[: LONGEST_LABEL - 1]}…"


def drawable(text: str) -> str:
    """`label`, with question marks for what the font at hand has no glyph of."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    known = get_font(findfont(FontProperties())).get_charmap()
    return "".join(c if ord(c) in known else "?" for c in label(text))


def colours_of(number: int) -> tuple[int, str]:
    """How many of an image's channels are drawn, 1 as gray or 3 as colours, and words where they are not all.

    A second or a fourth channel is mostly opacity, which no Sample has among its data; of others nobody knows.
    """
    kept = COLOURS if number >= COLOURS else 1
    said = f"channels 1 to {kept} of {number}" if kept > 1 else f"channel 1 of {number}"
    return kept, said if kept < number else ""
