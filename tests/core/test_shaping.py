"""Filters of signals: their response, their transpose, blocks, slabs, and what they are inverses of."""

import numpy as np
import pytest
import torch
from core_team import together
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import freqz

from nst_nd.domains.equaliser import BINS, LARGEST_GAIN_DB, colour, equaliser, mean_spectrum, steps
from nst_nd.engine.lowpass import SlabShaping
from nst_nd.engine.team import Split
from nst_nd.errors import InputError
from nst_nd.features.iterate import Iterate
from nst_nd.features.shaping import Shaping

RATE = 16000.0


def smooth_response(bins=200, seed=0):
    draw = np.random.default_rng(seed)
    return torch.from_numpy(np.exp(np.convolve(draw.standard_normal(bins + 40), np.hanning(41) / 6, "valid")[:bins]))


def wave(length, nc=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, nc, length, generator=generator, dtype=torch.float64)


def test_the_kernel_has_the_response():
    response = smooth_response()
    shaping = Shaping.of(response)
    f, found = freqz(shaping.kernel.numpy(), worN=np.linspace(0, np.pi, 200))
    found = (found * np.exp(1j * f * shaping.reach)).real
    np.testing.assert_allclose(found, response.numpy(), rtol=0.03)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3000), st.integers(2, 400), st.integers(1, 2))
def test_blocks_are_one_convolution_and_its_own_transpose(length, bins, nc):
    shaping = Shaping.of(smooth_response(bins, seed=bins), longest=101)
    x, y = wave(length, nc, 1), wave(length, nc, 2)
    kernel = shaping.kernel.double().numpy()
    wanted = [np.convolve(row, kernel)[shaping.reach : shaping.reach + length] for row in x[0].numpy()]
    np.testing.assert_allclose(shaping(x)[0].numpy(), wanted, atol=1e-12)
    torch.testing.assert_close((shaping(x) * y).sum(), (x * shaping(y)).sum(), rtol=1e-10, atol=1e-12)


def test_a_coarser_signal_gets_the_lower_frequencies():
    response = smooth_response()
    half = Shaping.of(response).at(0.5)
    torch.testing.assert_close(half.response, response[:100])
    whole = Shaping.of(response)
    assert whole.at(1.0) is whole


@pytest.mark.parametrize("response", [[1.0], [1.0, float("nan")], [1.0, -0.1], [float("inf"), 1.0]])
def test_what_is_no_response_is_refused(response):
    with pytest.raises(InputError, match="two or more values"):
        Shaping.of(torch.tensor(response))


@pytest.mark.parametrize("free", [False, True])
def test_the_iterates_gradient_goes_back_through_it(free):
    shaping = Shaping.of(smooth_response())
    mask = (wave(500, 1, 5) > 0).double() if free else None
    iterate = Iterate(wave(500), None, mask, shaping=shaping)
    z, y = wave(500, seed=3), wave(500, seed=4)
    torch.testing.assert_close((iterate.change(z) * y).sum(), (z * iterate.vjp(y)).sum(), rtol=1e-10, atol=1e-12)
    assert torch.equal(iterate.signal(torch.zeros_like(z)), iterate.base)


@pytest.mark.parametrize("count", [2, 3])
def test_slabs_are_the_whole(count):
    shaping = Shaping.of(smooth_response(60))
    x = wave(997)
    split = Split.along_longest((997,), count, [1], [0])

    def filtered(team):
        own = x[..., split.spans[team.rank].start : split.spans[team.rank].stop]
        return SlabShaping(shaping, team, split, (997,))(own.clone())

    whole = torch.cat(together(count, filtered), dim=-1)
    torch.testing.assert_close(whole, shaping(x), rtol=1e-10, atol=1e-12)


def test_mean_spectrum_and_equaliser():
    draw = np.random.default_rng(0)
    white = draw.standard_normal((2, 160000))
    spectrum = mean_spectrum(white)
    assert spectrum.shape == (BINS,)
    np.testing.assert_allclose(spectrum[20:-20] / spectrum[20:-20].mean(), 1.0, atol=0.15)
    coloured = colour(spectrum * np.linspace(1.0, 0.2, BINS))(torch.from_numpy(white)[None])
    assert float(coloured.std()) == pytest.approx(1.0, rel=0.02)
    back = equaliser(mean_spectrum(coloured[0].numpy()), spectrum, 1.0)(coloured)[0].numpy()
    level = 10 * np.log10(mean_spectrum(back)[20:-60] / spectrum[20:-60])
    assert np.abs(level).max() < 1.0


def test_an_equaliser_knows_its_limits():
    quiet, loud = np.full(BINS, 1e-12), np.ones(BINS)
    response = equaliser(quiet, loud, 0.5).response.numpy()
    assert response[: BINS // 2].max() == pytest.approx(10 ** (LARGEST_GAIN_DB / 20))
    assert (response[BINS // 2 + 2 :] == 1.0).all()
    weighed = steps([quiet, loud], RATE, 0.5).response.numpy()
    assert (weighed[BINS // 2 + 2 :] == 0.0).all()
    assert np.mean(weighed**2) == pytest.approx(1.0)
    assert (np.diff(weighed[: BINS // 2]) > 0).all()
