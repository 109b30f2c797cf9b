"""Resolution from noise: kernels whose transfer is known, and edges that have to follow."""

import numpy as np
import pytest
from scipy.ndimage import fourier_gaussian, gaussian_filter

import nst_nd
from nst_nd.domains.ct import RESOLUTION_LIMITS
from nst_nd.domains.metrics.edge_response import edge_response
from nst_nd.domains.resolution import transfer_ratio
from nst_nd.domains.resolve import resolve
from nst_nd.domains.spectrum import FINE, spectrum_at
from nst_nd.domains.tissues import BORDERS_HU
from nst_nd.errors import ConfigError, InputError
from nst_nd.sample import Grid, Sample

SHAPE, MM = (160, 160, 12), 0.7
CENTRE, RADIUS = (80.0, 80.0), 24.0


def ct(data):
    spacing = (MM, MM, 5.0)
    return Sample(
        np.asarray(data, np.float32)[None], "volume", "HU", Grid(spacing, "mm", None, np.diag([*spacing, 1.0]))
    )


def blurred(data, sigma):
    """A kernel with MTF exp(-2 (pi sigma f)^2), sigma in samples, on a period."""
    return np.fft.ifft2(fourier_gaussian(np.fft.fft2(data, axes=(0, 1)), (sigma, sigma, 0.0)), axes=(0, 1)).real


def raw(seed):
    """Raw noise with a power that rises with frequency, as backprojection has it."""
    white = np.random.default_rng(seed).standard_normal(SHAPE)
    f = np.hypot(np.fft.fftfreq(SHAPE[0])[:, None], np.fft.fftfreq(SHAPE[1])[None])[..., None]
    return np.fft.ifft2(np.fft.fft2(white, axes=(0, 1)) * np.sqrt(f), axes=(0, 1)).real


def scan(sigma, dose, seed, contrast=-150.0):
    """A disc in soft tissue through a kernel, with the noise of that kernel."""
    i, j = np.indices(SHAPE[:2])
    fine = np.hypot(i - CENTRE[0], j - CENTRE[1])[..., None] * np.ones(SHAPE[2])
    disc = np.clip(RADIUS - fine + 0.5, 0.0, 1.0)
    return 50.0 + blurred(contrast * disc + dose * raw(seed), sigma)


def squares(shape):
    return np.array(
        [(i, j, k) for i in range(0, shape[0] - 31, 32) for j in range(0, shape[1] - 31, 32) for k in range(shape[2])]
    )


@pytest.mark.parametrize(("ours", "theirs"), [(0.4, 0.8), (0.8, 0.4), (0.7, 0.7)])
@pytest.mark.parametrize("doses", [1.0, 3.0])
def test_the_ratio_of_transfers_is_that_of_the_kernels_whatever_the_dose(ours, theirs, doses):
    at = squares(SHAPE)
    own = spectrum_at(blurred(20.0 * raw(0), ours), at, (MM, MM, 5.0))
    goal = spectrum_at(blurred(20.0 * doses * raw(1), theirs), at, (MM, MM, 5.0))
    found = transfer_ratio(own, goal.power[0])[..., 0]
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(FINE), np.fft.fftfreq(FINE), indexing="ij"))
    wanted = np.exp(-2.0 * (np.pi * f) ** 2 * (theirs**2 - ours**2))
    seen = f < 0.35
    assert found[0, 0] == 1.0
    assert np.abs(found / wanted - 1.0)[seen].max() < 0.15
    assert np.abs(found / wanted - 1.0)[seen].mean() < 0.06


def test_too_little_in_common_is_no_other_resolution():
    at = squares(SHAPE)
    own = spectrum_at(blurred(raw(0), 0.5), at, (MM, MM, 5.0))
    assert np.array_equal(transfer_ratio(own, np.zeros_like(own.power[0])), np.ones((FINE, FINE, 1)))


def test_noise_of_another_origin_is_refused():
    at = squares(SHAPE)
    own = spectrum_at(blurred(20.0 * raw(0), 0.5), at, (MM, MM, 5.0))
    # white noise less its low-pass, as somebody might have added it, and wider smoothing
    white = np.random.default_rng(1).standard_normal(SHAPE)
    wide = gaussian_filter(white, (1.2, 1.2, 0.0), mode="wrap")
    goal = spectrum_at(60.0 * wide, at, (MM, MM, 5.0))
    with pytest.raises(InputError, match="resolution cannot be told"):
        transfer_ratio(own, goal.power[0])


@pytest.mark.parametrize(("ours", "theirs"), [(0.5, 1.0), (1.0, 0.5)], ids=["smoother", "sharper"])
def test_edges_get_the_styles_resolution_and_nothing_moves(ours, theirs):
    content, truth = scan(ours, 60.0, 0), scan(theirs, 60.0, 0)
    style = 50.0 + blurred(60.0 * raw(1), theirs)
    plain, found = (
        nst_nd.stylize(ct(content), ct(style), preset="ct", method="spectral", resolution=on).sample
        for on in (False, True)
    )

    def f50(data):
        return edge_response(ct(data), CENTRE, RADIUS * MM, half_mm=8.0).f50

    def error(data):
        return np.sqrt(np.mean((data - truth) ** 2))

    before, wanted, kept, after = (f50(x) for x in (content, truth, plain.data[0], found.data[0]))
    assert abs(before / wanted - 1.0) > 0.4
    assert abs(kept / before - 1.0) < 0.15
    assert abs(after / wanted - 1.0) < 0.15
    assert error(found.data[0]) < 0.7 * error(plain.data[0])
    inside = np.hypot(*(np.indices(SHAPE[:2]) - np.array(CENTRE)[:, None, None])) < RADIUS - 6
    assert abs(float((found.data[0] - content)[inside].mean())) < 1.0


@pytest.mark.parametrize(("ours", "theirs"), [(0.5, 1.0), (1.0, 0.5)], ids=["smoother", "sharper"])
def test_features_go_on_and_noise_stays_the_styles(ours, theirs):
    content, style = scan(ours, 60.0, 0), 50.0 + blurred(60.0 * raw(1), theirs)
    result = nst_nd.stylize(ct(content), ct(style), preset="ct", resolution=True, iterations=2)
    assert len(result.history) == 2
    inside = np.hypot(*(np.indices(SHAPE[:2]) - np.array(CENTRE)[:, None, None])) < RADIUS - 6
    assert float(result.sample.data[0][inside].std()) == pytest.approx(float(style.std()), rel=0.08)


def test_bone_and_air_stay_bit_for_bit():
    content = scan(0.5, 60.0, 0)
    content[:20], content[140:] = -1020.0, 800.0
    assert content[30].max() < BORDERS_HU[-1] + 250.0
    style = 50.0 + blurred(60.0 * raw(1), 1.0)
    found = nst_nd.stylize(ct(content), ct(style), preset="ct", method="spectral", resolution=True)
    kept = (content < -990) | (content > 400)
    assert np.array_equal(found.sample.data[0][kept], ct(content).data[0][kept])
    beside = found.sample.data[0, 138] - ct(content).data[0, 138]
    assert abs(float(beside.mean())) > 5.0  # what a blurred bone does to its neighbour
    assert any(note.startswith("resolution: ") for note in found.notes)


def test_limits_are_those_of_uniform_tissue():
    with_it = resolve({"preset": "ct", "resolution": True, "limits": {"false_edges": 3.0}}, "volume").limits
    without = resolve({"preset": "ct"}, "volume").limits
    assert without["hu_bias_fat"] == 1.0
    assert "uniform_bias_fat" not in without
    assert with_it["hu_bias_fat"] is None
    assert with_it["uniform_bias_fat"] == 1.0
    assert with_it["false_edges"] == 3.0
    assert set(RESOLUTION_LIMITS) <= set(with_it)


@pytest.mark.parametrize("settings", [{"preset": "ct", "method": "features"}, {"preset": "volume"}])
def test_it_needs_the_spectral_method(settings):
    with pytest.raises(ConfigError, match="resolution: is part of the spectral method"):
        resolve({**settings, "resolution": True}, "volume")


def test_where_there_is_no_noise_to_measure_it_is_refused():
    empty = ct(gaussian_filter(np.random.default_rng(0).standard_normal((24, 24, 4)), 1.0) + 50.0)
    with pytest.raises(InputError, match="resolution"):
        nst_nd.stylize(empty, empty.replace(data=empty.data + 1.0), preset="ct", iterations=1, resolution=True)
