"""Receptive fields: against what gradients reach, and of modules against what is known of them."""

import pytest
import torch
from torch import nn

from nst_nd import module_extractor, random_network, vgg19
from nst_nd.boxes import Span
from nst_nd.domains.networks import spectrogram_network
from nst_nd.domains.settings import ExtractorSettings
from nst_nd.errors import ConfigError
from nst_nd.features.cochlea import cochlea
from nst_nd.features.receptive import receptive_field

CPU = torch.device("cpu")


def reached(extractor, tap, size, position, seed=0):
    """The hull of what a position's gradient reaches, over several inputs: a ReLU hides a part of it."""
    low, high = list(size), [0] * len(size)
    for n in range(seed, seed + 4):
        x = 50 * torch.rand(1, extractor.nc, *size, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
        x.requires_grad_()
        out = extractor(x, [tap])[tap]
        weight = torch.rand(out.shape[1], generator=torch.Generator().manual_seed(n), dtype=torch.float64)
        (out[(0, slice(None), *position)] * weight).sum().backward()
        for axis in range(len(size)):
            others = [a for a in range(x.dim()) if a != axis + 2]
            (hit,) = torch.nonzero(x.grad.abs().amax(others), as_tuple=True)
            low[axis], high[axis] = min(low[axis], int(hit.min())), max(high[axis], int(hit.max()) + 1)
    return tuple(Span(a, b) for a, b in zip(low, high, strict=True))


@pytest.mark.parametrize(
    ("made", "tap", "size", "position"),
    [
        (lambda: vgg19(3, 2, blocks=2), "relu2_2", (40, 37), (9, 8)),
        (lambda: vgg19(1, 1, blocks=3), "relu3_1", (90,), (11,)),
        (lambda: vgg19(1, 3, blocks=2, pool_kernel=(2, 2, 1)), "relu2_1", (18, 20, 13), (4, 5, 6)),
        (lambda: random_network(2, 1, widths=(3, 5, 9), channels=(6, 5, 4)), "relu3", (80,), (10,)),
        (lambda: random_network(1, 3, octave=1, widths=(3, 5), channels=(4, 4)), "relu2", (34, 33, 35), (4, 3, 4)),
    ],
)
def test_the_field_is_what_a_gradient_reaches(made, tap, size, position):
    extractor = made()
    field = receptive_field(extractor, tap)
    assert field.clipped(position, size) == field.box(position, size)
    assert reached(extractor.to(CPU, torch.float64), tap, size, position) == field.box(position, size)


def test_known_fields_of_vgg():
    # convolutions of 3 and pools of 2, counted by hand
    fields = {tap: receptive_field(vgg19(3, 2), tap) for tap in ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")}
    assert [f.extent for f in fields.values()] == [(n, n) for n in (3, 10, 24, 68, 156)]
    assert [f.stride for f in fields.values()] == [(n, n) for n in (1, 2, 4, 8, 16)]


def test_at_borders():
    field = receptive_field(vgg19(3, 2, blocks=1), "relu1_2")
    assert field.box((0, 6), (20, 7)) == (Span(-2, 3), Span(4, 9))
    assert field.clipped((0, 6), (20, 7)) == (Span(0, 3), Span(4, 7))
    assert field.inside((20, 7), (20, 7)) == (Span(2, 18), Span(2, 5))
    inside = field.inside((3, 3), (3, 3))
    assert min(span.length for span in inside) == 0


def test_sound():
    spec = ExtractorSettings(name="spectrogram", window=64, hop=16, widths=(1, 5), filters=4)
    network = spectrogram_network(1, 1, spec)
    assert receptive_field(network, "magnitude").extent == (64,)
    assert receptive_field(network, "filters").extent == (64 + 4 * 16,)
    field = receptive_field(cochlea(1, 8000.0, 6), "modulation")
    # two seconds of the slowest modulation, and the kernel of the narrowest band
    assert 2.0 * 8000 < field.extent[0] < 2.6 * 8000


def module(*layers, ndim=2):
    return module_extractor(nn.Sequential(*layers), 1, ndim, [str(len(layers) - 1)])


def test_modules_are_measured():
    torch.manual_seed(0)
    strided = module(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, (5, 3), padding=(2, 1)))
    field = receptive_field(strided, "2")
    assert (field.halo, field.extent, field.stride) == ((5, 3), (11, 7), (2, 2))
    uneven = module(nn.Conv1d(1, 2, 4), nn.MaxPool1d(3), ndim=1)
    field = receptive_field(uneven, "1")
    assert (field.halo, field.extent, field.stride) == ((0,), (6,), (3,))
    for kernel, ndim in ((23, 1), (31, 1), (25, 2)):
        unpadded = module((nn.Conv1d, nn.Conv2d)[ndim - 1](1, 2, kernel), ndim=ndim)
        field = receptive_field(unpadded, "0")
        assert (field.halo, field.extent, field.stride) == ((0,) * ndim, (kernel,) * ndim, (1,) * ndim)
    wide = module(nn.Conv1d(1, 2, 3, dilation=50, padding=50), ndim=1)
    assert receptive_field(wide, "0").extent == (101,)
    everything = module(nn.Conv1d(1, 4, 3, padding=1), nn.InstanceNorm1d(4), ndim=1)
    field = receptive_field(everything, "1")
    assert field.extent is None
    assert field.box((3,), (50,)) == (Span(0, 50),)
    assert field.reach((50,)) == (50,)


def test_what_goes_up_again_is_the_hull_of_neighbours():
    torch.manual_seed(0)
    upward = module(nn.MaxPool1d(4), nn.Upsample(scale_factor=4), ndim=1)
    field = receptive_field(upward, "1")
    # a position sees the four of its cell, which begin up to three before it and end up to three after it
    assert (field.halo, field.extent) == ((3,), (7,))


def test_no_such_layer():
    with pytest.raises(ConfigError, match=r"has no layer relu9\nallowed: relu1, pool1"):
        receptive_field(random_network(1, 1), "relu9")
