"""How a run went: every term at every step, scale by scale, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from numpy.typing import NDArray

from nst_nd.drawing.picture import TEXT_PT, Picture, ink
from nst_nd.drawing.signal import drawable
from nst_nd.errors import InputError

# inches, without and with lines of the legend
WIDE, HIGH, LEGEND_LINE = 8.0, 4.2, 0.19
# share of the axis that numbers of scales are apart, and how many sizes there is room for
CLOSEST, MOST_TOLD = 0.02, 5
# share of the steps that is left free beside them
BESIDE = 0.02
# steps of a scale below which they are dots: a single one is no line
FEW = 4
# lines that can be told apart; further terms are in dashes, then in dots
COLOURS, DASHES = "tab10", ("-", "--", ":")


def convergence_figure(
    iterations: Sequence[int],
    scales: Sequence[int],
    terms: Mapping[str, Sequence[float]],
    sizes: Mapping[int, Sequence[int]] | None = None,
) -> Picture:
    """Weighted terms and their sum over the steps of a run; the table of a sidecar holds the same numbers.

    iterations: of each step, over all scales. scales: the index of each step's scale; lines are broken where it
    changes, since another size is another objective. terms: by name, a value for each step. sizes: positions along
    each axis, by scale. Values of 0 and less have no logarithm and are left out; a term that has no others is
    in the legend only. Raises InputError where there is no step, or no value for each.
    """
    if not len(iterations):
        raise InputError("this run has no steps to draw (method spectral, or 0 iterations)")
    wrong = [name for name, values in terms.items() if len(values) != len(iterations)]
    if wrong or len(scales) != len(iterations) or not terms:
        raise InputError(f"{len(iterations)} steps, and not as many scales or values of {', '.join(wrong) or 'terms'}")
    figure = Picture(figsize=(WIDE, max(HIGH, LEGEND_LINE * (len(terms) + 5))), layout="constrained")
    axes = figure.subplots()
    steps, scale = np.asarray(iterations, np.float64), np.asarray(scales)
    values = {name: np.asarray(of_term, np.float64) for name, of_term in terms.items()}
    for n, (name, of_term) in enumerate(values.items()):
        colour = colormaps[COLOURS](n % 10)
        _line(axes, steps, scale, of_term, drawable(name), color=colour, linestyle=DASHES[n // 10 % 3], linewidth=1.2)
    total = np.sum(list(values.values()), axis=0)
    _line(axes, steps, scale, total, "sum", color=ink(), linewidth=2.0)
    if any(np.any(of_term > 0.0) for of_term in values.values()):
        axes.set_yscale("log")
    axes.set_ylabel("weighted term", fontsize=TEXT_PT + 1)
    axes.tick_params(labelsize=TEXT_PT)
    beside = max(0.5, BESIDE * float(steps[-1] - steps[0]))
    axes.set_xlim(steps[0] - beside, steps[-1] + beside)
    _boundaries(axes, steps, scale, sizes or {})
    legend = axes.legend(fontsize=TEXT_PT, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _line(
    axes: Axes, steps: NDArray[Any], scale: NDArray[Any], values: NDArray[np.float64], name: str, **style: Any
) -> None:
    """One term; a step without a value between two scales breaks the line."""
    known = np.where(np.isfinite(values) & (values > 0.0), values, np.nan)
    breaks = np.flatnonzero(np.diff(scale)) + 1
    shown = name if np.isfinite(known).any() else f"{name} (0)"
    shortest = np.diff([0, *breaks, len(steps)]).min()
    style["marker"] = "." if shortest < FEW else None
    axes.plot(np.insert(steps, breaks, np.nan), np.insert(known, breaks, np.nan), label=shown, **style)


def _boundaries(axes: Axes, steps: NDArray[Any], scale: NDArray[Any], sizes: Mapping[int, Sequence[int]]) -> None:
    """A line where a scale begins, its number at the top, and the sizes below."""
    starts = [0, *(np.flatnonzero(np.diff(scale)) + 1), len(steps)]
    told, last = [], -np.inf
    for begin, end in pairwise(starts):
        number = int(scale[begin])
        if begin:
            axes.axvline((steps[begin - 1] + steps[begin]) / 2, color="gray", linewidth=0.8, linestyle=":")
        middle = (steps[begin] + steps[end - 1]) / 2
        if middle - last >= CLOSEST * (steps[-1] - steps[0]):
            look: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": TEXT_PT}
            axes.annotate(f"{number + 1}", (middle, 1.0), (0, 3), xycoords=("data", "axes fraction"), **look)
            last = middle
        if number in sizes:
            told.append(f"{number + 1}: {' x '.join(map(str, sizes[number]))}")
    words = f"iteration   (scale {', '.join(told)})" if told else "iteration"
    axes.set_xlabel(words if len(told) <= MOST_TOLD else "iteration", fontsize=TEXT_PT + 1)
