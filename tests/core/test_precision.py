"""Networks in 16 bits: what is lost, what is not, and that nothing is chosen silently."""

import numpy as np
import pytest
import torch
from core_samples import audio, image, volume

import nst_nd
from nst_nd import STATISTICS, ContentTerm, Objective, StyleTerm, random_network, value_and_grad, vgg19
from nst_nd.engine.objective import Branch, activations_of, style_moments
from nst_nd.engine.stream import Engine, Tiling
from nst_nd.engine.sweep import StagePlan
from nst_nd.errors import ConfigError
from nst_nd.features import precision
from nst_nd.features.precision import Cast, allow, dtype_of, in_precision, scale_of

CPU = torch.device("cpu")
SIZES = {1: (157,), 2: (37, 42), 3: (19, 16, 13)}
# relative to the gradient, at most. Numbers lose 2^-9 and 2^-12, but where that turns the sign of what a ReLU gets, a
# whole path of the gradient comes or goes: of so many positions, so that the gradient loses the root of that
LOST = {"bfloat16": 0.08, "float16": 0.03}
ALL = ["gram", "covariance", "mean_std"]


def objective(ndim, how, statistic="gram", weight=1.0):
    """Content and style costs on a network in these numbers; the same signals for all."""
    draw = torch.Generator().manual_seed(5)
    content, style, x = (30.0 * torch.randn(1, 2, *SIZES[ndim], generator=draw) for _ in range(3))
    network = in_precision(random_network(2, ndim, channels=(8, 12)).until(["relu1", "relu2"]), CPU, how)
    known = STATISTICS[statistic]
    target = activations_of(network, content)["relu2"]
    terms = tuple(
        StyleTerm(tap, tap, 10.0 * weight, known, known.read(m), "relative")
        for tap, m in style_moments(network, style, [known]).items()
        if tap != "input"
    )
    term = ContentTerm.of("relu2", weight, target.float(), "relative", "")
    return Objective((Branch(network, (term,), terms, pivots_of(network, style, known)),)), x


def pivots_of(network, style, statistic):
    if not statistic.centred:
        return {}
    return {(0, tap): m.pivot for tap, m in style_moments(network, style, [statistic]).items() if tap != "input"}


@pytest.mark.parametrize("statistic", ALL)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_gradients_are_those_of_float32_but_for_rounding(ndim, statistic):
    exact, reference = value_and_grad(*objective(ndim, "float32", statistic))
    for how in ("bfloat16", "float16"):
        terms, grad = value_and_grad(*objective(ndim, how, statistic))
        assert grad.dtype == torch.float32
        assert terms.dtype == torch.float64
        error = float((grad - reference).norm() / reference.norm())
        assert 1e-6 < error < LOST[how]
        torch.testing.assert_close(terms, exact, rtol=LOST[how], atol=0.0)


def test_small_gradients_do_not_vanish_and_large_ones_do_not_overflow():
    reference = value_and_grad(*objective(2, "float32"))[1]
    for weight in (1e-12, 1e12):
        grad = value_and_grad(*objective(2, "float16", weight=weight))[1]
        assert float((grad / weight - reference).norm() / reference.norm()) < LOST["float16"]
    # which is the scale's doing
    original, precision.SCALED_TO = precision.SCALED_TO, None
    try:
        from nst_nd.engine import loss_scale

        kept = loss_scale.scale_of
        loss_scale.scale_of = torch.ones_like
        grad = value_and_grad(*objective(2, "float16", weight=1e-12))[1]
        assert not grad.any()
    finally:
        precision.SCALED_TO, loss_scale.scale_of = original, kept


def test_the_scale_is_a_power_of_two():
    for largest in (1e-30, 3e-7, 0.9, 1.0, 4e5):
        found = float(scale_of(torch.tensor(largest, dtype=torch.float64)))
        assert np.log2(found) == round(np.log2(found))
        assert 0.5 * precision.SCALED_TO < found * largest <= precision.SCALED_TO
    assert float(scale_of(torch.tensor(0.0))) == 1.0
    assert float(scale_of(torch.tensor(float("nan")))) == 1.0


@pytest.mark.parametrize("how", ["bfloat16", "float16"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_tiles_give_the_same(ndim, how):
    given, x = objective(ndim, how)
    stages = len(given.branches[0].extractor.stages)
    plan = tuple(StagePlan(tuple(8 for _ in range(ndim)), "slopes", "file") for _ in range(stages))
    terms, grad = Engine(given, x.shape[2:], Tiling((plan,))).value_and_grad(x)
    whole_terms, whole = value_and_grad(given, x)
    assert float((grad - whole).norm() / whole.norm()) < LOST[how]
    torch.testing.assert_close(terms, whole_terms, rtol=1e-3, atol=0.0)


def test_vgg_and_its_pools():
    x = 60.0 * torch.randn(1, 3, 48, 40, generator=torch.Generator().manual_seed(1))
    for pooling in ("average", "max"):
        network = vgg19(3, 2, pooling=pooling).until(["relu3_1"])
        exact = activations_of(in_precision(network, CPU, "float32"), x)["relu3_1"]
        for how in ("bfloat16", "float16"):
            found = activations_of(in_precision(network, CPU, how), x)["relu3_1"]
            assert found.dtype == precision.DTYPES[how]
            assert float((found - exact).norm() / exact.norm()) < LOST[how]


def test_a_cast_is_a_layer():
    layer = Cast("input", 2, torch.bfloat16)
    x = torch.randn(1, 3, 7, 5)
    y, saved = layer.run(x)
    assert torch.equal(y, x.bfloat16())
    assert layer.vjp(saved, y).dtype == torch.float32
    assert layer.to(CPU, torch.float64) is layer
    assert dtype_of(in_precision(random_network(3, 2), CPU, "bfloat16")) == torch.bfloat16
    assert dtype_of(in_precision(random_network(3, 2), CPU, "float32")) == torch.float32


@pytest.mark.parametrize(
    ("content", "style", "settings"),
    [
        (image(seed=1), image(seed=2), {"style_layers": ("relu1_1", "relu2_1"), "content_layers": ("relu2_2",)}),
        (
            volume(seed=1),
            volume(seed=2),
            {
                "extractor": [{"name": "random", "channels": (6, 8)}],
                "style_layers": ("relu1", "relu2"),
                "content_layers": ("relu2",),
            },
        ),
    ],
    ids=["image", "volume"],
)
@pytest.mark.parametrize("how", ["bfloat16", "float16"])
def test_a_transfer_comes_out_alike(content, style, settings, how):
    exact = nst_nd.stylize(content, style, iterations=4, scales=(1.0,), **settings)
    found = nst_nd.stylize(content, style, iterations=4, scales=(1.0,), precision=how, **settings)
    first, last = found.history[0].loss, found.history[-1].loss
    assert first == pytest.approx(exact.history[0].loss, rel=0.02)
    assert last < 0.9 * first
    assert found.settings.precision == how
    assert any("no instructions" in note for note in found.notes) == (not precision._fast_on_cpu(how))
    again = nst_nd.stylize(content, style, iterations=4, scales=(1.0,), precision=how, **settings)
    np.testing.assert_array_equal(found.sample.data, again.sample.data)


def test_what_cannot_be_is_refused():
    a = image(seed=1)
    with pytest.raises(ConfigError, match="precision tf32 is of NVIDIA GPUs"):
        nst_nd.stylize(a, a, precision="tf32", device="cpu")
    with pytest.raises(ConfigError, match="precision bfloat16: cochlea and spectrogram is computed"):
        nst_nd.stylize(audio(), audio(seed=1), precision="bfloat16")
    with pytest.raises(ConfigError, match="precision"):
        nst_nd.stylize(a, a, precision="half")


def test_tf32_is_on_by_its_name_alone(monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    for how in ("float32", "bfloat16", "float16"):
        assert allow(how, gpu) == []
        assert not torch.backends.cudnn.allow_tf32
    allow("tf32", gpu)
    assert torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    allow("float16", gpu)
    for how in ("tf32", "bfloat16"):
        with pytest.raises(ConfigError, match=r"compute capability 8\.0, this one has 7\.5"):
            allow(how, gpu)
