"""What became of a CT: changes whose effect on every number is known beforehand."""

import numpy as np
import pytest
from core_samples import MAKE
from test_noise_metrics import ct, white

from nst_nd import scratch
from nst_nd.domains.guard import breaches
from nst_nd.domains.metrics import measure, names
from nst_nd.domains.metrics.volume import ct_metrics
from nst_nd.domains.resolve import resolve
from nst_nd.errors import ConfigError


def body(seed=0, sd=10.0):
    """Soft tissue beside fat, lung, air and bone, each with the same noise."""
    data = white(seed, sd) - 45.0
    levels = np.full(data.shape, 45.0)
    levels[:, 96:104], levels[:, 104:112], levels[:, 112:120], levels[:, 120:] = -90.0, -800.0, 900.0, -1000.0
    return np.where(levels == -1000.0, -1000.0, levels + data)


def of(change, style=None):
    data = body()
    changed = data + change(data) if callable(change) else data + change
    return ct_metrics(ct(data), ct(body(1, 20.0) if style is None else style), ct(changed))


def test_nothing_changed():
    found = of(0.0)
    assert found["noise_sd_before"] == found["noise_sd_after"] == pytest.approx(10.0, rel=0.02)
    assert found["noise_sd_style"] == pytest.approx(20.0, rel=0.02)
    for name in ("nps_distance", "nps3d_distance"):
        assert found[f"{name}_after"] == found[f"{name}_before"] == pytest.approx(20 * np.log10(2), abs=0.4)
    assert found["noise_slice_correlation_before"] == pytest.approx(0.0, abs=0.02)
    assert found["ssim"] == pytest.approx(1.0)
    assert found["psnr"] == np.inf
    for name in ("hu_bias_lung", "hu_bias_fat", "hu_bias_soft", "hu_drift", "nps_worse", "protected_changed"):
        assert found[name] == 0.0, name
    # the style's slopes are twice as high, so that it has more of them
    assert found["false_edges"] < 0.2


def test_the_styles_noise_brings_every_distance_down():
    own = white(5, 10.0 * np.sqrt(3.0)) - 45.0  # variances add up
    found = of(lambda data: np.where(np.abs(data) < 400, own, 0.0))
    assert found["noise_sd_after"] == pytest.approx(20.0, rel=0.02)
    assert found["nps_distance_after"] < 0.4
    assert found["nps3d_distance_after"] < 0.6 < found["nps3d_distance_before"]
    assert found["ssim"] < 0.999
    assert 30 < found["psnr"] < 45  # 20 lg(1400 / 10 sqrt(3)) where there is tissue
    assert found["nps_worse"] == 0.0
    assert found["noise_gram_distance_after"] < 0.1 < found["noise_gram_distance_before"]
    assert abs(found["hu_bias_soft"]) < 0.2
    assert found["false_edges"] == pytest.approx(1.0, abs=0.35)


def test_a_level_moves_bias_and_drift_of_its_tissue():
    found = of(lambda data: np.where((data > -300) & (data < 200), 3.0, 0.0))
    assert found["hu_bias_soft"] == pytest.approx(3.0, rel=1e-4)
    assert found["hu_bias_fat"] == pytest.approx(3.0, rel=1e-4)
    assert found["hu_bias_lung"] == 0.0
    assert found["hu_drift"] == pytest.approx(3.0, rel=0.02)
    assert found["nps_worse"] == pytest.approx(0.0, abs=1e-3)


def test_a_checkerboard_does_not_drift():
    i, j, k = np.indices(body().shape)
    found = of(np.where((i + j + k) % 2, 5.0, -5.0))
    assert found["hu_drift"] < 0.01
    assert abs(found["hu_bias_soft"]) < 0.01
    assert found["protected_changed"] > 0


def test_a_rim_is_a_false_edge():
    def rim(data):
        out = np.zeros_like(data)
        out[60:62, 20:80] = 40.0
        return out

    assert of(rim, style=body(1))["false_edges"] > 5.0


def test_noise_that_goes_away_from_the_style_is_worse():
    found = of(lambda data: white(7, 40.0) - 45.0)
    assert found["nps_worse"] == pytest.approx(found["nps_distance_after"] - found["nps_distance_before"])
    assert found["nps_worse"] > 0


def test_noise_wiped_out_is_infinitely_far():
    found = of(lambda data: np.where(np.abs(data) < 300, 45.0 - data, 0.0))
    assert found["nps_distance_after"] == found["nps_worse"] == np.inf
    assert [b.metric for b in breaches(found, resolve({"preset": "ct"}, "volume").limits)][-1] == "nps_worse"


def test_a_result_is_measured_on_the_contents_grid():
    data = body()
    content, style, result = ct(data), ct(body(1, 20.0)), ct(data + 1.0, (1.0, 1.0, 1.0))
    one, other = (measure(content, [style], r, "ct") for r in (result, ct(data + 1.0)))
    assert one == other


@pytest.mark.parametrize("preset", ["image", "audio", "ecg", "volume", "ct"])
def test_every_metric_has_a_known_name(preset):
    content, style, result = (MAKE[preset](seed=seed) for seed in (1, 2, 3))
    assert set(measure(content, [style], result, preset)) == set(names(preset))


def test_no_tissue_at_all():
    air = ct(np.full((40, 40, 3), -1000.0))
    found = ct_metrics(air, air, air)
    assert np.isnan([found["noise_sd_before"], found["hu_bias_soft"], found["hu_drift"], found["false_edges"]]).all()
    assert found["protected_changed"] == 0.0


def test_pieces_give_the_same(monkeypatch):
    def changed(data):
        return np.sin(data)

    whole = of(changed)
    monkeypatch.setattr(scratch, "LARGE", 1)
    monkeypatch.setattr(scratch, "PIECE", 30000)
    assert of(changed) == pytest.approx(whole, rel=1e-6, nan_ok=True)


def test_limits():
    limits = {"a": 1.0, "b": 0.0, "c": None, "d": 2.0, "e": 1.0}
    metrics = {"a": -1.5, "b": 0.0, "c": 99.0, "d": float("nan")}
    found = breaches(metrics, limits)
    assert [breach.metric for breach in found] == ["a"]
    assert found[0].words == "a is -1.5; allowed: at most 1 (limits.a)"


def test_one_limit_changed_leaves_the_others():
    resolved = resolve({"preset": "ct", "limits": {"hu_drift": 2.5, "false_edges": None}}, "volume")
    assert resolved.limits["hu_drift"] == 2.5
    assert resolved.limits["false_edges"] is None
    assert resolved.limits["protected_changed"] == 0.0
    assert resolve({}, "image").limits == {}
    for wrong in ({"hu_drift": -1.0}, {"hu_dirft": 1.0}, {"noise_sd": 1.0}):
        with pytest.raises(ConfigError, match="limits"):
            resolve({"preset": "ct", "limits": wrong}, "volume")
