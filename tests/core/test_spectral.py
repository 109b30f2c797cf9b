"""The spectral method: noise of known spectra, and what must come of it."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, gaussian_filter

import nst_nd
from nst_nd.domains import filters, tissue_regions
from nst_nd.domains import spectral as spectral_module
from nst_nd.domains.filters import filtered
from nst_nd.domains.metrics.noise import EDGE, noise_at, quiet_squares, spectrum_distance
from nst_nd.domains.spectral import ROUNDS, Place, kernel_of, white_noise
from nst_nd.domains.spectrum import FINE, Spectrum, spectrum3, spectrum_at
from nst_nd.domains.stylize import transfer
from nst_nd.domains.tissues import BORDERS_HU, tissue_detail
from nst_nd.errors import ConfigError, InputError
from nst_nd.sample import Grid, Sample


def ct(data, spacing=(0.8, 0.8, 3.0)):
    grid = Grid(spacing, "mm", None, np.diag([*spacing, 1.0]))
    return Sample(np.asarray(data, np.float32)[None], "volume", "HU", grid)


def noise(shape, seed, sd, smooth=(0.0, 0.0, 0.0)):
    """Gaussian noise of this sd after a Gaussian filter, sigma in samples."""
    drawn = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), smooth, mode="wrap")
    return sd * drawn / drawn.std()


def spectral(content, style, **settings):
    return nst_nd.stylize(content, style, preset="ct", method="spectral", **settings).sample


def compared(content, style, result):
    """Noise of style and result: on the content's squares, as judges measure it."""
    squares = quiet_squares(content)
    return noise_at(style, quiet_squares(style)), noise_at(result, squares)


SHAPE = (128, 112, 8)


@pytest.mark.parametrize(
    ("own", "goal"),
    [
        ((8.0, (1.2, 1.2, 0.0)), (25.0, (0.4, 0.4, 0.0))),
        ((25.0, (0.4, 0.4, 0.0)), (8.0, (1.0, 1.0, 0.0))),
        ((20.0, (0.7, 0.7, 0.0)), (20.0, (0.3, 1.0, 1.0))),
    ],
    ids=["sharper", "smoother", "across"],
)
def test_noise_gets_the_styles_spectrum(own, goal):
    content, style = ct(50 + noise(SHAPE, 0, *own)), ct(50 + noise(SHAPE, 1, *goal))
    result = spectral(content, style)
    wanted, found = compared(content, style, result)
    before = noise_at(content, quiet_squares(content))
    assert spectrum_distance(found, wanted) < min(0.8, 0.15 * spectrum_distance(before, wanted))
    assert found.sd == pytest.approx(wanted.sd, rel=0.06)
    assert found.correlation == pytest.approx(wanted.correlation, abs=0.03)
    assert abs(float(np.mean(result.data - content.data))) < 0.02


def test_correlation_from_slice_to_slice_is_part_of_the_spectrum():
    content = ct(50 + noise(SHAPE, 0, 10.0, (0.8, 0.8, 0.0)), (0.8, 0.8, 1.0))
    style = ct(50 + noise(SHAPE, 1, 20.0, (0.5, 0.5, 1.0)), (0.8, 0.8, 1.0))
    result = spectral(content, style)

    def across(sample):
        d = sample.data[0] - gaussian_filter(sample.data[0], (4, 4, 0))
        return float(np.mean(d[..., 1:] * d[..., :-1]) / np.mean(d**2))

    assert across(content) < 0.1 < 0.6 < across(style)
    assert across(result) == pytest.approx(across(style), abs=0.1)


def test_spectra_are_compared_in_mm():
    # the same noise in mm: sigma 0.8 mm on pixels of 0.5 and of 0.8 mm
    style = ct(50 + noise((192, 160, 8), 1, 20.0, (1.6, 1.6, 0.0)), (0.5, 0.5, 3.0))
    content = ct(50 + noise(SHAPE, 0, 8.0, (0.4, 0.4, 0.0)))
    result = spectral(content, style)
    wanted, found = compared(content, style, result)
    assert spectrum_distance(found, wanted) < 1.0
    # correlation at 0.6 mm is interpolated between pixels: compare with that noise on the content's; what it has below
    # 0.08 per mm is not made
    same = ct(50 + noise(SHAPE, 2, 20.0, (1.0, 1.0, 0.0)))
    assert found.correlation == pytest.approx(noise_at(same, quiet_squares(same)).correlation, abs=0.06)


def test_several_styles_share_the_power():
    content = ct(50 + noise(SHAPE, 0, 5.0, (0.6, 0.6, 0.0)))
    styles = [ct(50 + noise(SHAPE, i, sd, (0.6, 0.6, 0.0))) for i, sd in ((1, 10.0), (2, 30.0))]
    result = spectral(content, [nst_nd.Style(styles[0], 3.0), nst_nd.Style(styles[1], 1.0)])
    wanted = np.sqrt(0.75 * 100.0 + 0.25 * 900.0)
    assert noise_at(result, quiet_squares(content)).sd == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize("radius", [3.0, 6.0])
@pytest.mark.parametrize(
    ("own", "goal"),
    [((8.0, (0.8, 0.8, 0.0)), (40.0, (0.5, 0.5, 0.3))), ((25.0, (0.4, 0.4, 0.0)), (8.0, (1.0, 1.0, 0.0)))],
)
def test_a_faint_ball_keeps_its_contrast_as_said_and_never_wins_much(own, goal, radius):
    shape, spacing = (112, 104, 20), (0.8, 0.8, 0.8)
    content, style = ct(50 + noise(shape, 0, *own), spacing), ct(50 + noise(shape, 1, *goal), spacing)
    ball = sum(((axis - n // 2) * 0.8) ** 2 for axis, n in zip(np.indices(shape), shape, strict=True)) <= radius**2
    plain = nst_nd.stylize(content, style, preset="ct", method="spectral")
    filled = spectral(ct(content.data[0] + 10.0 * ball, spacing), style)
    after = (filled.data - plain.sample.data)[0][ball].mean() / 10.0
    assert after < 1.12
    method = spectral_module.SpectralMethod(
        content, [(style, 1.0, quiet_squares(style))], quiet_squares(content), np.ones(shape, bool), 3.0
    )
    assert method.kept(radius) == pytest.approx(after, abs=0.05)
    assert any(f"{method.kept(3.0):.0%} at 3 mm" in note for note in plain.notes)


def anatomy(seed, sd):
    data = np.full(SHAPE, 50.0)
    data[96:104], data[104:112], data[112:118], data[118:] = -100.0, -850.0, 900.0, -1050.0
    return ct(data + noise(SHAPE, seed, sd, (0.6, 0.6, 0.0)))


def test_what_is_protected_is_the_same_and_no_tissue_moves():
    content = anatomy(0, 8.0)
    result = spectral(content, anatomy(1, 25.0))
    kept = (content.data < -990) | (content.data > 400)
    assert kept.any()
    assert np.array_equal(content.data[kept], result.data[kept])
    for i in (slice(0, 94), slice(98, 102), slice(106, 110)):
        change = result.data[0, i] - content.data[0, i]
        assert change.std() > 5.0
        assert abs(float(change.mean())) < 0.6


@pytest.mark.parametrize("between", [3.0, 0.8])
def test_a_sample_of_the_slices_of_a_large_volume_says_what_to_aim_at(between, monkeypatch):
    shape, apart = (112, 96, 40), (0.8, 0.8, between)
    content, style = (ct(50 + noise(shape, i, sd, (1.0 - i / 2, 1.0, 0.7)), apart) for i, sd in ((0, 8.0), (1, 25.0)))
    monkeypatch.setattr(spectral_module, "MEASURED", 112 * 96 * 12)
    sizes = []
    rounds = Place.made
    monkeypatch.setattr(Place, "made", lambda self, *rest: sizes.append(self.data.shape) or rounds(self, *rest))
    wanted, found = compared(content, style, spectral(content, style))
    assert sizes == [(112, 96, 12)] * ROUNDS + [shape]
    assert spectrum_distance(found, wanted) < 0.8
    assert found.sd == pytest.approx(wanted.sd, rel=0.06)


def test_memory_is_planned_before_anything_is_measured(monkeypatch):
    content, style = anatomy(0, 8.0), anatomy(1, 25.0)

    def never(*_):
        raise AssertionError("measured before it was known whether there is room")

    monkeypatch.setattr(tissue_regions, "quiet_squares", never)
    for method in ("spectral", "both"):
        said = []
        with pytest.raises(ConfigError, match="are too little for 128x112x8"):
            transfer(content, style, settings={"preset": "ct", "method": method, "max_memory": "1M"})
        with pytest.raises(AssertionError):
            transfer(content, style, settings={"preset": "ct", "method": method}, on_plan=said.append)
        assert said[0].startswith("memory plan for 128x112x8")


def test_a_mask_keeps_what_is_outside():
    content, style = ct(50 + noise(SHAPE, 0, 8.0)), ct(50 + noise(SHAPE, 1, 25.0))
    inside = np.zeros(SHAPE)
    inside[:64] = 1.0
    result = spectral(content, style, mask=ct(inside))
    assert np.array_equal(result.data[:, 64:], content.data[:, 64:])
    assert not np.array_equal(result.data[:, :64], content.data[:, :64])


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_noise():
    content, style = ct(50 + noise(SHAPE, 0, 8.0)), ct(50 + noise(SHAPE, 1, 25.0))
    first, again, other = (spectral(content, style, seed=seed).data for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).std() > 5.0


def test_features_go_on_from_there_and_the_spectrum_stays():
    content, style = anatomy(0, 8.0), anatomy(1, 25.0)
    result = nst_nd.stylize(content, style, preset="ct", iterations=3)
    wanted, found = compared(content, style, result.sample)
    assert len(result.history) == 3
    assert spectrum_distance(found, wanted) < 1.0
    assert not np.array_equal(result.sample.data, spectral(content, style).data)


def test_no_steps_leave_every_bit():
    content = anatomy(0, 8.0)
    result = nst_nd.stylize(content, anatomy(1, 25.0), preset="ct", iterations=0)
    assert result.sample.data.tobytes() == content.data.tobytes()


def test_too_little_tissue_is_said_or_refused():
    content, style = ct(50 + noise((40, 40, 4), 0, 8.0)), ct(50 + noise((24, 40, 4), 1, 8.0))
    with pytest.raises(InputError, match="0 in the style's; 4 are needed"):
        spectral(content, style)
    small = ct(50 + noise((24, 24, 4), 1, 20.0))
    result = nst_nd.stylize(content, small, preset="ct", iterations=1)
    assert any("features alone" in note for note in result.notes)


def test_other_presets_have_no_spectral_method():
    with pytest.raises(ConfigError, match="method is 'spectral'; allowed: features"):
        nst_nd.stylize(ct(noise((32, 32, 4), 0, 9.0)), ct(noise((32, 32, 4), 1, 9.0)), method="spectral")


def test_a_filter_is_a_convolution_piece_by_piece(monkeypatch):
    data = np.random.default_rng(0).standard_normal((37, 21, 5))
    kernel = np.random.default_rng(1).standard_normal((7, 5, 3)).astype(np.float32)
    wanted = convolve(data, kernel, mode="reflect")
    assert np.abs(filtered(data, kernel) - wanted).max() < 1e-4
    monkeypatch.setattr(filters, "CONVOLVED", 512)
    assert np.abs(filtered(data, kernel) - wanted).max() < 1e-4


def test_the_kernel_of_1_is_one_voxel():
    kernel = kernel_of(np.ones((FINE, FINE, 3)))
    assert kernel.shape == (FINE - 1, FINE - 1, 3)
    middle = tuple(n // 2 for n in kernel.shape)
    assert kernel[middle] == pytest.approx(1.0, abs=2e-3)
    kernel[middle] = 0.0
    assert np.abs(kernel).max() < 1e-6


def test_white_noise_has_a_flat_spectrum_whose_mean_is_the_variance():
    data = white_noise((128, 96, 12), 0)
    corners = np.array([(i, j, k) for i in (0, 32, 64, 96) for j in (0, 32, 64) for k in range(12)])
    found = spectrum_at(data, corners, (0.5, 0.5, 2.0))
    # a quadratic surface takes 6 of 1024 degrees of freedom
    assert found.power[0].mean() / 0.25 == pytest.approx(1.0, rel=0.03)
    assert spectrum3(found.power).mean() / 0.25 == pytest.approx(1.0, rel=0.06)
    assert np.abs(found.power[1]).mean() < 0.15 * found.power[0].mean()


def test_a_spectrum_is_its_own_at_its_own_grid_and_0_beyond():
    drawn = np.random.default_rng(0).random((3, EDGE, EDGE))
    fine, coarse = Spectrum(drawn, (0.5, 0.5, 1.0)), Spectrum(drawn, (1.0, 1.0, 1.0))
    assert np.allclose(fine.like(fine), drawn)
    seen = coarse.like(fine)[0]
    f = np.abs(np.fft.fftfreq(EDGE, 0.5))
    assert not seen[f > 0.5].any()
    assert seen[np.ix_(f < 0.49, f < 0.49)].all()


def test_steps_between_tissues_are_no_detail():
    levels = np.full((64, 48, 4), 50.0)
    levels[32:] = -100.0
    assert any(-100.0 < border < 50.0 for border in BORDERS_HU)
    found = tissue_detail(ct(levels), np.ones(levels.shape, np.bool_), 3.0)
    assert np.abs(found).max() < 8.0  # the step has 150
    assert torch.from_numpy(found).isfinite().all()


def test_nothing_slow_in_the_plane_moves_where_slices_are_thin():
    shape, apart = (128, 112, 16), (0.8, 0.8, 0.8)
    content, style = (ct(50 + noise(shape, i, sd, (0.9 - 0.4 * i,) * 3), apart) for i, sd in ((0, 20.0), (1, 20.0)))
    result = nst_nd.stylize(content, style, preset="ct", iterations=6).sample
    change = result.data[0] - content.data[0]
    assert change.std() > 10.0
    # with its mirrored borders: tissue that the image's border cuts must not move either
    assert np.percentile(np.abs(gaussian_filter(change, (5 / 0.8, 5 / 0.8, 0.5))), 99) < 0.3
