"""Every named normalisation against numbers worked out by hand, and the gradient of every cost."""

from functools import partial

import pytest
import torch
from core_helpers import CHANNELS, GENERAL, NDIMS, TINY, signal
from torch.autograd import gradcheck

from nst_nd import STATISTICS, Moments, content_cost, gram, out_of_range, style_cost, total_variation
from nst_nd.errors import InputError

CONTENT = ("relative", "mse", "gatys", "textbook")
STYLE = ("relative", "gatys", "johnson", "mse")


def values(channels, *space):
    return torch.tensor(channels, dtype=torch.float64).view(1, len(channels), *space)


# 1-D, C = 2, N = 2. F = (1 2 | 3 0), T = (1 0 | 1 2)
#   F - T = (0 2 | 2 -2): sum of squares 0 + 4 + 4 + 4 = 12; sum of T^2 = 1 + 0 + 1 + 4 = 6
#   F F' = (1+4 3+0 | 3+0 9+0) = (5 3 | 3 9); T T' = (1 1 | 1 1+4) = (1 1 | 1 5); raw difference (4 2 | 2 4)
#   per position, / 2: difference (2 1 | 1 2), || . ||^2 = 4 + 1 + 1 + 4 = 10; A = (1/2 1/2 | 1/2 5/2), || A ||^2 = 7
# 2-D, C = 1, 2 x 2. F = (1 2 / 3 0), T = (1 1 / 0 2)
#   F - T = (0 1 / 3 -2): 0 + 1 + 9 + 4 = 14; sum of T^2 = 1 + 1 + 0 + 4 = 6
#   F F' = 14, T T' = 6, raw difference 8; per position, / 4: difference 2, || . ||^2 = 4; A = 3/2, || A ||^2 = 9/4
# 3-D, C = 3, 1 x 2 x 1. F = (1 1 | 0 2 | 2 0), T = (0 0 | 2 0 | 0 2)
#   F - T = (1 1 | -2 2 | 2 -2): 1 + 1 + 4 + 4 + 4 + 4 = 18; sum of T^2 = 4 + 4 = 8
#   F F' = (2 2 2 | 2 4 0 | 2 0 4), T T' = (0 0 0 | 0 4 0 | 0 0 4); raw difference (2 2 2 | 2 0 0 | 2 0 0)
#   per position, / 2: five entries of 1, || . ||^2 = 5; A has two entries of 2, || A ||^2 = 8
CASES = {
    1: (
        values([[1, 2], [3, 0]], 2),
        values([[1, 0], [1, 2]], 2),
        {"relative": 12 / 6, "mse": 12 / (2 * 2), "gatys": 12 / 2, "textbook": 12 / (4 * 2 * 2)},
        {"relative": 10 / 7, "gatys": 10 / (4 * 4), "johnson": 10 / 4, "mse": 10 / (4 * 4)},
    ),
    2: (
        values([[1, 2, 3, 0]], 2, 2),
        values([[1, 1, 0, 2]], 2, 2),
        {"relative": 14 / 6, "mse": 14 / 4, "gatys": 14 / 2, "textbook": 14 / (4 * 4)},
        {"relative": 4 / (9 / 4), "gatys": 4 / 4, "johnson": 4 / 1, "mse": 4 / 1},
    ),
    3: (
        values([[1, 1], [0, 2], [2, 0]], 1, 2, 1),
        values([[0, 0], [2, 0], [0, 2]], 1, 2, 1),
        {"relative": 18 / 8, "mse": 18 / (3 * 2), "gatys": 18 / 2, "textbook": 18 / (4 * 3 * 2)},
        {"relative": 5 / 8, "gatys": 5 / (4 * 9), "johnson": 5 / 9, "mse": 5 / (9 * 9)},
    ),
}


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("ndim", NDIMS)
def test_content_by_hand(ndim, name):
    activations, target, want, _ = CASES[ndim]
    assert float(content_cost(activations, target, name)) == pytest.approx(want[name], rel=1e-14)


@pytest.mark.parametrize("name", STYLE)
@pytest.mark.parametrize("ndim", NDIMS)
def test_style_by_hand(ndim, name):
    activations, target, _, want = CASES[ndim]
    got = style_cost(gram(activations), gram(target), activations.shape[1], name)
    assert float(got) == pytest.approx(want[name], rel=1e-14)


def test_the_mean_squared_error_of_mean_and_deviation_counts_its_own_entries():
    # C = 2, a vector of 2 C = 4 entries: 1 + 4 + 0 + 9 = 14, / (2^2 * 4)
    statistic, target = torch.tensor([1.0, 2.0, 0.0, 3.0]), torch.zeros(4)
    assert float(style_cost(statistic, target, 2, "mse")) == pytest.approx(14 / 16)


@pytest.mark.parametrize("nc", CHANNELS)
@pytest.mark.parametrize("ndim", NDIMS)
def test_textbook_formulas_on_raw_sums(ndim, nc):
    generated, target = signal(ndim, nc), signal(ndim, nc, seed=1)
    positions = generated[0, 0].numel()
    content = ((generated - target) ** 2).sum() / (4 * positions * nc)
    assert float(content_cost(generated, target, "textbook")) == pytest.approx(float(content), rel=1e-13)
    a, b = generated[0].flatten(1), target[0].flatten(1)
    style = ((a @ a.T - b @ b.T) ** 2).sum() / (2 * positions * nc) ** 2
    assert float(style_cost(gram(generated), gram(target), nc, "gatys")) == pytest.approx(float(style), rel=1e-12)


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("nc", CHANNELS)
@pytest.mark.parametrize("ndim", NDIMS)
def test_gradient_of_content(ndim, nc, name):
    target = signal(ndim, nc, size=TINY[ndim], seed=1)
    x = signal(ndim, nc, size=TINY[ndim]).requires_grad_()
    assert gradcheck(partial(content_cost, target=target, normalisation=name), x)


@pytest.mark.parametrize("name", STYLE)
@pytest.mark.parametrize("statistic", GENERAL)
@pytest.mark.parametrize("nc", CHANNELS)
@pytest.mark.parametrize("ndim", NDIMS)
def test_gradient_of_style(ndim, nc, statistic, name):
    read = STATISTICS[statistic].read
    size = (5, *TINY[ndim][1:])
    style = signal(ndim, nc, size=size, seed=1) + 0.5
    pivot = style[0].flatten(1).mean(1)
    target = read(Moments.of(style, None, pivot))
    mask = signal(ndim, 1, size=size, seed=2).abs()

    def cost(x):
        return style_cost(read(Moments.of(x, mask, pivot)), target, nc, name)

    assert gradcheck(cost, signal(ndim, nc, size=size).requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("exponent", [1.0, 1.3, 2.0])
@pytest.mark.parametrize("nc", CHANNELS)
@pytest.mark.parametrize("ndim", NDIMS)
def test_gradient_of_total_variation(ndim, nc, exponent):
    x = signal(ndim, nc, size=TINY[ndim]).requires_grad_()
    assert gradcheck(partial(total_variation, exponent=exponent), x)


@pytest.mark.parametrize("nc", CHANNELS)
@pytest.mark.parametrize("ndim", NDIMS)
def test_gradient_of_the_range(ndim, nc):
    low = torch.linspace(-1.0, 0.0, nc, dtype=torch.float64)
    x = signal(ndim, nc, size=TINY[ndim]).requires_grad_()
    assert gradcheck(partial(out_of_range, low=low, high=low + 0.7), x)


def test_total_variation_by_hand():
    # one axis: |2 - 1|, |5 - 2|, mean of squares (1 + 9) / 2 = 5, mean of absolutes (1 + 3) / 2 = 2
    line = values([[1, 2, 5]], 3)
    assert float(total_variation(line)) == 5.0
    assert float(total_variation(line, 1.0)) == 2.0
    # (1 2 / 4 8): down 3, 6: (9 + 36) / 2 = 22.5; across 1, 4: (1 + 16) / 2 = 8.5
    assert float(total_variation(values([[1, 2, 4, 8]], 2, 2))) == 31.0
    # the same as a volume of one slice
    assert float(total_variation(values([[1, 2, 4, 8]], 2, 2, 1))) == 31.0


@pytest.mark.parametrize("ndim", NDIMS)
def test_out_of_range_by_hand(ndim):
    # channel 0 in 0..10: -5 is 0.5 of the range below, 20 is 1 above; channel 1 in -1..1: 3 is 1 of its range above
    x = values([[-5, 20, 10], [0, -1, 3]], 3, *(1,) * (ndim - 1))
    low, high = torch.tensor([0.0, -1.0]), torch.tensor([10.0, 1.0])
    assert float(out_of_range(x, low, high)) == pytest.approx((0.25 + 1.0 + 0.0 + 0.0 + 0.0 + 1.0) / 6)
    assert float(out_of_range(x.clamp(0.0, 1.0), low, high)) == 0.0


@pytest.mark.parametrize("ndim", NDIMS)
def test_a_target_of_zeros_is_refused_where_it_would_be_divided_by(ndim):
    x = signal(ndim)
    with pytest.raises(InputError, match="no activation"):
        content_cost(x, torch.zeros_like(x))
    with pytest.raises(InputError, match="no activation"):
        style_cost(gram(x), torch.zeros(2, 2), 2)
    for name in CONTENT[1:]:
        assert torch.isfinite(content_cost(x, torch.zeros_like(x), name))
    for name in STYLE[1:]:
        assert torch.isfinite(style_cost(gram(x), torch.zeros(2, 2), 2, name))


def test_shapes_that_do_not_agree_are_refused():
    with pytest.raises(InputError, match="against a target"):
        content_cost(torch.ones(1, 2, 5), torch.ones(1, 2, 1))
    with pytest.raises(InputError, match="against a target"):
        style_cost(torch.ones(2, 2), torch.ones(3, 3), 2)
