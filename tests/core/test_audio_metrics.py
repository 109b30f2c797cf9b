"""Metrics of audio on sounds with known answers."""

import numpy as np
import pytest
from core_samples import audio
from scipy.signal import lfilter

from nst_nd.domains.metrics import measure
from nst_nd.domains.metrics.copying import largest_correlation
from nst_nd.domains.metrics.envelopes import BANDS, EXPONENT, band_envelopes, envelope_distance, envelope_statistics
from nst_nd.domains.metrics.signals import audio_metrics, clipped, log_spectral_distance
from nst_nd.sample import Grid, Sample

LIMITS = (50.0, 7000.0)


def sound(data, rate=16000.0):
    data = np.atleast_2d(np.asarray(data, np.float32))
    return Sample(data, "audio", "full scale", Grid((1.0 / rate,), "s", rate))


def noise(seconds=6.0, rate=16000.0, seed=0, nc=1):
    return np.random.default_rng(seed).standard_normal((nc, round(seconds * rate))) * 0.1


def time(seconds, rate=16000.0):
    return np.arange(round(seconds * rate)) / rate


@pytest.mark.parametrize("rate", [16000.0, 44100.0])
def test_band_envelopes_of_a_tone(rate):
    t = time(3.0, rate)
    envelopes = band_envelopes(sound(0.3 * np.sin(2 * np.pi * 700.0 * t), rate))
    assert envelopes.shape == (BANDS, 1200)
    # neighbours share a tone: cosine and sine of its place between them
    amplitudes = envelopes[:, 100:-100].mean(axis=1) ** (1 / EXPONENT)
    assert np.sqrt(np.sum(np.sort(amplitudes)[-2:] ** 2)) == pytest.approx(0.3, rel=0.02)
    assert np.sort(amplitudes)[-3] < 0.01


def test_bands_above_half_the_rate_have_no_statistics():
    found = envelope_statistics(sound(noise(rate=4000.0), 4000.0))
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[-1]).all()


def test_envelope_statistics_hear_level_and_modulation():
    t = time(8.0)
    white = noise(8.0)
    louder = envelope_statistics(sound(2.0 * white)) - envelope_statistics(sound(white))
    np.testing.assert_allclose(louder[:, :2], EXPONENT * np.log(2.0), atol=1e-3)
    np.testing.assert_allclose(louder[:, 2], 0.0, atol=1e-3)
    np.testing.assert_allclose(louder[:, 3:], 2 * EXPONENT * np.log(2.0), atol=1e-2)
    # a tone whose loudness beats at 6 Hz: the octave from 4 to 8 Hz holds its power
    beating = (1.0 + 0.1 * np.cos(2 * np.pi * 6.0 * t)) * np.sin(2 * np.pi * 1000.0 * t) * 0.3
    found = envelope_statistics(sound(beating))
    band = np.nanargmax(found[:, 0])
    assert np.nanargmax(found[band, 3:]) == 2
    mean = np.exp(found[band, 0])
    assert np.exp(found[band, 5]) == pytest.approx((EXPONENT * 0.1 * mean) ** 2 / 2, rel=0.1)


def test_envelope_distance():
    white, other = sound(noise(10.0, seed=1)), sound(noise(10.0, seed=2))
    pink = sound(lfilter([1.0], [1.0, -0.97], noise(10.0, seed=3)))
    assert envelope_distance(white, white) == 0.0
    # two realisations of one texture are near each other, two textures are not
    assert envelope_distance(white, other) < 0.3 < 0.5 < envelope_distance(white, pink)
    assert np.isnan(envelope_distance(sound(noise(10.0) * 0.0), white))
    assert np.isnan(envelope_distance(sound(np.zeros(1)), white))


def test_a_copy_is_found_and_a_new_sound_is_not():
    style = noise(9.0, seed=4)
    result = noise(7.0, seed=5)
    assert largest_correlation(sound(result), sound(style)) < 0.1
    result[:, 16000:96000] = -0.3 * style[:, 50000:130000]
    assert largest_correlation(sound(result), sound(style)) == pytest.approx(1.0, abs=1e-4)
    mixed = noise(7.0, seed=5) + style[:, : 7 * 16000]
    assert largest_correlation(sound(mixed), sound(style)) == pytest.approx(np.sqrt(0.5), abs=0.03)
    # shorter than a piece, and another rate
    assert largest_correlation(sound(style[:, 4000:20000]), sound(style)) == pytest.approx(1.0, abs=1e-4)
    smooth = lfilter([1.0], [1.0, -0.97], style)
    halved = sound(smooth[:, ::2], 8000.0)
    assert largest_correlation(sound(smooth), halved) > 0.97
    assert np.isnan(largest_correlation(sound(np.zeros(1000)), sound(style)))


def test_log_spectral_distance_of_a_known_filter():
    white = noise(20.0)
    assert log_spectral_distance(sound(white), sound(0.5 * white), LIMITS) == pytest.approx(6.02, abs=0.01)
    filtered = lfilter([1.0, -0.9], [1.0], white)
    w = np.linspace(*LIMITS, 2000) / 16000.0 * 2 * np.pi
    gain = 20 * np.log10(np.abs(1 - 0.9 * np.exp(-1j * w)))
    expected = np.sqrt(np.mean(gain**2))
    assert log_spectral_distance(sound(filtered), sound(white), LIMITS) == pytest.approx(expected, rel=0.03)


def test_metrics_of_an_unchanged_sound():
    content, style = audio(nc=2, length=40000, seed=1), audio(nc=2, length=30000, seed=2)
    found = audio_metrics(content, style, content)
    assert found["onset_correlation"] == pytest.approx(1.0)
    assert found["clipped"] == found["spectral_convergence"] == 0.0
    half = audio_metrics(content, style, content.replace(data=content.data * np.float32(0.5)))
    assert half["spectral_convergence"] == pytest.approx(0.5, rel=1e-5)
    for name in ("spectrum_distance", "log_spectral_distance", "envelope_distance"):
        assert found[f"{name}_before"] == found[f"{name}_after"] > 0.0
    loud = content.replace(data=np.clip(content.data * 4.0, -1.0, 1.0))
    assert clipped(loud) == audio_metrics(content, style, loud)["clipped"] > 0
    assert audio_metrics(loud, style, loud)["clipped"] == 0.0
    texture = measure(None, [style], content)
    assert texture["style_correlation"] < 0.5
    assert "onset_correlation" not in texture
