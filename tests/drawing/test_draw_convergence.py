"""How a run went: every term, broken where a scale begins."""

import numpy as np
import pytest

from nst_nd.drawing.convergence import convergence_figure
from nst_nd.errors import InputError

STEPS, SCALES = [1, 2, 3, 4, 5], [0, 0, 0, 1, 1]
TERMS = {"content": [0.0, 1.0, 2.0, 3.0, 4.0], "style": [50.0, 40.0, 30.0, 60.0, 20.0], "range": [0.0] * 5}


def test_each_term_and_the_sum_per_scale():
    figure = convergence_figure(STEPS, SCALES, TERMS, {0: (32, 40), 1: (64, 80)})
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert list(lines) == ["content", "style", "range (0)", "sum"]
    np.testing.assert_array_equal(lines["style"].get_xdata(), [1, 2, 3, np.nan, 4, 5])
    np.testing.assert_array_equal(lines["style"].get_ydata(), [50, 40, 30, np.nan, 60, 20])
    np.testing.assert_array_equal(lines["content"].get_ydata(), [np.nan, 1, 2, np.nan, 3, 4])
    np.testing.assert_array_equal(lines["sum"].get_ydata(), [50, 41, 32, np.nan, 63, 24])
    assert axes.get_xlabel() == "iteration   (scale 1: 32 x 40, 2: 64 x 80)"
    assert axes.get_ylabel() == "weighted term"
    boundary = next(line for line in axes.lines if line.get_linestyle() == ":")
    assert boundary.get_xdata() == [3.5, 3.5]
    assert figure.png(dpi=30)


@pytest.mark.parametrize("count", [1, 40])
def test_one_step_and_many_terms(count):
    figure = convergence_figure([1], [0], {f"style/relu{n}": [1.0] for n in range(count)})
    assert figure.axes[0].lines[0].get_marker() == "."
    assert figure.png(dpi=30)


def test_only_zeros_and_names_with_dollars():
    figure = convergence_figure([1, 2], [0, 0], {"$\\frac": [0.0, 0.0], "x" * 99: [float("nan"), 0.0]})
    assert figure.axes[0].get_yscale() == "linear"
    assert figure.png(dpi=30)


def test_no_steps_and_values_missing():
    with pytest.raises(InputError, match="no steps"):
        convergence_figure([], [], {})
    with pytest.raises(InputError, match="style"):
        convergence_figure([1, 2], [0, 0], {"style": [1.0]})
    with pytest.raises(InputError, match="terms"):
        convergence_figure([1, 2], [0, 0], {})
