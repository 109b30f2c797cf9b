"""What the cochlea hears of sounds whose envelopes are known in closed form."""

import math

import numpy as np
import pytest
import torch

from nst_nd import STATISTICS, Moments
from nst_nd.errors import ConfigError
from nst_nd.features.bands import EXPONENT, QUIET
from nst_nd.features.cochlea import OCTAVES_HZ, cochlea, modulation_kernels

RATES = (8000.0, 22050.0, 44100.0, 96000.0)
BANDS = 24
every_rate = pytest.mark.parametrize("rate", RATES)


def seconds(rate, duration):
    return torch.arange(round(rate * duration), dtype=torch.float64) / rate


def heard(x, rate, taps=("envelope",), bands=BANDS):
    extractor = cochlea(x.shape[1], rate, bands).to(torch.device("cpu"), torch.float64)
    return extractor, extractor(x, taps)


def inner(envelope):
    """Without the ends, where silence begins."""
    skip = envelope.shape[-1] // 5
    return envelope[..., skip:-skip]


@every_rate
def test_a_tone_gives_its_amplitude_in_its_band(rate):
    time = seconds(rate, 0.6)
    for hertz, amplitude in ((440.0, 50.0), (1234.0, 3.0), (0.4 * rate if rate < 40000 else 9000.0, 20.0)):
        x = (amplitude * torch.sin(2.0 * math.pi * hertz * time))[None, None]
        _, found = heard(x, rate)
        level = inner(found["envelope"])[0]
        best = level.mean(1).argmax()
        # at worst half a band off its centre
        assert 0.75 < (level[best].mean() / amplitude**EXPONENT) <= 1.005
        # a steady tone has a steady envelope, and far bands hear nothing
        assert level[best].std() < 1e-3 * level[best].mean()
        assert level[(best + BANDS // 2) % BANDS].mean() < 0.25 * amplitude**EXPONENT


@every_rate
def test_frames_come_at_about_400_hz_and_silence_is_quiet(rate):
    extractor, found = heard(torch.zeros(1, 1, round(rate), dtype=torch.float64), rate)
    assert 380 <= rate / extractor.stride_at("envelope")[0] <= 430
    torch.testing.assert_close(found["envelope"], torch.full_like(found["envelope"], QUIET ** (EXPONENT / 2)))


@pytest.mark.parametrize("hertz", [3.0, 12.0, 50.0])
def test_a_beating_tone_is_heard_in_its_octave(hertz):
    rate = 16000.0
    time = seconds(rate, 6.0)
    depth = 0.05  # so small that compression is linear
    x = 40.0 * (1.0 + depth * torch.cos(2.0 * math.pi * hertz * time)) * torch.sin(2.0 * math.pi * 1000.0 * time)
    _, found = heard(x[None, None], rate, ("envelope", "modulation"))
    level = inner(found["envelope"])[0]
    best = int(level.mean(1).argmax())
    octaves = inner(found["modulation"])[0].unflatten(0, (BANDS, len(OCTAVES_HZ)))[best]
    sd = octaves.std(1)
    expected = EXPONENT * depth * level[best].mean() / math.sqrt(2.0)
    assert OCTAVES_HZ[int(sd.argmax())] <= hertz < 2.0 * OCTAVES_HZ[int(sd.argmax())]
    assert 0.6 < sd.max() / expected < 1.1


def test_modulation_kernels_pass_their_octave_and_no_level():
    kernels = modulation_kernels(400.0).double()
    assert kernels.sum(1).abs().max() < 1e-6
    time = (torch.arange(kernels.shape[1], dtype=torch.float64) - kernels.shape[1] // 2) / 400.0
    for lowest, kernel in zip(OCTAVES_HZ, kernels, strict=True):
        response = [
            float(kernel @ torch.cos(2.0 * math.pi * f * time)) for f in (lowest / 3, lowest * 2**0.5, lowest * 6)
        ]
        assert response[1] == pytest.approx(1.0, abs=0.05)
        assert max(abs(response[0]), abs(response[2])) < 0.12


def test_channels_are_heard_one_by_one_and_together():
    rate, time = 16000.0, seconds(16000.0, 0.5)
    tone = 30.0 * torch.sin(2.0 * math.pi * 500.0 * time)
    _, found = heard(torch.stack([tone, -tone])[None], rate)
    left, right, mean = found["envelope"][0].unflatten(0, (3, BANDS))
    torch.testing.assert_close(left, right)
    # in opposite phase they cancel
    torch.testing.assert_close(mean, torch.full_like(mean, QUIET ** (EXPONENT / 2)), rtol=1e-3, atol=0.0)
    assert cochlea(1, rate, BANDS).stages[0].channels(1) == BANDS


def test_rhythm_holds_the_autocorrelation_of_loudness():
    rate, period = 8000.0, 0.48
    time = seconds(rate, 9.6)
    # a tone that beats: alike after a period, opposite after half of one
    x = 40.0 * (1.0 + 0.5 * torch.cos(2.0 * math.pi / period * time)) * torch.sin(2.0 * math.pi * 700.0 * time)
    extractor = cochlea(1, rate, 8).to(torch.device("cpu"), torch.float64)
    rhythm = extractor(x[None, None], ["rhythm"])["rhythm"]
    octaves, offsets = len(OCTAVES_HZ), extractor.stages[-1].layers[0].offsets
    inner_part = rhythm[:, :, 500:-500]
    correlation = STATISTICS["correlation"].read(Moments.of(inner_part))
    beat = 1  # 2.08 Hz lies from 2 to 4 Hz
    frame = extractor.stride_at("rhythm")[0] / rate
    for place, offset in enumerate(offsets):
        later = octaves * (2 + 2 * place) + beat
        wanted = math.cos(2.0 * math.pi * offset * frame / period)
        assert float(correlation[beat, later]) == pytest.approx(wanted, abs=0.05)


def test_log_moments_are_numpys():
    from scipy.stats import skew

    x = torch.randn(1, 3, 999, dtype=torch.float64).exp() + 2.0
    both = torch.cat([x, x.square()], dim=1)
    for pivot in (None, torch.linspace(-1.0, 30.0, 6, dtype=torch.float64)):
        got = STATISTICS["log_moments"].read(Moments.of(both, None, pivot)).numpy()
        f = x[0].numpy()
        wanted = [np.log(f.mean(1)), np.log(f.std(1)), skew(f, axis=1)]
        np.testing.assert_allclose(got, np.concatenate(wanted), rtol=1e-6)
    np.testing.assert_allclose(STATISTICS["log_std"].read(Moments.of(x)).numpy(), np.log(f.std(1)), rtol=1e-6)


def test_what_cannot_be_heard_is_refused():
    for rate, bands in ((1999.0, 24), (8000.0, 0)):
        with pytest.raises(ConfigError, match="allowed: at least 2000 Hz"):
            cochlea(1, rate, bands)
