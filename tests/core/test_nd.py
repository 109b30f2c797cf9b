"""The table of dimensions against numpy and scipy, in every number of dimensions."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import torch
from core_helpers import NDIMS, SIZES, signal
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_nd import nd
from nst_nd.errors import ConfigError, InputError
from nst_nd.features.convolution import Convolution

NUMPY_PADDING = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def naive_convolution(x, weight, bias, stride, dilation, padding):
    ndim = x.ndim - 1
    spread = np.zeros(
        weight.shape[:2] + tuple((k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True))
    )
    spread[(slice(None), slice(None), *(slice(None, None, d) for d in dilation))] = weight
    amount = [(n - 1) // 2 for n in spread.shape[2:]]
    padded = np.pad(x, [(0, 0), *((a, a) for a in amount)], mode=NUMPY_PADDING[padding])
    rows = []
    for kernels, b in zip(spread, bias, strict=True):
        full = sum(
            scipy.signal.correlate(c, k, mode="valid", method="direct") for c, k in zip(padded, kernels, strict=True)
        )
        rows.append(full[tuple(slice(None, None, s) for s in stride)] + b)
    assert len(stride) == ndim
    return np.stack(rows)


@pytest.mark.parametrize("padding", NUMPY_PADDING)
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (1, 2), (2, 1), (3, 2)])
@pytest.mark.parametrize("ndim", NDIMS)
def test_convolve(ndim, stride, dilation, padding):
    x, weight = signal(ndim), signal(ndim, 2, seed=1, size=(3, 5, 3)[:ndim]).expand(4, *[-1] * (ndim + 1)).clone()
    weight[1:] *= 0.5
    weight[2] = weight[2].flip(0)
    bias = torch.arange(4.0, dtype=torch.float64)
    strides, dilations = (stride,) * ndim, (dilation,) * ndim
    got = nd.convolve(x, weight, bias, stride=strides, dilation=dilations, padding=padding)
    want = naive_convolution(x[0].numpy(), weight.numpy(), bias.numpy(), strides, dilations, padding)
    np.testing.assert_allclose(got[0].numpy(), want, atol=1e-12)
    if stride == 1:
        assert got.shape[2:] == x.shape[2:]


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(NDIMS), st.sampled_from((1, 1, 2, 3)), st.sampled_from((1, 3, 8)))
def test_single_precision_convolves_as_double_in_any_layout(data, ndim, inputs, outputs):
    kernel, stride, dilation = (
        tuple(data.draw(st.sampled_from(choice)) for _ in range(ndim)) for choice in ((1, 3, 5), (1, 2, 3), (1, 2))
    )
    # a single position is left along the last axis
    size = (*(data.draw(st.integers(1, 20)) for _ in range(ndim - 1)), data.draw(st.integers(1, stride[-1])))
    x = nd.empty((1, inputs, *size), torch.empty(0)).copy_(signal(ndim, inputs, size=size))
    weight = nd.channels_last(signal(ndim, inputs, seed=1, size=kernel).expand(outputs, *[-1] * (ndim + 1)).float())
    bias = torch.linspace(-1.0, 1.0, outputs)
    layer = Convolution("c", weight, bias, stride, dilation, "zeros", True)
    exact = layer.to(x.device, torch.float64)(x.double())
    for found in (layer(x), layer.run(x)[0], layer(nd.channels_last(x)), layer.run(nd.channels_last(x))[0]):
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding", NUMPY_PADDING)
@pytest.mark.parametrize("ndim", NDIMS)
def test_pad_takes_the_axes_in_order(ndim, padding):
    x, amount = signal(ndim), (1, 0, 3)[:ndim]
    want = np.pad(x.numpy(), [(0, 0), (0, 0), *((a, a) for a in amount)], mode=NUMPY_PADDING[padding])
    np.testing.assert_array_equal(nd.pad(x, amount, padding).numpy(), want)


@pytest.mark.parametrize(("mode", "numpy_mode"), [("max", np.max), ("average", np.mean)])
@pytest.mark.parametrize("kernel", [(2, 2, 2), (2, 1, 3), (1, 1, 1)])
@pytest.mark.parametrize("ndim", NDIMS)
def test_pool(ndim, kernel, mode, numpy_mode):
    kernel = kernel[:ndim]
    x = signal(ndim).numpy()
    cut = x[(..., *(slice(0, n // k * k) for n, k in zip(x.shape[2:], kernel, strict=True)))]
    windows = cut.reshape(*x.shape[:2], *(m for n, k in zip(x.shape[2:], kernel, strict=True) for m in (n // k, k)))
    want = numpy_mode(windows, axis=tuple(range(3, windows.ndim, 2)))
    np.testing.assert_allclose(nd.pool(torch.from_numpy(x), kernel, mode).numpy(), want, atol=1e-14)


@pytest.mark.parametrize("sigma", [(0.0, 1.3, 0.4), (2.5, 0.0, 0.1), (20.0, 7.0, 9.0)])
@pytest.mark.parametrize("ndim", NDIMS)
def test_smooth(ndim, sigma):
    x, sigma = signal(ndim), sigma[:ndim]
    want = scipy.ndimage.gaussian_filter(x.numpy(), (0, 0, *sigma), mode="nearest", truncate=4.0)
    np.testing.assert_allclose(nd.smooth(x, sigma).numpy(), want, atol=1e-12)


def naive_resize(x, size):
    for axis, new in enumerate(size, start=2):
        factor = x.shape[axis] / new
        if factor > 1:
            x = scipy.ndimage.gaussian_filter1d(x, np.sqrt(factor**2 - 1) / 2, axis=axis, mode="nearest", truncate=4.0)
    for axis, new in enumerate(size, start=2):
        old = np.arange(x.shape[axis])
        at = (np.arange(new) + 0.5) * x.shape[axis] / new - 0.5
        x = np.apply_along_axis(lambda line, at=at, old=old: np.interp(at, old, line), axis, x)
    return x


@pytest.mark.parametrize("factor", [(0.5, 0.4, 0.3), (2.0, 1.7, 3.0), (0.3, 1.0, 2.0)])
@pytest.mark.parametrize("ndim", NDIMS)
def test_resize(ndim, factor):
    x = signal(ndim)
    size = [max(1, round(n * f)) for n, f in zip(SIZES[ndim], factor, strict=False)]
    np.testing.assert_allclose(nd.resize(x, size).numpy(), naive_resize(x.numpy(), size), atol=1e-12)


@pytest.mark.parametrize("ndim", NDIMS)
def test_resize_to_the_same_size_changes_nothing(ndim):
    x = signal(ndim)
    assert torch.equal(nd.resize(x, SIZES[ndim]), x)


@pytest.mark.parametrize("size", [(5, 4, 3), (41, 40, 50), (1, 1, 1)])
@pytest.mark.parametrize("ndim", NDIMS)
def test_constants_stay_constant_up_to_the_border(ndim, size):
    x = torch.full((1, 1, *SIZES[ndim]), 3.25, dtype=torch.float64)
    torch.testing.assert_close(nd.resize(x, size[:ndim]), torch.full((1, 1, *size[:ndim]), 3.25, dtype=torch.float64))
    torch.testing.assert_close(nd.smooth(x, (4.2, 0.7, 11.0)[:ndim]), x)


def test_a_reduction_does_not_fold():
    n, factor = 1024, 4
    for cycles in (1.5, 2.0, 3.0):  # of the new Nyquist frequency
        wave = torch.cos(torch.arange(n, dtype=torch.float64) * np.pi * cycles / factor + 0.3)[None, None]
        assert nd.resize(wave, (n // factor,)).std() < 0.1 * wave.std()


@pytest.mark.parametrize("ndim", NDIMS)
def test_smooth_and_resize_are_linear_with_the_adjoint_that_autograd_finds(ndim):
    size = tuple(max(1, n // 2) for n in SIZES[ndim])
    for operation in (lambda x: nd.smooth(x, (1.5, 0.0, 2.0)[:ndim]), lambda x: nd.resize(x, size)):
        a, b = signal(ndim), signal(ndim, seed=1)
        torch.testing.assert_close(operation(2.0 * a - b), 2.0 * operation(a) - operation(b))
        x = signal(ndim, seed=2).requires_grad_()
        y = torch.randn_like(operation(a))
        (back,) = torch.autograd.grad(operation(x), x, y)
        # the adjoint at x serves any other point
        assert float((operation(a) * y).sum()) == pytest.approx(float((a * back).sum()), abs=1e-10)


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("ndim", NDIMS)
def test_total_variation(ndim, exponent):
    x = signal(ndim)
    want = sum(np.mean(np.abs(np.diff(x.numpy(), axis=axis)) ** exponent) for axis in range(2, ndim + 2))
    assert float(nd.total_variation(x, exponent)) == pytest.approx(want, rel=1e-12)


def test_total_variation_of_single_positions_is_zero():
    x = signal(3, size=(1, 1, 1)).requires_grad_()
    value = nd.total_variation(x, 2.0)
    value.backward()
    assert float(value.detach()) == 0.0
    assert not x.grad.any()
    one_long_axis = signal(3, size=(1, 6, 1))
    assert float(nd.total_variation(one_long_axis, 2.0)) == float(nd.total_variation(one_long_axis[:, :, 0, :, 0], 2.0))


@pytest.mark.parametrize("ndim", NDIMS)
def test_channels_last_keeps_the_values(ndim):
    x = signal(ndim)
    assert torch.equal(nd.channels_last(x), x)
    if ndim > 1:
        assert nd.channels_last(x).stride(1) == 1


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 3, 4, 4, 4, 4)])
def test_other_shapes_are_refused(shape):
    x = torch.zeros(shape)
    axes = len(shape) - 2
    ones = (1,) * max(axes, 0)
    calls = [
        lambda: nd.spatial_axes(x),
        lambda: nd.channels_last(x),
        lambda: nd.pool(x, ones, "max"),
        lambda: nd.convolve(x, torch.zeros(2, 3, *ones), stride=ones, dilation=ones),
    ]
    for call in calls:
        with pytest.raises(InputError, match="1 to 3 spatial axes"):
            call()


@pytest.mark.parametrize("ndim", NDIMS)
def test_resize_to_nothing_is_refused(ndim):
    with pytest.raises(ConfigError, match="at least one position"):
        nd.resize(signal(ndim), (0,) * ndim)
