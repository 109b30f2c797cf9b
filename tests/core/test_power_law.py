"""Steps scaled by frequency: the filter against a float64 reference, its transpose, scales and slabs."""

import numpy as np
import pytest
import torch
from core_helpers import signal
from core_samples import MAKE, QUICK, image
from core_team import together

from nst_nd import stylize
from nst_nd.engine.lowpass import SlabShaping
from nst_nd.engine.team import Split
from nst_nd.errors import ConfigError
from nst_nd.features.power_law import UNCHANGED, PowerLaw

SIZES = {1: (37,), 2: (18, 23), 3: (9, 8, 11)}


@pytest.mark.parametrize("ndim", SIZES)
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_it_multiplies_every_frequency(ndim, exponent):
    size = SIZES[ndim]
    x = signal(ndim, 2, size=size)
    f = np.sqrt(sum(np.square(axis) for axis in np.meshgrid(*map(np.fft.fftfreq, size), indexing="ij")))
    gains = (np.maximum(f, 1.0 / max(size)) / UNCHANGED) ** -exponent
    axes = tuple(range(2, 2 + ndim))
    wanted = np.fft.ifftn(np.fft.fftn(x.numpy(), axes=axes) * gains, axes=axes).real
    np.testing.assert_allclose(PowerLaw(exponent)(x).numpy(), wanted, atol=1e-6)
    np.testing.assert_allclose(PowerLaw(exponent)(x.float()).numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("ndim", SIZES)
def test_it_is_its_own_transpose(ndim):
    law = PowerLaw(0.5)
    x, y = signal(ndim, 1, seed=1, size=SIZES[ndim]), signal(ndim, 1, seed=2, size=SIZES[ndim])
    torch.testing.assert_close((law(x) * y).sum(), (x * law(y)).sum())


def test_a_wave_has_one_gain_at_every_scale():
    t = torch.arange(64, dtype=torch.float64)
    wave = torch.sin(2 * torch.pi * t / 16)[None, None]
    fine, coarse = PowerLaw(0.5)(wave), PowerLaw(0.5).at(0.5)(wave[..., ::2].contiguous())
    torch.testing.assert_close(fine[..., ::2], coarse)


@pytest.mark.parametrize("exponent", [-0.1, 1.1, float("nan")])
def test_other_exponents_are_refused(exponent):
    with pytest.raises(ConfigError, match="allowed: 0 to 1"):
        PowerLaw(exponent)


def test_audio_has_steps_of_its_own():
    with pytest.raises(ConfigError, match="step_exponent: works on image and ecg and volume and ct only"):
        stylize(MAKE["audio"](), MAKE["audio"](seed=1), preset="audio", **QUICK, step_exponent=0.5)


@pytest.mark.parametrize("kind", [kind for kind in MAKE if kind != "audio"])
def test_any_other_preset_takes_it(kind):
    content, style = MAKE[kind](seed=0), MAKE[kind](seed=1)
    result = stylize(content, style, preset=kind, **QUICK, step_exponent=0.5, method="features")
    losses = [step.loss for step in result.history]
    assert losses[-1] < losses[0]
    untouched = stylize(content, style, preset=kind, **QUICK | {"iterations": 0}, step_exponent=0.5)
    np.testing.assert_array_equal(untouched.sample.data, content.data)


def test_a_deep_network_is_descended_faster_at_first():
    content, style = image(size=(64, 64), seed=0), image(size=(64, 64), seed=1)
    config = {"preset": "image", "iterations": 11, "scales": (1.0,), "device": "cpu"}
    plain, scaled = (stylize(content, style, **config, step_exponent=p) for p in (0.0, 0.5))
    assert scaled.history[0].loss == plain.history[0].loss
    assert scaled.history[-1].loss < 0.95 * plain.history[-1].loss


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("ndim", SIZES)
def test_slabs_together_are_the_whole(ndim, count):
    law, size = PowerLaw(0.5), SIZES[ndim]
    x = signal(ndim, 2, size=size)
    split = Split.along_longest(size, count, [1] * ndim, list(range(ndim)))

    def filtered(team):
        span = split.spans[team.rank]
        own = x.narrow(2 + split.axis, span.start, span.length).clone()
        return SlabShaping(law, team, split, size)(own)

    whole = torch.cat(together(count, filtered), dim=2 + split.axis)
    torch.testing.assert_close(whole, law(x), rtol=1e-10, atol=1e-12)
