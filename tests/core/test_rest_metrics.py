"""Amplitudes and autocorrelation of a rest: noise whose answers are known in closed form."""

import numpy as np
import pytest
from scipy.signal import lfilter

from nst_nd.domains.metrics import measure, names
from nst_nd.domains.metrics.rest import LAGS_S, distances, shape_of
from nst_nd.sample import Grid, Sample

RATE = 500.0


def leads(data, gaps=None, rate=RATE):
    return Sample(np.asarray(data, np.float32), "ecg", "mV", Grid((1 / rate,), "s", rate), gaps=gaps)


def draw(seed):
    return np.random.default_rng(seed)


def test_moments_of_known_distributions():
    gauss, uniform = draw(0).standard_normal((2, 60_000)), draw(1).uniform(-1, 1, (2, 60_000))
    exponential = draw(2).exponential(1.0, (2, 60_000))
    for data, skewness, kurtosis, tolerance in (
        (gauss, 0.0, 0.0, 0.05),
        (uniform, 0.0, -1.2, 0.05),
        (exponential, 2.0, 6.0, 0.7),
    ):
        found = shape_of(leads(data))
        assert found.skewness == pytest.approx(skewness, abs=tolerance)
        assert found.kurtosis == pytest.approx(kurtosis, abs=tolerance)


def test_autocorrelation_of_a_first_order_process_at_any_rate():
    for rate in (360.0, 1000.0):
        decay = np.exp(-1.0 / (0.05 * rate))
        data = lfilter([1.0], [1.0, -decay], draw(3).standard_normal((3, round(200 * rate))))
        np.testing.assert_allclose(shape_of(leads(data, rate=rate)).correlation, np.exp(-LAGS_S / 0.05), atol=0.06)


def test_a_shift_of_amplitude_in_mv_and_a_constant_that_does_not_count():
    x = draw(4).standard_normal((1, 50_000))
    amplitude, correlation = distances(shape_of(leads(0.2 * x)), shape_of(leads(0.1 * x + 5.0)))
    # E|0.1 g| over the quantiles
    assert amplitude == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=0.03)
    assert correlation < 1e-3


def test_gaps_count_in_neither():
    x = draw(5).standard_normal((2, 20_000))
    gaps = np.zeros(x.shape, bool)
    gaps[:, 3000:9000] = True
    holed = shape_of(leads(np.where(gaps, 50.0, x), gaps))
    amplitude, correlation = distances(holed, shape_of(leads(x)))
    assert amplitude < 0.02
    assert correlation < 0.02


def test_too_little_and_nothing():
    assert shape_of(leads(np.zeros((1, 1000)))) is None
    assert shape_of(leads(draw(6).standard_normal((1, 100)))) is None
    assert np.isnan(distances(None, None)).all()


def test_they_are_part_of_the_metrics():
    x, y = (leads(draw(i).standard_normal((1, 4000))) for i in (7, 8))
    assert set(measure(x, [y], x)) <= set(names("ecg"))
    assert {"rest_kurtosis_style", "rest_amplitude_distance_after"} <= set(measure(x, [y], x))
