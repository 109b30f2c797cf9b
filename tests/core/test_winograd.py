"""Convolutions by Winograd's method against the definition in float64, forward and back."""

import numpy as np
import pytest
import torch
from core_samples import image

import nst_nd
from nst_nd import nd, vgg19
from nst_nd.domains import shared
from nst_nd.domains import stylize as stylize_module
from nst_nd.domains.domain import Style
from nst_nd.domains.resolve import resolve
from nst_nd.engine.objective import activations_of
from nst_nd.engine.plan import candidates, make_plan, untiled_plan
from nst_nd.engine.team import ALONE
from nst_nd.features.convolution import Convolution, _convolutions, by_winograd, uses_winograd
from nst_nd.kernels import winograd

SIZES = {1: [(4,), (37,), (64,)], 2: [(3, 5), (17, 22), (32, 36)], 3: [(3, 4, 5), (9, 12, 7)]}
CASES = [(ndim, size) for ndim, sizes in SIZES.items() for size in sizes]


def drawn(shape, seed):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()


@pytest.mark.parametrize("amount", [0, 1])
@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize(("ndim", "size"), CASES, ids=str)
def test_against_the_definition(monkeypatch, ndim, size, rectify, amount):
    x, weight, bias = drawn((1, 5, *size), 0), drawn((7, 5, *(3,) * ndim), 1), drawn((7,), 2)
    exact = nd.correlate(x.double(), weight.double(), bias.double(), (amount,) * ndim, (1,) * ndim, (1,) * ndim)
    exact = exact.relu() if rectify else exact
    filters = winograd.filters_of(weight)
    assert filters.numel() == winograd.numbers_of(weight.shape)
    for strip in (winograd.STRIP, 1):  # all at once, row by row
        monkeypatch.setattr(winograd, "STRIP", strip)
        found = winograd.correlate(nd.channels_last(x), filters, bias, (amount,) * ndim, rectify=rectify)
        assert found.shape == exact.shape
        assert found.is_contiguous() or found.stride(1) == 1
        assert float((found - exact).norm() / exact.norm()) < 1e-5


def test_without_a_bias_and_in_float64():
    x, weight = drawn((1, 4, 13, 9), 0).double(), drawn((6, 4, 3, 3), 1).double()
    found = winograd.correlate(nd.channels_last(x), winograd.filters_of(weight), None, (1, 1), rectify=False)
    torch.testing.assert_close(found, torch.nn.functional.conv2d(x, weight, padding=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect", "circular"])
@pytest.mark.parametrize("rectify", [False, True])
def test_a_layer_and_its_way_back(monkeypatch, padding, rectify):
    monkeypatch.setattr(winograd, "LEAST_POSITIONS", 1)
    weight, bias = drawn((256, 256, 3, 3), 1) / 48.0, drawn((256,), 2)
    layer = Convolution("c", nd.channels_last(weight), bias, (1, 1), (1, 1), padding, rectify)
    fast = layer.by_winograd()
    assert fast.winograd
    assert fast.prepared > layer.prepared
    x = drawn((1, 256, 15, 18), 3)
    double = layer.to(x.device, torch.float64)
    leaf = x.double().requires_grad_()
    y = double(leaf)
    grad = drawn(y.shape, 4)
    (exact,) = torch.autograd.grad(y, leaf, grad.double())
    found, saved = fast.run(nd.channels_last(x))
    assert float((found - y.detach()).norm() / y.detach().norm()) < 1e-5
    assert float((fast.vjp(saved, nd.channels_last(grad.clone())) - exact).norm() / exact.norm()) < 1e-4


def test_where_it_pays():
    assert winograd.pays((3, 3), 512, 512)
    assert winograd.pays((3, 3), 256, 256)
    assert not winograd.pays((3, 3), 128, 128)
    assert not winograd.pays((3, 3), 64, 64)
    assert not winograd.pays((3, 3), 3, 512)
    assert not winograd.pays((5, 5), 512, 512)
    assert not winograd.pays((3,), 256, 256)
    assert uses_winograd(by_winograd(vgg19(3, 2, padding="reflect")))
    assert winograd.pays((3, 3, 3), 128, 128)
    strided = Convolution("c", drawn((512, 512, 3, 3), 0), drawn((512,), 1), (2, 2), (1, 1), "zeros", False)
    assert not strided.by_winograd().winograd


def test_the_network_is_the_same():
    x = 50.0 * drawn((1, 3, 136, 150), 0)
    network = vgg19(3, 2).until(["relu4_2"])
    fast = by_winograd(network)
    assert uses_winograd(fast)
    assert not uses_winograd(network)
    ours, exact = (activations_of(n, x)["relu4_2"] for n in (fast, network))
    assert float((ours - exact).norm() / exact.norm()) < 1e-5
    assert not torch.equal(ours, exact)  # it did take the other way


SETTINGS = {"style_layers": ("relu1_1", "relu3_1"), "content_layers": ("relu3_2",), "iterations": 3, "scales": (1.0,)}


def test_a_transfer_is_the_same_and_says_so(monkeypatch):
    content, style = image(seed=1, size=(140, 132)), image(seed=2, size=(140, 132))
    found = nst_nd.stylize(content, style, **SETTINGS)
    assert found.memory["plan"]["fast"]
    monkeypatch.setattr(shared, "by_winograd", lambda extractor: extractor)
    exact = nst_nd.stylize(content, style, **SETTINGS)
    assert not exact.memory["plan"]["fast"]
    for ours, theirs in zip(found.history, exact.history, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)


def test_where_memory_is_short_it_is_left():
    content, style = image(seed=1, size=(140, 132)), image(seed=2, size=(140, 132))
    given = stylize_module._Run(content, [Style(style)], resolve(SETTINGS, "image"), None, None, None, None, ALONE)
    transfer = given.work()
    transfer.plan(lambda words: None, None)
    assert transfer.scales[-1].plan.fast
    fast = transfer.scales[-1].demand
    transfer.networks = transfer._networks(fast=False)
    exact = transfer.demand()
    leanest = min(plan.predicted for plan in candidates(exact))
    assert leanest < min(plan.predicted for plan in candidates(fast))  # there is memory for the one and not the other
    assert untiled_plan(fast, leanest) is None
    assert not make_plan(exact, leanest).fast


def test_what_was_transformed_is_given_back():
    content, style = image(seed=1, size=(140, 132)), image(seed=2, size=(140, 132))
    given = stylize_module._Run(content, [Style(style)], resolve(SETTINGS, "image"), None, None, None, None, ALONE)
    transfer = given.work()
    transfer.plan(lambda words: None, None)
    layers = [layer for n in transfer.networks for layer in _convolutions(n.extractor) if layer.winograd]
    seen = []
    transfer.run(lambda step: seen.append(any("_points" in la.__dict__ for la in layers)), lambda: False, print, None)
    assert all(seen)
    transfer.close()
    assert not any("_points" in layer.__dict__ or "_points_back" in layer.__dict__ for layer in layers)
