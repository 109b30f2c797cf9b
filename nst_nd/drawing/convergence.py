"""How a run went: every term at every step, scale by scale, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    axes.set_xlabel("iteration", fontsize=TEXT_PT + 1)
    axes.set_ylabel("weighted term", fontsize=TEXT_PT + 1)
    axes.tick_params(labelsize=TEXT_PT)
    axes.margins(x=0.02)
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
    # a single step is no line
    style["marker"] = "." if len(steps) - len(breaks) < 3 else None
    axes.plot(np.insert(steps, breaks, np.nan), np.insert(known, breaks, np.nan), label=shown, **style)


def _boundaries(axes: Axes, steps: NDArray[Any], scale: NDArray[Any], sizes: Mapping[int, Sequence[int]]) -> None:
    """A line where a scale begins, and what it is at the top."""
    starts = [0, *(np.flatnonzero(np.diff(scale)) + 1)]
    for begin in starts:
        if begin:
            axes.axvline((steps[begin - 1] + steps[begin]) / 2, color="gray", linewidth=0.8, linestyle=":")
        size = sizes.get(int(scale[begin]))
        words = f"scale {int(scale[begin]) + 1}" + (f"\n{' x '.join(map(str, size))}" if size else "")
        axes.annotate(
            words,
            (steps[begin], 1.0),
            (2, 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=TEXT_PT,
            va="bottom",
        )
