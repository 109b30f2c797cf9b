"""Moments, what is read off them, and their way back, against numpy and autograd."""

import numpy as np
import pytest
import torch
from core_helpers import CHANNELS, GENERAL, NDIMS, SIZES, numpy_statistic, relative, signal, table
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_nd import STATISTICS, Moments, gram, vgg19
from nst_nd.errors import InputError
from nst_nd.kernels import marginal
from nst_nd.kernels.moments import moments_vjp
from nst_nd.kernels.moments_torch import BLOCK

every_statistic = pytest.mark.parametrize("name", GENERAL)
every_ndim = pytest.mark.parametrize("ndim", NDIMS)


def weights(ndim, seed=0):
    return signal(ndim, 1, seed=seed + 50).abs() * (signal(ndim, 1, seed=seed + 51) > -0.5)


def assert_same(a, b, tolerance=1e-12):
    assert (a.sum is None) == (b.sum is None)
    for ours, theirs in [(a.count, b.count), (a.outer, b.outer), *([] if a.sum is None else [(a.sum, b.sum)])]:
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("nc", CHANNELS)
@every_statistic
@every_ndim
def test_statistics_are_numpys(ndim, name, nc):
    x = signal(ndim, nc) + torch.arange(nc, dtype=torch.float64).view(1, nc, *(1,) * ndim)
    for pivot in (None, torch.linspace(-1.0, 2.0, nc, dtype=torch.float64)):
        got = STATISTICS[name].read(Moments.of(x, None, pivot))
        np.testing.assert_allclose(got.numpy(), numpy_statistic(name, x), rtol=1e-11, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(NDIMS), st.sampled_from(CHANNELS), st.data(), st.booleans(), st.booleans())
def test_moments_add_up_over_any_split(ndim, nc, data, masked, pivoted):
    x, w = signal(ndim, nc), weights(ndim) if masked else None
    pivot = torch.linspace(-1.0, 1.0, nc, dtype=torch.float64) if pivoted else None
    axis = data.draw(st.integers(2, ndim + 1))
    cut = data.draw(st.integers(1, x.shape[axis] - 1))
    parts = [slice(0, cut), slice(cut, None)]
    at = [(slice(None),) * axis + (part,) for part in parts]
    first, second = (Moments.of(x[i], None if w is None else w[i], pivot) for i in at)
    assert_same(first + second, Moments.of(x, w, pivot))


@every_ndim
def test_a_mask_and_its_complement_add_up(ndim):
    x, inside = signal(ndim, 3), (signal(ndim, 1, seed=9) > 0.3).double()
    whole = Moments.of(x)
    assert_same(Moments.of(x, inside) + Moments.of(x, 1.0 - inside), whole)
    chosen = table(x)[:, inside.flatten().numpy() > 0]
    np.testing.assert_allclose(Moments.of(x, inside).outer.numpy(), chosen @ chosen.T, atol=1e-12)


def test_marginal_moments_of_16_bits_are_summed_in_float32():
    x = signal(1, 4, size=(999,), dtype=torch.float32)
    for dtype, exact in ((torch.bfloat16, 1e-2), (torch.float16, 1e-3)):
        f = x[0].to(dtype)
        found = marginal.marginal_moments(f, None, None)[2]
        torch.testing.assert_close(found, f.double().square().sum(1), rtol=1e-6, atol=0.0)
        at = torch.linspace(0.1, 1.0, 4).double()
        for into in (None, torch.ones_like(f)):
            wanted = 2.0 * at[:, None] * f.double() + (0.0 if into is None else 1.0)
            back = marginal.marginal_vjp(f, None, None, None, at, into)
            assert back.dtype == dtype
            torch.testing.assert_close(back.double(), wanted, rtol=exact, atol=exact)


def test_more_positions_than_a_block():
    x = signal(1, 2, size=(2 * BLOCK + 7,), dtype=torch.float32)
    f = table(x)
    m = Moments.of(x)
    np.testing.assert_allclose(m.outer.numpy(), f @ f.T, rtol=1e-5, atol=1e-1)
    np.testing.assert_allclose(m.sum.numpy(), f.sum(1), rtol=1e-4)
    assert m.count == 2 * BLOCK + 7


@every_statistic
@every_ndim
def test_the_pivot_does_not_matter_in_float64(ndim, name):
    x, w = signal(ndim, 3), weights(ndim)
    want = STATISTICS[name].read(Moments.of(x, w))
    for pivot in (torch.zeros(3), torch.full((3,), 7.5), Moments.of(x, w).mean):
        torch.testing.assert_close(
            STATISTICS[name].read(Moments.of(x, w, pivot.double())), want, rtol=1e-11, atol=1e-12
        )


@pytest.mark.parametrize("name", ["covariance", "correlation", "mean_std"])
@every_ndim
def test_a_pivot_keeps_float32_precise_far_from_zero(ndim, name):
    x = signal(ndim, 3)
    x = (torch.tensor([1e4, -2e4, 3.0]).view(1, 3, *(1,) * ndim) * (1 + 1e-4 * x)).float()
    want, read = numpy_statistic(name, x), STATISTICS[name].read
    pivot = Moments.of(x).mean
    # what is left is the last bit of float32 activations
    assert relative(read(Moments.of(x, None, pivot)), want) < 1e-5
    if name == "covariance":
        assert relative(read(Moments.of(x)), want) > 1e-3


@every_ndim
def test_constant_channels(ndim):
    x = signal(ndim, 3, dtype=torch.float32)
    x[:, 1] = 100.0
    m = Moments.of(x, None, Moments.of(x).mean)
    correlation = STATISTICS["correlation"].read(m)
    assert not correlation[1].any()
    assert not correlation[:, 1].any()
    np.testing.assert_allclose(correlation[[0, 2]][:, [0, 2]], numpy_statistic("correlation", x[:, [0, 2]]), rtol=1e-5)
    mean_std = STATISTICS["mean_std"].read(m)
    assert float(mean_std[1]) == pytest.approx(100.0)
    assert float(mean_std[4]) == 0.0


@every_statistic
def test_a_constant_signal_has_finite_gradients(name):
    m = Moments.of(torch.full((1, 2, 9), 3.0, dtype=torch.float64))
    leaves = [m.sum.requires_grad_(), m.outer.requires_grad_()]
    slopes = torch.autograd.grad(STATISTICS[name].read(m).sum(), leaves, materialize_grads=True)
    assert all(torch.isfinite(s).all() for s in slopes)


@every_statistic
@every_ndim
def test_repeating_a_signal_along_a_new_axis_changes_nothing(ndim, name):
    x = signal(ndim, 3)
    repeated = x.unsqueeze(-1).expand(*x.shape, 5)
    read = STATISTICS[name].read
    torch.testing.assert_close(read(Moments.of(repeated)), read(Moments.of(x)), rtol=1e-12, atol=1e-14)
    if ndim < NDIMS[-1]:
        torch.testing.assert_close(gram(repeated), gram(x), rtol=1e-12, atol=1e-14)


def test_vgg_sees_a_repeated_signal_as_the_signal():
    taps = ["relu1_1", "relu2_2", "relu3_1"]
    line = 100.0 * signal(1, 3, size=(40,), dtype=torch.float32)
    as_image = line.unsqueeze(-1).expand(-1, -1, -1, 8)
    image = 100.0 * signal(2, 3, size=(21, 17), dtype=torch.float32)
    as_volume = image.unsqueeze(-1).expand(-1, -1, -1, -1, 8)
    for ndim, x, more in ((1, line, as_image), (2, image, as_volume)):
        less, greater = (vgg19(3, n, padding="replicate").until(taps) for n in (ndim, ndim + 1))
        with torch.no_grad():
            ours, theirs = less(x), greater(more)
        for tap in taps:
            torch.testing.assert_close(theirs[tap], ours[tap].unsqueeze(-1).expand_as(theirs[tap]), rtol=1e-3, atol=0.1)
            assert relative(gram(theirs[tap]), gram(ours[tap])) < 1e-5


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", [name for name, statistic in STATISTICS.items() if statistic.marginal])
@every_ndim
def test_the_diagonal_is_enough_for_marginal_statistics(ndim, name, masked, monkeypatch):
    monkeypatch.setattr(marginal, "CACHED", 20)  # many blocks
    x, w = signal(ndim, 3), weights(ndim) if masked else None
    pivot = torch.linspace(-1.0, 1.0, 3, dtype=torch.float64)
    own, full = Moments.of(x, w, pivot, marginal=True), Moments.of(x, w, pivot)
    torch.testing.assert_close(own.outer, full.outer.diagonal())
    for ours, theirs in ((own.count, full.count), (own.sum, full.sum)):
        torch.testing.assert_close(ours, theirs)
    read = STATISTICS[name].read
    torch.testing.assert_close(read(own), read(full), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(read(own + own), read(full + full), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", ["plain", "channels innermost", "strided"])
@pytest.mark.parametrize("with_into", [False, True])
@pytest.mark.parametrize("pivoted", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("diagonal", [False, True])
def test_moments_vjp_is_autograds(diagonal, weighted, pivoted, with_into, layout):
    x = signal(1, 5, size=(31,))
    flat = {
        "plain": x[0],
        "channels innermost": x[0].T.contiguous().T,
        "strided": x.repeat_interleave(2, -1)[0, :, ::2],
    }
    features = flat[layout].clone(memory_format=torch.preserve_format)
    if layout == "strided":
        features = flat[layout]
    w = weights(1)[0, 0, :31] if weighted else None
    pivot = torch.linspace(-1.0, 1.0, 5, dtype=torch.float64) if pivoted else None
    at_sum, at_outer = signal(1, 5, size=(1,))[0, :, 0], signal(1, 5, size=(5,), seed=3)[0]
    at_outer, back = (at_outer[0], marginal.marginal_vjp) if diagonal else (at_outer, moments_vjp)
    before = signal(1, 5, size=(31,), seed=4)[0]
    if layout == "channels innermost":
        before = before.T.contiguous().T
    for slope in (None, at_sum):
        leaf = features.detach().clone().requires_grad_()
        m = Moments.of(leaf[None], w, pivot, marginal=diagonal)
        value = (m.outer * at_outer).sum() + (0.0 if slope is None else (m.sum * slope).sum())
        (want,) = torch.autograd.grad(value, leaf)
        into = before.clone(memory_format=torch.preserve_format) if with_into else None
        got = back(features, w, pivot, slope, at_outer, into)
        torch.testing.assert_close(got, want + before if with_into else want, rtol=1e-12, atol=1e-12)
        if with_into:
            assert got.data_ptr() == into.data_ptr()


@every_ndim
def test_gram_of_activations_with_and_without_batch_and_weight(ndim):
    x, w = signal(ndim, 4), weights(ndim)
    np.testing.assert_allclose(gram(x), numpy_statistic("gram", x), rtol=1e-12)
    torch.testing.assert_close(gram(x[0]), gram(x))
    torch.testing.assert_close(gram(x, torch.ones(SIZES[ndim], dtype=torch.float64)), gram(x))
    f, v = table(x), w.flatten().numpy()
    np.testing.assert_allclose(gram(x, w), (f * v) @ f.T / v.sum(), rtol=1e-11)
    torch.testing.assert_close(gram(x, w[0, 0]), gram(x, w))


def spoiled(x, value):
    x = x.clone()
    x.view(-1)[3] = value
    return x


BAD_INPUT = {
    "NaN": lambda x, w: (spoiled(x, float("nan")), None),
    "infinite": lambda x, w: (spoiled(x, -float("inf")), None),
    "empty": lambda x, w: (x[..., :0], None),
    "no axes": lambda x, w: (torch.zeros(5), None),
    "weights of 0": lambda x, w: (x, torch.zeros_like(w)),
    "negative weights": lambda x, w: (x, -w),
    "one negative weight": lambda x, w: (x, spoiled(w, -1e-6)),
    "too many weights": lambda x, w: (x, torch.cat([w, w])),
    "NaN weight": lambda x, w: (x, spoiled(w, float("nan"))),
    "infinite weight": lambda x, w: (x, spoiled(w, float("inf"))),
}


@pytest.mark.parametrize("case", BAD_INPUT)
@every_ndim
def test_gram_refuses_bad_input(ndim, case):
    with pytest.raises(InputError):
        gram(*BAD_INPUT[case](signal(ndim, 2), weights(ndim)))


@pytest.mark.parametrize("shape", [(2, 3, 4, 4, 4), (1, 2, 3, 4, 4, 4), (2, 3, 4, 4, 4, 4)])
def test_gram_refuses_more_than_three_axes(shape):
    with pytest.raises(InputError, match="allowed"):
        gram(torch.ones(shape))
