"""Edge response: bodies whose blur is a known Gaussian, and the phantom, whose transfer is known."""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import ndtr
from test_noise_metrics import ct

from nst_nd.domains.metrics import content_edges as found_edges
from nst_nd.domains.metrics.content_edges import content_edges, edge_transfer
from nst_nd.domains.metrics.edge_response import edge_response

SIGMA = 0.45
# exp(-2 (pi sigma f)^2) is 0.5 and 0.1 there, sigma in mm
F50, F10 = (float(np.sqrt(np.log(part) / 2.0) / np.pi) for part in (2.0, 10.0))


@cache
def make_phantom():
    path = Path(__file__).parents[2] / "data_samples" / "make_phantom.py"
    spec = importlib.util.spec_from_file_location("phantom_of_edges", path)
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def ball(centre, radius, sigma, shape=(64, 60, 40), spacing=(0.7, 0.7, 1.0), level=45.0, contrast=200.0):
    """A ball or cylinder (by the length of centre) whose border is the integral of a Gaussian."""
    axes = np.indices(shape)
    pairs = zip(axes, centre, spacing, strict=False)
    distance = np.sqrt(sum(((axis - c) * mm) ** 2 for axis, c, mm in pairs))
    return level + contrast * ndtr((radius - distance) / sigma)


@pytest.mark.parametrize("sigma", [0.45, 0.8])
@pytest.mark.parametrize("centre", [(31.3, 28.8), (31.3, 28.8, 19.6)], ids=["cylinder", "ball"])
def test_a_gaussian_border(centre, sigma):
    noise = np.random.default_rng(0).normal(0.0, 5.0, (64, 60, 40))
    for extra, near in ((0.0, 0.01), (noise, 0.05)):
        found = edge_response(ct(ball(centre, 12.0, sigma) + extra, (0.7, 0.7, 1.0)), centre, 12.0, half_mm=7.0)
        assert found.f50 == pytest.approx(F50 / sigma, rel=near)
        assert found.f10 == pytest.approx(F10 / sigma, rel=2 * near)
        assert found.contrast == pytest.approx(200.0, rel=0.02)
        assert found.transfer[0] == 1.0


def test_single_slices_of_a_cylinder():
    data = ball((31.3, 28.8), 12.0, 0.5)
    data[..., 20:] = ball((31.3, 28.8), 12.0, 1.0)[..., 20:]
    low, high = (edge_response(ct(data), (31.3, 28.8), 12.0, across=part) for part in (slice(20), slice(20, None)))
    assert low.f50 == pytest.approx(2.0 * high.f50, rel=0.02)


def test_outside_of_the_volume_nothing_is_measured():
    for centre in ((-100.0, 0.0), (-100.0, 0.0, 0.0)):
        found = edge_response(ct(np.full((40, 40, 4), 45.0)), centre, 10.0)
        assert np.isnan([found.f50, found.f10, found.contrast]).all()
    flat = edge_response(ct(np.full((64, 64, 4), 45.0)), (32.0, 32.0), 10.0)
    assert np.isnan(flat.f50)


@pytest.mark.parametrize("name", ["sharp", "smooth"])
def test_the_phantoms_disc(name):
    phantom = make_phantom()
    kernel = phantom.KERNELS[name]
    disc = phantom.Ellipse(60.3, 40.2, 25, 25, 200)
    quiet = phantom.Kernel(kernel.f50, 0.0, kernel.cutoff)
    image = phantom.make_phantom((128, 128, 1), (0.7, 0.7, 5.0), quiet, centre=(60, 40), extra=[disc])
    centre = (63.5 + 0.3 / 0.7, 63.5 + 0.2 / 0.7)
    found = edge_response(ct(image, (0.7, 0.7, 5.0)), centre, 25.0, half_mm=12.0)
    assert found.f50 == pytest.approx(kernel.f50, rel=0.02)
    f = np.arange(0.0, kernel.cutoff, 0.001)
    assert found.f10 == pytest.approx(np.interp(-0.1, -kernel.mtf(f), f), rel=0.03)
    assert found.contrast == pytest.approx(200.0, rel=0.03)


def crop(name):
    image = make_phantom().make_phantom((160, 160, 3), (0.7, 0.7, 5.0), name, centre=(52.0, 46.0))
    return ct(image, (0.7, 0.7, 5.0))


def test_the_phantoms_own_edges():
    sharp, smooth = crop("sharp"), crop("smooth")
    for content, other, want in ((sharp, smooth, (0.60, 0.35)), (smooth, sharp, (0.35, 0.60))):
        found = edge_transfer(content, content_edges(content), other)
        assert [each.f50 for each in found] == pytest.approx(want, rel=0.05)


def steps(sigma, sd=10.0, angle=0.3, high=0.0, seed=0):
    """A straight slanted step of 850 HU, blurred by a Gaussian of sigma mm."""
    i, j, _ = np.indices((160, 120, 4))
    distance = ((i - 80.0) * np.cos(angle) + (j - 60.0) * np.sin(angle)) * 0.7
    noise = np.random.default_rng(seed).normal(0.0, sd, distance.shape)
    return ct(-850.0 + (850.0 + high) * ndtr(distance / sigma) + noise)


@pytest.mark.parametrize("angle", [0.1, 0.3, 1.3, 2.0, -0.6])
def test_a_slanted_step(angle):
    content, softer = steps(0.5, angle=angle), steps(0.9, angle=angle, seed=1)
    before, after = edge_transfer(content, content_edges(content), softer)
    assert before.f50 == pytest.approx(F50 / 0.5, rel=0.06)
    assert after.f50 == pytest.approx(F50 / 0.9, rel=0.06)


def test_a_result_softer_by_a_known_filter():
    content = steps(0.5, sd=3.0)
    smoothed = content.replace(data=gaussian_filter(content.data, (0, 1.0, 1.0, 0)))
    after = edge_transfer(content, content_edges(content), smoothed)[1]
    assert after.f50 == pytest.approx(F50 / np.hypot(0.5, 0.7), rel=0.06)


def test_levels_do_not_count():
    content = steps(0.5, sd=3.0)
    other = content.replace(data=0.5 * content.data + 100.0)
    before, after = edge_transfer(content, content_edges(content), other)
    np.testing.assert_allclose(after.transfer, before.transfer, atol=1e-4)


def test_edges_that_are_gone_and_lines_that_are_none():
    content = steps(0.5)
    before, after = edge_transfer(content, content_edges(content), content.replace(data=0 * content.data))
    assert np.isfinite(before.f50)
    assert np.isnan(after.f50)
    thin = np.full((96, 96, 3), 50.0)
    thin[20:80:15, :, :] = thin[:, 40, :] = 900.0
    sample = ct(thin)
    edges = content_edges(sample)
    assert len(edges.places)
    assert np.isnan(edge_transfer(sample, edges)[0].f50)


def test_without_enough_edges_nothing_is_measured(monkeypatch):
    for content in (ct(np.full((64, 64, 3), 45.0)), ct(np.full((8, 8, 3), 45.0)), ct(np.full((1, 8, 3), 45.0))):
        edges = content_edges(content)
        assert len(edges.places) == 0
        assert all(np.isnan(each.f50) for each in edge_transfer(content, edges, content))
    monkeypatch.setattr(found_edges, "LEAST", 10**6)
    assert np.isnan(edge_transfer(steps(0.5), content_edges(steps(0.5)))[0].f50)


def test_a_few_patches_at_a_time_give_the_same(monkeypatch):
    content = steps(0.5)
    whole = edge_transfer(content, content_edges(content))[0]
    monkeypatch.setattr(found_edges, "TOGETHER", 3)
    torn = edge_transfer(content, content_edges(content))[0]
    np.testing.assert_allclose(torn.transfer, whole.transfer, atol=1e-9)
