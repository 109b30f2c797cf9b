"""The held-out network runs on a slab at a time: the Gram matrices it has at once, in a fraction of the memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from core_samples import MAKE, PRESETS, image, volume

from nst_nd import scratch
from nst_nd.domains.metrics import texture
from nst_nd.errors import InputError
from nst_nd.features.random_conv import random_network
from nst_nd.features.statistics import gram
from nst_nd.kernels import moments_torch


def tear(monkeypatch, at_once):
    """Slabs of about so many positions, sums over short blocks, everything in files."""
    monkeypatch.setattr(texture, "AT_ONCE", at_once)
    monkeypatch.setattr(scratch, "LARGE", 1)
    monkeypatch.setattr(scratch, "PIECE", 300)


@pytest.mark.parametrize("at_once", [1, 30, 777])
@pytest.mark.parametrize("size", [(101,), (64,), (23, 18), (8, 9), (13, 11, 9), (4, 4, 4)])
def test_grams_of_slabs_are_those_of_the_whole(size, at_once, monkeypatch):
    x = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(1))
    extractor = random_network(2, len(size), widths=texture.WIDTHS, channels=(5, 4, 6)).until(texture.TAPS)
    for module in (moments_torch, texture):  # a block that no slab ends with
        monkeypatch.setattr(module, "BLOCK", 70)
    with torch.no_grad():
        want = {tap: gram(activations) for tap, activations in extractor(x).items()}
    tear(monkeypatch, at_once)
    found = texture.grams(extractor, x)
    assert list(found) == list(want) == list(texture.TAPS)
    for tap in want:
        torch.testing.assert_close(found[tap], want[tap], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("at_once", [100, 777])
@pytest.mark.parametrize("preset", PRESETS)
def test_the_distance_of_slabs_is_that_of_the_whole(preset, at_once, monkeypatch):
    sample, style = (MAKE[preset](nc, seed=nc) for nc in (1, 3))
    pairs = [(sample, style), (style, style.replace(data=style.data**2))]
    whole = [texture.style_distance(a, b, a) for a, b in pairs]
    tear(monkeypatch, at_once)
    torn = [texture.style_distance(a, b, a) for a, b in pairs]
    assert torn == pytest.approx(whole, rel=1e-6)
    assert min(whole) > 0.005
    assert texture.style_distance(style, style, style) == 0.0


@pytest.mark.parametrize(
    ("sample", "style", "distance"),
    [
        (volume(1, (40, 33, 21), seed=1), volume(1, (31, 40, 22), seed=2), 0.112557983),
        (image(3, (70, 50), seed=1), image(3, (33, 64), seed=2), 0.405735390),
        (volume(1, (3, 3, 3), seed=1), volume(1, (9, 9, 9), seed=2), 3.266695924),
    ],
    ids=["volume", "image", "first layer alone"],
)
def test_the_numbers_are_those_of_old(sample, style, distance):
    assert texture.style_distance(sample, style, sample) == pytest.approx(distance, rel=1e-6)


def test_only_the_middle_of_a_large_signal_is_heard(monkeypatch):
    monkeypatch.setattr(texture, "MIDDLE", 12**3)
    sample, style = volume(1, (31, 10, 16), seed=1), volume(1, (13, 14, 15), seed=2)
    middle = sample.replace(data=np.ascontiguousarray(sample.data[:, 9:21, :, 2:14]))
    outside = sample.replace(data=sample.data.copy())
    outside.data[:, :9] = outside.data[:, 21:] = 300.0
    monkeypatch.setattr(texture, "_range", lambda _: (300.0, 160.0))
    want = texture.style_distance(middle, style, sample)
    assert texture.style_distance(sample, style, sample) == texture.style_distance(outside, style, sample) == want


def test_activations_that_overflow_are_an_error():
    extractor = random_network(1, 1, widths=texture.WIDTHS, channels=texture.CHANNELS).until(texture.TAPS)
    with pytest.raises(InputError, match="not finite"):
        texture.grams(extractor, torch.full((1, 1, 64), 3e38))


MEASURE = """
import sys
from pathlib import Path
import numpy as np
import torch
from core_samples import ct
from nst_nd import scratch
from nst_nd.domains.metrics import measure

def status(key):
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(key))

def large(seed):
    data = scratch.mapped((1, 160, 256, 128), np.float32)
    for i, plane in enumerate(data[0]):
        plane[:] = np.random.default_rng((seed, i)).normal(40.0, 30.0, plane.shape)
        scratch.release(data)
    return ct(seed=seed).replace(data=data)

torch.set_num_threads(1)  # beside other tests, threads that wait for one another are slow
measure(ct(seed=1), [ct(seed=2)], ct(seed=3), "ct")
samples = [large(seed) for seed in (1, 2, 3)]
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
measure(samples[0], [samples[1]], samples[2], "ct")
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_volume_is_measured_in_a_fraction_of_its_memory():
    told = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    ).stdout
    assert float(told) < 170, told  # about 110; all slabs at once take 430
