"""How a run converged, as the geometry of small charts: every term, every scale, a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nst_nd.report.record import Steps, number, total

# of a chart, in units of its own, and of what lies around the curve
WIDE, HIGH = 320.0, 150.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 8.0, 8.0, 22.0
# points of a curve; more are thinned out, first and last kept
MOST_POINTS = 400
# decades above which only some are marked
MOST_TICKS = 5


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where it is, and what stands there."""

    at: float
    words: str


@dataclass(frozen=True)
class Curve:
    """Of one scale. points: as an SVG polyline has them. first, last: values. steps: how many."""

    scale: int
    points: str
    first: float
    last: float
    steps: int


@dataclass(frozen=True)
class Chart:
    """Of one term. borders: where another scale begins. empty: why there is nothing to draw, or ""."""

    title: str
    curves: tuple[Curve, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    borders: tuple[float, ...]
    empty: str = ""


def charts(steps: Steps) -> list[Chart]:
    """The sum of all terms first, then each; none where nothing was optimised."""
    if not steps.rows:
        return []
    rows = [[number(value) for value in row] for row in steps.rows]
    places = [(row[0], int(row[1]) if math.isfinite(row[1]) else 0) for row in rows]
    terms = list(steps.columns[2:])
    found = [] if len(terms) == 1 else [_chart("all terms together", places, [total(row[2:]) for row in rows])]
    return found + [_chart(name, places, [row[i + 2] for row in rows]) for i, name in enumerate(terms)]


def _chart(title: str, places: Sequence[tuple[float, int]], values: Sequence[float]) -> Chart:
    seen = [value for value in values if value > 0 and math.isfinite(value)]
    if not seen:
        return Chart(title, (), (), (), (), "0 at every step" if all(v == 0 for v in values) else "no finite values")
    low, high = math.log10(min(seen)), math.log10(max(seen))
    middle, half = (low + high) / 2, max((high - low) / 2, 0.05) * 1.05
    low, high = middle - half, middle + half
    first, last = places[0][0], places[-1][0]

    def x(iteration: float) -> float:
        return LEFT + (WIDE - LEFT - RIGHT) * (iteration - first) / max(last - first, 1.0)

    def y(decades: float) -> float:
        return TOP + (HIGH - TOP - BOTTOM) * (high - decades) / (high - low)

    curves, borders = [], []
    for scale in dict.fromkeys(scale for _, scale in places):
        own = [(place[0], v) for place, v in zip(places, values, strict=True) if place[1] == scale]
        drawn = [(i, v) for i, v in _thinned(own) if v > 0 and math.isfinite(v)]
        # a line of no length is a dot
        drawn = drawn * 2 if len(drawn) == 1 else drawn
        points = " ".join(f"{x(i):.1f},{y(math.log10(v)):.1f}" for i, v in drawn)
        curves.append(Curve(scale, points, own[0][1], own[-1][1], len(own)))
        borders.append(x(own[0][0]))
    across = [Tick(x(i), f"{i:g}") for i in dict.fromkeys((first, last))]
    up = [Tick(y(t), _words(t)) for t in _decades(low, high)]
    return Chart(title, tuple(curves), tuple(across), tuple(up), tuple(borders[1:]))


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    step = -(-len(points) // MOST_POINTS)
    return [*points[:-1:step], points[-1]]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten within; where there are fewer than two, 1, 2 and 5 times them; else the two ends."""
    whole = [float(d) for d in range(math.ceil(low), math.floor(high) + 1)]
    if len(whole) < 2:
        around = range(math.floor(low), math.ceil(high) + 1)
        whole = [t for d in around for m in (1, 2, 5) if low <= (t := d + math.log10(m)) <= high]
    if len(whole) < 2:
        whole = [low + 0.1 * (high - low), high - 0.1 * (high - low)]
    return whole[:: -(-len(whole) // MOST_TICKS)]


def _words(decades: float) -> str:
    return f"{10.0**decades:.3g}"
