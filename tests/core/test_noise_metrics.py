"""Noise of CT: signals whose spectrum, deviation and correlation are known in closed form."""

import numpy as np
import pytest
from core_samples import volume
from scipy.ndimage import gaussian_filter

from nst_nd.domains.metrics import noise
from nst_nd.sample import Grid

STEP = (0.7, 0.7, 3.0)
CENTRES = (noise.BANDS_PER_MM[1:] + noise.BANDS_PER_MM[:-1]) / 2
SHAPE = (160, 128, 8)


def ct(data, spacing=STEP):
    return volume().replace(data=np.asarray(data, np.float32)[None], grid=Grid(spacing, "mm"), units="HU")


def white(seed=0, sd=20.0, shape=SHAPE):
    return 45.0 + sd * np.random.default_rng(seed).standard_normal(shape)


def blurred(sigma, seed=0, sd=20.0):
    """Noise through a Gaussian of sigma voxels in the plane, and its spectrum's shape over f in 1 / mm."""
    field = gaussian_filter(white(seed, 1.0) - 45.0, (sigma, sigma, 0.0), mode="wrap")
    gain = sd / field.std()
    return 45.0 + gain * field, lambda f: (gain * np.exp(-2.0 * (np.pi * f * sigma * STEP[0]) ** 2)) ** 2 * 0.49


def test_white_noise_is_flat():
    sample = ct(white())
    found = noise.noise_at(sample, noise.quiet_squares(sample))
    seen = CENTRES + 0.02 <= 0.5 / 0.7
    assert np.isfinite(found.spectrum).tolist() == seen.tolist()
    np.testing.assert_allclose(found.spectrum[seen], 400.0 * 0.49, rtol=0.06)
    assert found.sd == pytest.approx(20.0, rel=0.02)  # of the squares, the quieter ones
    assert found.mean_frequency == pytest.approx(CENTRES[seen].mean(), rel=0.01)
    # half way from 1 at no lag to 0 at the neighbour, as far as 0.6 mm are of 0.7
    assert found.correlation == pytest.approx(1.0 - 0.6 / 0.7, abs=0.02)


@pytest.mark.parametrize("sigma", [0.8, 1.3])
def test_filtered_noise_has_the_filters_spectrum(sigma):
    data, law = blurred(sigma)
    found = noise.noise_at(ct(data), noise.quiet_squares(ct(data)))
    low = law(CENTRES) > 0.05 * law(0.0)  # below it, what leaks out of the window's edges outweighs what is left
    np.testing.assert_allclose(found.spectrum[low], law(CENTRES[low]), rtol=0.25)
    assert found.peak_frequency == pytest.approx(0.14)
    apart = np.exp(-1.0 / (4.0 * sigma**2))
    assert found.correlation == pytest.approx(1.0 + (apart - 1.0) * 0.6 / 0.7, abs=0.03)


def test_distances_are_those_of_the_level():
    data = white()
    a, b = (noise.noise_at(ct(d), noise.quiet_squares(ct(data))) for d in (data, 45.0 + 2.0 * (data - 45.0)))
    assert noise.spectrum_distance(a, a) == 0.0
    assert noise.spectrum_distance(b, a) == pytest.approx(20.0 * np.log10(2.0), rel=1e-5)
    assert noise.gram_distance(b, a) == pytest.approx(3.0, rel=1e-3)  # without biases, G is quadratic
    halves = [noise.noise_at(ct(white(seed)), noise.quiet_squares(ct(white(seed)))) for seed in (1, 2)]
    assert noise.spectrum_distance(*halves) < 0.3
    assert noise.gram_distance(*halves) < 0.03


def test_a_slope_and_a_bowl_are_not_noise():
    i, j = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE[:2]), indexing="ij")
    bowl = (30.0 * i * i - 20.0 * i * j + 10.0 * j)[..., None]
    data = white(sd=5.0)
    squares = noise.quiet_squares(ct(data))
    plain, bent = noise.noise_at(ct(data), squares), noise.noise_at(ct(data + bowl), squares)
    assert bent.sd == pytest.approx(plain.sd, rel=1e-4)
    np.testing.assert_allclose(bent.spectrum, plain.spectrum, rtol=1e-3)


def test_squares_keep_away_from_edges_bone_and_air():
    data = white(sd=10.0)
    data[:40], data[120:] = -1000.0, 900.0
    data[90:94, 60:64] += 60.0  # an edge within soft tissue: the squares over it are the loud ones
    corners = noise.quiet_squares(ct(data))
    assert len(corners)
    assert corners[:, 0].min() >= 40
    assert (corners[:, 0] + noise.EDGE).max() <= 120
    over = (corners[:, 1] <= 60) & (corners[:, 1] + noise.EDGE >= 64)
    over &= (corners[:, 0] <= 90) & (corners[:, 0] + noise.EDGE >= 94)
    assert not over.any()


@pytest.mark.parametrize("data", [np.full(SHAPE, -1000.0), np.full((20, 200, 4), 45.0)])
def test_without_soft_tissue_nothing_is_measured(data):
    found = noise.noise_at(ct(data), noise.quiet_squares(ct(data)))
    assert found.squares == 0
    assert np.isnan([found.sd, found.correlation, found.mean_frequency, found.peak_frequency]).all()
    assert np.isnan(noise.spectrum_distance(found, found))
    assert np.isnan(noise.gram_distance(found, found))


def test_a_constant_has_no_noise():
    sample = ct(np.full(SHAPE, 45.0))
    found = noise.noise_at(sample, noise.quiet_squares(sample))
    assert found.sd == 0.0
    assert np.nansum(found.spectrum) == 0.0
    assert noise.spectrum_distance(found, found) == 0.0
    loud = noise.noise_at(ct(white()), noise.quiet_squares(sample))
    assert noise.spectrum_distance(found, loud) == noise.spectrum_distance(loud, found) == np.inf


def test_pieces_give_what_the_whole_gives(monkeypatch):
    from nst_nd import scratch

    data = white()
    whole = noise.noise_at(ct(data), noise.quiet_squares(ct(data)))
    monkeypatch.setattr(scratch, "LARGE", 1)
    monkeypatch.setattr(scratch, "PIECE", 5000)
    torn = noise.noise_at(ct(data), noise.quiet_squares(ct(data)))
    assert torn.squares == whole.squares
    np.testing.assert_array_equal(torn.spectrum, whole.spectrum)
