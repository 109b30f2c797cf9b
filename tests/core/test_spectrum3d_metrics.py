"""Noise across slices: fields whose spectrum and correlation along the third axis are known in closed form."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from test_noise_metrics import ct, white

from nst_nd.domains.metrics import spectrum3d as deep
from nst_nd.domains.metrics.noise import BANDS_PER_MM, EDGE, residuals, soft_squares

SHAPE = (144, 128, 16)
# of the mean square, what the quadratic surface and the quiet share leave
LEFT = 1.0 - 6.0 / EDGE**2


def measured(data, dz=3.0, depth=8):
    sample = ct(data, (0.7, 0.7, dz))
    return deep.stack_noise_at(sample, deep.quiet_boxes(*soft_squares(sample), depth), depth)


def averaged(seed=0, sd=20.0):
    """Each slice the mean of two neighbouring white ones: correlation 1/2 at one slice, 0 beyond."""
    field = white(seed, 1.0, (*SHAPE[:2], SHAPE[2] + 1)) - 45.0
    return 45.0 + sd * (field[..., 1:] + field[..., :-1]) / np.sqrt(2.0)


def shown(bands):
    return bands[np.isfinite(bands)]


def test_white_noise_is_flat():
    found = measured(white(shape=SHAPE))
    # 0.5 / 3 mm holds three bands across slices, 0.5 / 0.7 mm fourteen in the plane
    assert np.isfinite(found.bands).sum() == 14 * 3
    np.testing.assert_allclose(shown(found.bands), 400.0 * 0.49 * 3.0, rtol=0.15)
    assert shown(found.bands).mean() == pytest.approx(400.0 * 0.49 * 3.0, rel=0.02)
    assert found.slice_correlation == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("depth", [2, 5, 8])
def test_the_density_is_the_squared_transform_and_its_integral_the_variance(depth):
    data = averaged()
    boxes = np.array([[0, 16, 3], [48, 64, 0], [16, 0, 1]])
    found = deep.stack_noise_at(ct(data), boxes, depth)
    noise = []
    for i, j, k in boxes:
        slices = np.moveaxis(ct(data).data[0, i : i + EDGE, j : j + EDGE, k : k + depth].astype(np.float64), 2, 0)
        noise.append(np.moveaxis(residuals(slices), 0, 2))
    voxel, frequencies = 0.49 * 3.0, np.fft.fftfreq(depth, 3.0)
    want = np.mean(np.abs(np.fft.fftn(noise, axes=(1, 2, 3))) ** 2, axis=0) * voxel / (EDGE**2 * depth)
    # of +w and -w together
    want = (want + want[:, :, -np.arange(depth)]) / 2.0
    np.testing.assert_allclose(found.density(frequencies), want, rtol=1e-8, atol=1e-8 * want.max())
    cell = 1.0 / (EDGE**2 * depth * voxel)
    assert found.density(frequencies).sum() * cell == pytest.approx(np.mean(np.square(noise)), rel=1e-9)


def test_a_known_kernel_across_slices():
    found = measured(averaged())
    assert found.slice_correlation == pytest.approx(0.5, abs=0.02)
    w = np.arange(0.0, 0.16, 0.02)
    # what a box of 8 slices sees of 1 + cos: the lag of one slice has 7 pairs of 8
    law = 400.0 * 0.49 * 3.0 * LEFT * (1.0 + 7.0 / 8.0 * np.cos(2.0 * np.pi * w * 3.0))
    # the quieter boxes have a little less
    np.testing.assert_allclose(found.density(w).mean(axis=(0, 1)), law, rtol=0.04)


@pytest.mark.parametrize(("dz", "want"), [(3.0, 0.5), (2.0, 0.25), (1.5, 0.0), (1.0, 0.0), (5.0, np.nan)])
def test_the_correlation_at_3_mm(dz, want):
    assert measured(averaged(), dz).lag_correlation == pytest.approx(want, abs=0.02, nan_ok=True)


def test_distances():
    a, b = measured(averaged()), measured(45.0 + 2.0 * (averaged() - 45.0))
    assert deep.stack_distance(a, a) == 0.0
    assert deep.stack_distance(b, a) == pytest.approx(20.0 * np.log10(2.0), rel=1e-5)
    assert deep.stack_distance(measured(averaged(1)), measured(averaged(2))) < 0.6
    # the same in every plane, another one across: only the third axis tells
    low, high = deep.ACROSS_PER_MM[:3] * 6 * np.pi, deep.ACROSS_PER_MM[1:4] * 6 * np.pi
    law = 10 * np.log10(1 + 7 / 8 * (np.sin(high) - np.sin(low)) / (high - low))
    found = deep.stack_distance(measured(averaged()), measured(white(3, shape=SHAPE)))
    assert found == pytest.approx(np.sqrt(np.mean(law**2)), rel=0.1)
    silent = measured(np.full(SHAPE, 45.0))
    assert deep.stack_distance(silent, a) == np.inf
    assert np.isnan(silent.slice_correlation)


def test_other_spacings_are_compared_in_mm():
    # white noise of one density: half the voxel, twice the variance
    fine, coarse = ct(white(1, 20 * np.sqrt(2), SHAPE), (0.7, 0.7, 1.5)), ct(white(2, 20, SHAPE), (0.7, 0.7, 3.0))
    depths = deep.common_depths(fine, coarse)
    assert depths == (8, 4)
    assert deep.common_depths(coarse, coarse) == (8, 8)
    found = [
        deep.stack_noise_at(s, deep.quiet_boxes(*soft_squares(s), d), d)
        for s, d in zip((fine, coarse), depths, strict=True)
    ]
    assert deep.stack_distance(*found) < 0.5


def test_boxes_lie_in_soft_tissue_in_all_their_slices():
    data = white(shape=SHAPE)
    data[40:60, 40:60, 9] = 900.0
    corners = deep.quiet_boxes(*soft_squares(ct(data)), 4)
    assert len(corners)
    assert (corners[:, 2] % 2 == 0).all()
    assert corners[:, 2].max() == 12
    hit = (np.abs(corners[:, :2] - 34) < 24).all(axis=1) & (corners[:, 2] <= 9) & (corners[:, 2] + 4 > 9)
    assert not hit.any()
    untouched = deep.quiet_boxes(*soft_squares(ct(white(shape=SHAPE))), 4)
    assert ((np.abs(untouched[:, :2] - 34) < 24).all(axis=1) & (untouched[:, 2] == 8)).any()


@pytest.mark.parametrize("data", [white(shape=(64, 64, 1)), np.full((64, 64, 8), -1000.0), np.full((20, 20, 8), 45.0)])
def test_too_few_slices_or_no_tissue(data):
    found = measured(data, depth=min(8, data.shape[2]))
    assert found.boxes == 0
    assert np.isnan([found.slice_correlation, found.lag_correlation, deep.stack_distance(found, found)]).all()


def test_slices_too_thick_for_any_band():
    found = measured(white(shape=SHAPE), dz=12.0)
    assert np.isnan(deep.stack_distance(found, found))
    assert np.isfinite(found.slice_correlation)


def test_a_few_boxes_at_a_time_give_the_same(monkeypatch):
    whole = measured(averaged())
    monkeypatch.setattr(deep, "AT_ONCE", 9)
    np.testing.assert_allclose(measured(averaged()).lags, whole.lags, rtol=1e-9, atol=1e-9)


def test_the_law_of_a_kernel_in_the_plane_and_across():
    """A Gaussian in the plane, two slices across: the spectrum is the product of both."""
    sigma = 0.8
    field = gaussian_filter(averaged(4, 1.0) - 45.0, (sigma, sigma, 0.0), mode="wrap")
    gain = 20.0 / field.std()
    found = measured(45.0 + gain * field).bands
    f = (BANDS_PER_MM[1:] + BANDS_PER_MM[:-1])[:, None] / 2.0
    w = (deep.ACROSS_PER_MM[1:4] + deep.ACROSS_PER_MM[:3]) / 2.0
    plane = gain**2 * np.exp(-4.0 * (np.pi * f * sigma * 0.7) ** 2) * 0.49
    law = plane * 3.0 * (1.0 + 7.0 / 8.0 * np.cos(2.0 * np.pi * 3.0 * w))
    low = np.broadcast_to(f < 0.4, law.shape)  # beyond, leakage of the box's edges
    np.testing.assert_allclose(found[:, :3][low], law[low], rtol=0.25)
    np.testing.assert_allclose(np.mean(found[:, :3][low] / law[low]), 1.0, atol=0.06)
