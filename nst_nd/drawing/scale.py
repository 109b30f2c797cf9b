"""Lengths of scale bars, windows of grey values, and planes made small enough to be looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import ConfigError

# HU from black to white: level less and plus half of the width that radiologists use
WINDOWS = {
    "soft tissue": (-160.0, 240.0),
    "lung": (-1350.0, 150.0),
    "bone": (-500.0, 1300.0),
    "brain": (0.0, 80.0),
}
USUAL_HU = "soft tissue"
# of the values that are shown, where nothing says what black and white are
PERCENTILES = (0.5, 99.5)
# positions along the longer side of what is drawn; more of them are averaged
MOST_POSITIONS = 1024


def nice_length(most: float) -> float:
    """The largest of 1, 2, 5, 10, 20, 50, ... (and 0.5, 0.2, ...) that is at most `most`, which is above 0."""
    power = 10.0 ** math.floor(math.log10(most))
    # a decimal power is seldom exact: 10 / 10 must not become 0.999
    digit = max(d for d in (1.0, 2.0, 5.0, 10.0) if d <= most / power * (1.0 + 1e-9))
    return float(f"{digit * power:.6g}")


def window_limits(window: Sequence[float] | str | None, hounsfield: bool) -> tuple[float, float] | None:
    """Black and white as asked for; of soft tissue for HU where nothing is asked for, else None.

    Raises ConfigError for a name that is unknown or a pair that is none.
    """
    if window is None:
        return WINDOWS[USUAL_HU] if hounsfield else None
    if isinstance(window, str):
        if window not in WINDOWS:
            raise ConfigError(f"window: got {window!r}; allowed: {', '.join(WINDOWS)}, or two numbers, low and high")
        return WINDOWS[window]
    pair = [float(value) for value in window]
    if len(pair) != 2 or not all(map(math.isfinite, pair)) or not pair[0] < pair[1]:
        raise ConfigError(f"window: got {list(window)}; allowed: {', '.join(WINDOWS)}, or two numbers, low and high")
    return pair[0], pair[1]


def usual_limits(planes: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """The range of nearly all finite values; around them where they are all the same, so that they are grey."""
    values = np.concatenate([plane[np.isfinite(plane)].ravel() for plane in planes])
    low, high = (float(v) for v in np.percentile(values, PERCENTILES)) if values.size else (0.0, 0.0)
    least = 1e-6 * max(abs(low), abs(high)) or 1.0
    if high - low < least:
        return low - least, high + least
    return low, high


def even_limit(planes: Sequence[NDArray[Any]]) -> float:
    """How far from 0 nearly all values are at most; 1 where there is no difference at all."""
    values = np.concatenate([np.abs(plane[np.isfinite(plane)]).ravel() for plane in planes])
    return (float(np.percentile(values, PERCENTILES[1])) or float(values.max()) or 1.0) if values.size else 1.0


def window_words(limits: tuple[float, float], units: str) -> str:
    """What black and white are, and what radiologists call it."""
    names = [name for name, pair in WINDOWS.items() if pair == limits and units == "HU"]
    unit = "" if units == "arbitrary" else f" {units}"
    return f"{limits[0]:.4g} to {limits[1]:.4g}{unit}" + (f" ({names[0]})" if names else "")


def reduced(plane: NDArray[Any]) -> tuple[NDArray[np.float64], int]:
    """[channel, row, column] with at most MOST_POSITIONS along a side, each the mean of a square, and its side.

    What does not fill a last square is left out.
    """
    rows, columns = plane.shape[1:]
    side = math.ceil(max(rows, columns) / MOST_POSITIONS)
    high, wide = min(side, rows), min(side, columns)
    total = np.zeros((len(plane), rows // high, columns // wide))
    stop, end = rows // high * high, columns // wide * wide
    for row in range(high):
        for column in range(wide):
            total += plane[:, row:stop:high, column:end:wide]
    return total / (high * wide), side
