"""One contract for every extractor: names, cuts, strides, sizes, channels, masks and reach."""

from dataclasses import replace
from functools import cache, partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from core_helpers import CHANNELS, NDIMS, relative, signal
from torch import nn

from nst_nd import module_extractor, random_network, vgg19
from nst_nd.domains.networks import spectrogram_network
from nst_nd.domains.settings import ExtractorSettings
from nst_nd.errors import ConfigError, InputError
from nst_nd.features.cochlea import cochlea
from nst_nd.features.extractor import ChainStage, Extractor

CPU = torch.device("cpu")
CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
MAX_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def module(nc, ndim):
    """With an in-place activation after a tap, and a normalisation that must be in eval mode."""
    torch.manual_seed(0)
    conv, pool, norm = CONV[ndim], MAX_POOL[ndim], NORM[ndim]
    layers = [conv(nc, 4, 3, padding=1), nn.ReLU(inplace=True), pool(2), conv(4, 5, 5, padding=2), norm(5), nn.ReLU()]
    return module_extractor(nn.Sequential(*layers), nc, ndim, ["0", "1", "2", "3", "5"], probe=(16,) * ndim)


def pool_between(nc, ndim):
    """One stage with its pool in the middle: what follows reaches further in positions of the input."""
    first, pool, second, _ = (
        layer for s in random_network(nc, ndim, widths=(3,), channels=(6, 5)).stages for layer in s.layers
    )
    return Extractor("between", nc, ndim, (ChainStage((first, pool, second)),))


def shallow_vgg(nc, ndim, **options):
    whole = vgg19(nc, ndim, **options)
    return replace(whole, stages=whole.stages[:2])


BUILDERS = {
    "vgg19": shallow_vgg,
    "vgg19, reflect, one axis unpooled": lambda nc, ndim: shallow_vgg(
        nc, ndim, padding="reflect", pool_kernel=(2, 1, 3)[:ndim], pooling="max"
    ),
    "random": lambda nc, ndim: random_network(nc, ndim, channels=(9, 8, 6)),
    "random, one width": lambda nc, ndim: random_network(nc, ndim, widths=(5,), channels=(7, 5), padding="zeros"),
    "random, octave": lambda nc, ndim: random_network(
        nc, ndim, widths=(3, 7), channels=(6, 4), octave=2, zero_mean=True, pool_kernel=(2, 1, 3)[:ndim]
    ),
    "random, circular": lambda nc, ndim: random_network(nc, ndim, channels=(5, 4), padding="circular", pooling="max"),
    "random, reflect": lambda nc, ndim: random_network(nc, ndim, channels=(5, 4), padding="reflect"),
    "spectrogram": lambda nc, ndim: spectrogram_network(
        nc, ndim, ExtractorSettings(name="spectrogram", window=16, hop=4, widths=(1, 5), filters=6)
    ),
    "complex spectrogram": lambda nc, ndim: spectrogram_network(
        nc, ndim, ExtractorSettings(name="spectrogram", window=16, hop=4, widths=(1, 5), filters=6, scale="complex")
    ),
    "mel spectrogram": lambda nc, ndim: spectrogram_network(
        nc,
        ndim,
        ExtractorSettings(name="spectrogram", window=64, hop=24, widths=(1, 5), filters=6, scale="mel"),
        8000.0,
    ),
    "cochlea": lambda nc, ndim: cochlea(nc, 2000.0, 3),
    "pool between": pool_between,
    "module": module,
    "vgg19, slice by slice": partial(shallow_vgg, plane=(0, 1), padding="replicate"),
    "random, in a plane": partial(random_network, channels=(6, 5), plane=(0, 2), octave=1, zero_mean=True),
}
# what there is in some numbers of dimensions only
ONLY = {
    "spectrogram": (1,),
    "cochlea": (1,),
    "complex spectrogram": (1,),
    "mel spectrogram": (1,),
    "vgg19, slice by slice": (3,),
    "random, in a plane": (3,),
}
CASES = [(name, ndim) for name in BUILDERS for ndim in NDIMS if ndim in ONLY.get(name, NDIMS)]
contract = pytest.mark.parametrize(("name", "ndim"), CASES)


@cache
def build(name, ndim, nc=2, dtype=torch.float64):
    return BUILDERS[name](nc, ndim).to(CPU, dtype)


def large_enough(extractor, cells=3, more=0):
    """Whole cells of the deepest tap, a few more than the least, and `more` positions that fill none."""
    stride = extractor.stride_at(extractor.names[-1])
    return tuple(-(-cells * n // s) * s + more for n, s in zip(extractor.least_size, stride, strict=True))


def input_of(extractor, cells=3, more=0, seed=0, dtype=torch.float64):
    size = large_enough(extractor, cells, more)
    return signal(extractor.ndim, extractor.nc, size=size, seed=seed, scale=50.0, dtype=dtype)


def definition(extractor, x):
    """All taps by the layers' definitions, nothing cut and nothing fused."""
    found = {}
    for stage in extractor.stages:
        x, here = stage.forward(x, frozenset(stage.names))
        found |= here
    return found


@contract
def test_names_are_unique_and_known(name, ndim):
    extractor = build(name, ndim)
    assert len(set(extractor.names)) == len(extractor.names) > 0
    with pytest.raises(ConfigError, match=f"allowed: {extractor.names[0]}"):
        extractor.check(["nonsense"])
    with pytest.raises(ConfigError, match="allowed"):
        extractor.stride_at("nonsense")
    with pytest.raises(ConfigError, match="name at least one"):
        extractor.until([])


@contract
def test_a_cut_extractor_gives_what_the_whole_one_gives(name, ndim):
    extractor = build(name, ndim)
    x = input_of(extractor, more=1)
    whole = definition(extractor, x)
    names = extractor.names
    for wanted in ([n] for n in names), (list(p) for p in pairwise(names)), ([names[0], names[-1]], list(names)):
        for taps in wanted:
            found = extractor(x, taps)
            assert set(found) == set(taps)
            for tap in taps:
                torch.testing.assert_close(found[tap], whole[tap], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@contract
def test_run_is_forward(name, ndim, dtype):
    whole = build(name, ndim, 2, dtype)
    for extractor in (whole, whole.until(whole.names[-1:])):
        x = h = input_of(extractor, more=1, dtype=dtype)
        before, wanted = x.clone(), frozenset(extractor.names)
        want = definition(extractor, x)
        for stage in extractor.stages:
            trace = stage.run(h, wanted)
            h = trace.out
            assert not h.requires_grad
            for tap, activations in trace.taps.items():
                assert relative(activations, want.pop(tap)) < (1e-12 if dtype == torch.float64 else 2e-6)
        assert not want
        assert torch.equal(x, before)


@contract
def test_strides_are_the_ratios_of_sizes(name, ndim):
    extractor = build(name, ndim)
    x = input_of(extractor)
    for tap, activations in extractor(x).items():
        for n, m, s in zip(x.shape[2:], activations.shape[2:], extractor.stride_at(tap), strict=True):
            assert n == m * s
    assert all(n >= s for n, s in zip(extractor.least_size, extractor.stride_at(extractor.names[-1]), strict=True))


@contract
def test_the_least_size_works_and_one_less_is_refused(name, ndim):
    extractor = build(name, ndim)
    least = extractor.least_size
    for activations in extractor(signal(ndim, 2, size=least)).values():
        assert torch.isfinite(activations).all()
        assert activations.numel() > 0
    for axis in range(ndim):
        size = [n - (i == axis) for i, n in enumerate(least)]
        if min(size) > 0:
            with pytest.raises(InputError):
                extractor(signal(ndim, 2, size=size))


@pytest.mark.parametrize("nc", CHANNELS)
@contract
def test_any_number_of_channels(name, ndim, nc):
    extractor = build(name, ndim, nc)
    x = input_of(extractor, cells=2)
    for activations in extractor(x).values():
        assert activations.dtype == torch.float64
        assert activations.shape[0] == 1
        assert not activations.requires_grad
        assert torch.isfinite(activations).all()


@contract
def test_other_inputs_are_refused(name, ndim):
    extractor = build(name, ndim)
    x = input_of(extractor)
    for other in (x[:, :1], torch.cat([x, x]), torch.cat([x, x], 1), x[..., 0], x.unsqueeze(-1)):
        with pytest.raises(InputError):
            extractor(other)


@contract
def test_the_same_seed_gives_the_same_network(name, ndim):
    one, other = (BUILDERS[name](2, ndim).to(CPU, torch.float32) for _ in range(2))
    x = input_of(one, dtype=torch.float32)
    ours, theirs = one(x), other(x)
    assert all(torch.equal(ours[tap], theirs[tap]) for tap in one.names)
    assert one.name == other.name


@contract
def test_moving_to_another_type_leaves_the_original_as_it_was(name, ndim):
    original = BUILDERS[name](2, ndim).to(CPU, torch.float32)
    x = input_of(original, dtype=torch.float32)
    before = original(x)
    original.to(CPU, torch.float64)
    after = original(x)
    assert all(torch.equal(before[tap], after[tap]) for tap in original.names)


@contract
def test_masks_are_carried_as_area_means(name, ndim):
    extractor = build(name, ndim)
    size = large_enough(extractor, more=1)
    wanted = frozenset(extractor.names)
    mask = (signal(ndim, 1, size=size) > 0).double()
    activations = extractor(signal(ndim, 2, size=size))
    ones, carried = extractor.carry(torch.ones_like(mask), wanted), extractor.carry(mask, wanted)
    for tap in extractor.names:
        assert ones[tap].shape == (1, 1, *activations[tap].shape[2:])
        torch.testing.assert_close(ones[tap], torch.ones_like(ones[tap]), rtol=1e-12, atol=0.0)
        cells = mask[0, 0].numpy()
        for axis, (s, n) in enumerate(zip(extractor.stride_at(tap), carried[tap].shape[2:], strict=True)):
            cells = np.add.reduceat(cells.take(range(n * s), axis), range(0, n * s, s), axis) / s
        np.testing.assert_allclose(carried[tap][0, 0].numpy(), cells, atol=1e-12)


@contract
def test_the_halo_is_the_reach_of_a_stage(name, ndim):
    extractor = build(name, ndim)
    channels_in = {}
    x = input_of(extractor, cells=2)
    for stage in extractor.stages:
        channels_in[stage.names] = x.shape[1]
        x = stage.forward(x, frozenset())[0] if stage.halo is not None else x
    for stage in extractor.stages:
        if stage.halo is None:
            continue
        stride = stage.stride_at(None)
        size = [3 * s + 2 * -(-h // s) * s for s, h in zip(stride, stage.halo, strict=True)]
        middle = [n // s // 2 for n, s in zip(size, stride, strict=True)]
        # a periodic Hann window starts with a 0
        blunt = 1 if stage.names == ("magnitude",) else 0
        for axis, (h, s) in enumerate(zip(stage.halo, stride, strict=True)):
            first, last = middle[axis] * s - h, (middle[axis] + 1) * s - 1 + h
            for at, seen in [(first - 1, False), (first + blunt, True), (last, True), (last + 1, False)]:
                assert reacts(stage, channels_in[stage.names], size, axis, at, (0, slice(None), *middle)) == seen


def reacts(stage, channels, size, axis, at, position):
    """Whether what a stage gives at a position ever changes with its input `at` this place along an axis."""
    for seed in range(4):  # a rectifier or a maximum may hide a change, not four
        x = signal(len(size), channels, size=size, seed=seed, scale=3.0)
        changed = x.clone()
        changed.select(axis + 2, at).mul_(-20.0)
        before, after = (stage.forward(t, frozenset())[0][position] for t in (x, changed))
        # what goes through a Fourier transform is rounded everywhere
        if not torch.allclose(before, after, rtol=0.0, atol=1e-10 * float(before.abs().max())):
            return True
    return False


@pytest.mark.parametrize("plane", [(0, 1), (0, 2), (1, 2)])
def test_a_network_in_a_plane_is_the_2d_network_on_every_section(plane):
    (across,) = {0, 1, 2} - set(plane)
    x = signal(3, 1, size=(12, 14, 16), scale=50.0)
    for flat, deep in (
        (vgg19(1, 2, blocks=2), vgg19(1, 3, blocks=2, plane=plane)),
        (random_network(1, 2, channels=(6, 5)), random_network(1, 3, channels=(6, 5), plane=plane)),
    ):
        two, three = (network.to(CPU, torch.float64) for network in (flat, deep))
        sections = [definition(two, section) for section in x.unbind(2 + across)]
        for tap, found in definition(three, x).items():
            wanted = torch.stack([section[tap] for section in sections], dim=2 + across)
            torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(("ndim", "plane"), [(2, (0, 1)), (3, (1, 0)), (3, (0, 3))])
@pytest.mark.parametrize("build", [vgg19, random_network])
def test_what_is_no_plane_is_refused(build, ndim, plane):
    with pytest.raises(ConfigError, match="plane is"):
        build(1, ndim, plane=plane)
