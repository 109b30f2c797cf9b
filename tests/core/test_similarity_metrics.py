"""SSIM and PSNR against scikit-image, concordance by hand."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from nst_nd import scratch
from nst_nd.domains.metrics.similarity import ccc, psnr, ssim


def pair(shape=(40, 33, 5), seed=0):
    rng = np.random.default_rng(seed)
    content = np.cumsum(rng.normal(0.0, 90.0, shape), axis=0) - 300.0
    return content.astype(np.float32), (0.9 * content + rng.normal(0.0, 30.0, shape)).astype(np.float32)


@pytest.mark.parametrize("piece", [scratch.PIECE, 3000])
def test_they_are_those_of_scikit_image(piece, monkeypatch):
    monkeypatch.setattr(scratch, "PIECE", piece)
    x, y = pair()
    a, b = (np.clip(v.astype(np.float64), -1000, 400) for v in (x, y))
    assert (a != x).any()
    want = [
        structural_similarity(
            a[..., k], b[..., k], data_range=1400, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for k in range(x.shape[2])
    ]
    assert ssim(x, y) == pytest.approx(np.mean(want), rel=1e-9)
    assert psnr(x, y) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1400), rel=1e-9)
    other = ssim(x, y, (-160.0, 240.0)), psnr(x, y, (-160.0, 240.0))
    c, d = (np.clip(v, -160, 240) for v in (a, b))
    assert other[1] == pytest.approx(peak_signal_noise_ratio(c, d, data_range=400), rel=1e-9)
    assert other[0] != pytest.approx(ssim(x, y), abs=1e-3)


def test_equal_and_shifted():
    x, _ = pair()
    x = np.clip(x, -900.0, 300.0)
    assert ssim(x, x) == pytest.approx(1.0)
    assert psnr(x, x) == np.inf
    assert psnr(x, x + 14.0) == pytest.approx(40.0, abs=1e-4)
    # beyond the window nothing counts
    assert psnr(x, np.where(x == 300.0, 300.0, x)) == np.inf
    assert psnr(np.full((12, 12, 1), 500.0), np.full((12, 12, 1), 900.0)) == np.inf


def test_slices_smaller_than_a_window():
    x, y = pair((10, 40, 3))
    assert np.isnan(ssim(x, y))
    assert np.isfinite(psnr(x, y))
    assert np.isfinite(ssim(*pair((11, 11, 1))))


def test_concordance():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert ccc(x, x) == pytest.approx(1.0)
    assert ccc(x, -x + 5.0) == pytest.approx(-1.0)
    # variances 5/4, covariance 5/4: a shift of 1 costs 1 in the denominator, a scale of 2 is 2 (5/2) / (5/4 + 5 + 25/4)
    assert ccc(x, x + 1.0) == pytest.approx(2.5 / 3.5)
    assert ccc(x, 2.0 * x) == pytest.approx(0.4)
    rng = np.random.default_rng(0)
    a = rng.standard_normal(20000)
    b = 0.6 * a + 0.8 * rng.standard_normal(20000)
    assert ccc(a, b) == pytest.approx(0.6, abs=0.02)
    assert ccc(np.ones(3), np.arange(3.0)) == 0.0
    assert np.isnan([ccc(np.ones(3), np.ones(3)), ccc(np.zeros(0), np.zeros(0))]).all()
