"""The Gaussian low-pass: its adjoint, its pieces, and the same on slabs."""

from itertools import pairwise

import pytest
import torch
from core_helpers import NDIMS, SIZES, signal
from core_team import together

from nst_nd import nd
from nst_nd.boxes import Span
from nst_nd.engine.lowpass import SlabLowPass
from nst_nd.engine.team import Split, Team
from nst_nd.features.iterate import Iterate

every_ndim = pytest.mark.parametrize("ndim", NDIMS)
# the last of them see further than any axis is long
SIGMAS = [(1.5, 0.0, 2.0), (0.0, 1.3, 0.4), (0.1, 2.5, 0.7), (20.0, 7.0, 9.0), (0.0, 0.0, 0.0)]
every_sigma = pytest.mark.parametrize("sigma", SIGMAS)


@pytest.fixture(params=[None, 1, 3000])
def at_once(request, monkeypatch):
    """So many bytes are smoothed at a time."""
    if request.param is not None:
        monkeypatch.setattr(nd, "SMOOTHED_AT_ONCE", request.param)


def plain(x, sigma):
    """The definition, with a graph."""
    return nd.smooth(x if x.requires_grad else x.clone().requires_grad_(), sigma)


def close(got, want):
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@every_sigma
@every_ndim
def test_pieces_are_the_definition(ndim, sigma, at_once):
    x, sigma = signal(ndim, 3), sigma[:ndim]
    for layout in (x, nd.channels_last(x)):
        close(nd.smooth(layout, sigma), plain(x, sigma).detach())
        room = torch.full_like(x, torch.nan)
        assert nd.smooth(layout, sigma, out=room) is room
        close(room, plain(x, sigma).detach())
        there = layout.clone()
        assert nd.smooth(there, sigma, out=there) is there
        close(there, room)
    assert torch.equal(x, signal(ndim, 3))


@every_sigma
@every_ndim
def test_a_small_array_is_the_definition_bit_for_bit(ndim, sigma):
    for dtype in (torch.float32, torch.float64):
        x = signal(ndim, 3, dtype=dtype)
        assert torch.equal(nd.smooth(x, sigma[:ndim]), plain(x, sigma[:ndim]))


@pytest.mark.parametrize("size", [None, (1, 2, 3), (4, 1, 2)])
@every_sigma
@every_ndim
def test_the_adjoint_is_that_of_the_definition(ndim, sigma, size, at_once):
    sigma, size = sigma[:ndim], size and size[:ndim]
    x, y = signal(ndim, 3, size=size), signal(ndim, 3, seed=1, size=size)
    back = nd.smooth_adjoint(nd.channels_last(y), sigma)
    assert float((nd.smooth(x, sigma) * y).sum()) == pytest.approx(float((x * back).sum()), rel=1e-12, abs=1e-12)
    leaf = x.clone().requires_grad_()
    if any(sigma):
        close(back, torch.autograd.grad(plain(leaf, sigma), leaf, y)[0])
    there = y.clone()
    assert nd.smooth_adjoint(there, sigma, out=there) is there
    close(there, back)


@pytest.mark.parametrize("axis", NDIMS)
def test_pieces_of_lines_cover_everything_once(axis):
    shape = (2, 3, 4, 5)
    for lines in (0, 1, 2, 3, 7, 1000):
        seen = torch.zeros(shape)
        for piece in nd.line_pieces(shape, axis, lines):
            assert seen[piece].shape[axis] == shape[axis]
            assert seen[piece].numel() <= max(1, lines) * shape[axis]
            seen[piece] += 1
        assert torch.equal(seen, torch.ones(shape))


def parts(ndim, axis, count):
    """A split of the odd sizes, the slabs as unequal as they can be."""
    n = SIZES[ndim][axis]
    edges = [0, *((1, n) if count == 2 else (1, n // 2 + 1, n))]
    return Split.along_longest(SIZES[ndim], count, (1,) * ndim, (axis,)), Split(
        axis, tuple(Span(a, b) for a, b in pairwise(edges))
    )


def joined(split, count, work):
    """work(team, own), of every member's part of a signal, put together along the split axis."""
    results = together(count, lambda team: work(team, lambda x: x[box(split, team, x)]))
    return torch.cat(results, 2 + split.axis)


def box(split, team, x):
    return (slice(None), slice(None), *(slice(*s) for s in split.owned(team.rank, x.shape[2:])))


@pytest.mark.parametrize("at_once", [None, 3000], indirect=True)
@pytest.mark.parametrize("count", [2, 3])
@every_sigma
@every_ndim
def test_slabs_together_are_the_whole(ndim, sigma, count, at_once):
    x, sigma, size = signal(ndim, 3), sigma[:ndim], SIZES[ndim]
    for axis in range(ndim):
        for split in parts(ndim, axis, count):
            for name, want in (("__call__", nd.smooth(x, sigma)), ("adjoint", nd.smooth_adjoint(x, sigma))):

                def work(team, own, name=name, split=split):
                    run = getattr(SlabLowPass(team, split, size), name)
                    part = own(x)
                    result = run(part, sigma)
                    assert result is not part
                    there = nd.channels_last(part.clone())
                    assert run(there, sigma, out=there) is there
                    close(there, result)
                    return result

                close(joined(split, count, work), want)
    assert torch.equal(x, signal(ndim, 3))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("lock", SIGMAS[:4])
@every_ndim
def test_an_iterate_of_slabs_is_that_of_the_whole(ndim, lock, count, masked):
    lock = lock[:ndim]
    free = signal(ndim, 1, seed=5).clamp(0.0, 1.0) if masked else None
    base, z, y = signal(ndim), signal(ndim, seed=1), signal(ndim, seed=2)
    whole = Iterate(base, lock, free)
    for axis in range(ndim):
        for split in parts(ndim, axis, count):

            def iterate(team, own, split=split):
                low_pass = SlabLowPass(team, split, SIZES[ndim])
                return Iterate(own(base), lock, None if free is None else own(free), low_pass)

            close(joined(split, count, lambda team, own, of=iterate: of(team, own).signal(own(z))), whole.signal(z))
            close(joined(split, count, lambda team, own, of=iterate: of(team, own).vjp(own(y))), whole.vjp(y))


@every_ndim
def test_alone_is_the_whole(ndim):
    x, sigma = signal(ndim), SIGMAS[0][:ndim]
    split = Split.along_longest(SIZES[ndim], 1, (1,) * ndim, range(ndim))
    close(SlabLowPass(Team(), split, SIZES[ndim])(x, sigma), nd.smooth(x, sigma))
