"""Signals at another rate: as SciPy does it all at once, whatever the pieces are."""

import numpy as np
import pytest
from scipy.signal import resample_poly

from nst_nd import scratch
from nst_nd.domains import signals
from nst_nd.domains.audio import mix
from nst_nd.sample import Grid, Sample


@pytest.mark.parametrize("piece", [1, 700, 2**20])
@pytest.mark.parametrize(("own", "rate"), [(44100, 48000), (48000, 44100), (8000, 44100), (96000, 8000), (500, 360)])
@pytest.mark.parametrize("length", [2, 613, 5000])
def test_as_scipy_does_it(monkeypatch, piece, own, rate, length):
    monkeypatch.setattr(signals, "PIECE", piece)
    draw = np.random.default_rng(length + piece)
    data = (draw.standard_normal((2, length)) + np.linspace(3.0, -5.0, length)).astype(np.float32)
    sample = Sample(data, "audio", "full scale", Grid((1.0 / own,), "s", float(own)))
    wanted = resample_poly(data.astype(np.float64), rate, own, axis=-1, padtype="line")
    notes = []
    found = signals.resample(sample, float(rate), notes)
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 2e-5
    assert notes == [f"style resampled from {own:g} Hz to the content's {rate:g} Hz"]


def test_one_sample_stays_what_it_is():
    sample = Sample(np.full((1, 1), 0.5, np.float32), "audio", "full scale", Grid((1 / 8000,), "s", 8000.0))
    assert signals.resample(sample, 24000.0, []) == pytest.approx(0.5, abs=0.02)


def test_long_ones_lie_in_files(monkeypatch):
    monkeypatch.setattr(scratch, "LARGE", 2**12)
    monkeypatch.setattr(signals, "PIECE", 1000)
    data = np.random.default_rng(0).standard_normal((2, 3000)).astype(np.float32)
    sample = Sample(data, "audio", "full scale", Grid((1 / 8000,), "s", 8000.0))
    found = signals.resample(sample, 12000.0, [])
    mixed = mix(found, 1, [])
    assert scratch.is_mapped(found)
    assert scratch.is_mapped(mixed)
    assert np.allclose(mixed, found.mean(axis=0, keepdims=True), rtol=1e-5, atol=1e-6)
