"""How G is made from what is optimised, and the scales that it goes through."""

import pytest
import torch
from core_helpers import NDIMS, signal
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_nd import nd
from nst_nd.engine.pyramid import scale_sizes, share_iterations
from nst_nd.errors import InputError
from nst_nd.features.iterate import Iterate

every_ndim = pytest.mark.parametrize("ndim", NDIMS)


def locks(ndim):
    free = (signal(ndim, 1, seed=5) > 0).double()
    lock = (1.5, 0.0, 2.0)[:ndim]
    return [(None, None), (lock, None), (None, free), (lock, free)]


@pytest.mark.parametrize("case", range(4))
@every_ndim
def test_zero_is_the_base_bit_for_bit(ndim, case):
    lock, free = locks(ndim)[case]
    base = signal(ndim, dtype=torch.float32)
    iterate = Iterate(base, lock, None if free is None else free.float())
    assert torch.equal(iterate.signal(torch.zeros_like(base)), base)


@pytest.mark.parametrize("case", range(4))
@every_ndim
def test_vjp_is_the_adjoint_of_the_change(ndim, case):
    lock, free = locks(ndim)[case]
    iterate = Iterate(signal(ndim), lock, free)
    z, y = signal(ndim, seed=1), signal(ndim, seed=2)
    assert float((iterate.change(z) * y).sum()) == pytest.approx(float((z * iterate.vjp(y)).sum()), abs=1e-9)
    leaf = z.clone().requires_grad_()
    (want,) = torch.autograd.grad(iterate.signal(leaf), leaf, y)
    torch.testing.assert_close(iterate.vjp(y), want, rtol=1e-12, atol=1e-12)
    if free is not None:
        outside = (free == 0).expand_as(z)
        assert torch.equal(iterate.signal(z)[outside], iterate.base[outside])


@pytest.mark.parametrize("case", range(4))
@every_ndim
def test_nothing_that_comes_in_is_changed(ndim, case):
    for lock in {locks(ndim)[case][0], locks(ndim)[case][0] and (0.0,) * ndim}:
        base, z, free = signal(ndim), signal(ndim, seed=1), locks(ndim)[case][1]
        iterate = Iterate(base, lock, free)
        for work in (iterate.signal, iterate.change, iterate.vjp):
            assert torch.equal(work(z), work(z))
            if lock is not None and not any(lock):
                close_to = base if work == iterate.signal else torch.zeros_like(z)
                inside = torch.ones_like(z) if free is None else free.expand_as(z)
                torch.testing.assert_close((work(z) - close_to) * inside, torch.zeros_like(z))
        assert torch.equal(z, signal(ndim, seed=1))
        assert torch.equal(base, signal(ndim))
        assert free is None or torch.equal(free, locks(ndim)[case][1])


@every_ndim
def test_the_low_pass_of_the_mask_is_computed_once(ndim):
    seen = []

    class Counted:
        def __call__(self, x, sigma, *, out=None):
            seen.append(x)
            return nd.smooth(x, sigma, out=out)

        def adjoint(self, x, sigma, *, out=None):
            return nd.smooth_adjoint(x, sigma, out=out)

    lock, free = locks(ndim)[3]
    iterate = Iterate(signal(ndim), lock, free, Counted())
    for _ in range(3):
        iterate.vjp(iterate.change(signal(ndim, seed=1)))
    assert sum(x is free for x in seen) == 1
    assert len(seen) == 7


@pytest.mark.parametrize("masked", [False, True])
@every_ndim
def test_a_lock_keeps_the_level(ndim, masked):
    free = locks(ndim)[3][1] if masked else None
    iterate = Iterate(signal(ndim), (1.0,) * ndim, free)
    constant = torch.full_like(iterate.base, 40.0)
    torch.testing.assert_close(iterate.change(constant), torch.zeros_like(constant), atol=1e-12, rtol=0.0)


@every_ndim
def test_what_must_not_change_does_not_leak_into_what_may(ndim):
    iterate = Iterate(signal(ndim), (1.0,) * ndim, locks(ndim)[3][1])
    z = signal(ndim, seed=1)
    loud = torch.where(iterate.free > 0, z, 1e6)
    torch.testing.assert_close(iterate.change(loud), iterate.change(z), rtol=0.0, atol=0.0)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=3),
    st.lists(st.floats(0.01, 0.99), max_size=4, unique=True),
    st.integers(1, 16),
)
def test_scales(shape, shares, least):
    shares, need = [*sorted(shares), 1.0], [least] * len(shape)
    if min(shape) < least:
        with pytest.raises(InputError, match="need at least"):
            scale_sizes(shape, shares, need)
        return
    scales = scale_sizes(shape, shares, need)
    assert scales[-1] == (tuple(shape), 1.0)
    assert [share for _, share in scales] == shares[len(shares) - len(scales) :]
    for size, share in scales:
        assert all(n >= least and abs(n - full * share) <= 1.0 for n, full in zip(size, shape, strict=True))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1000), st.lists(st.floats(0.1, 0.99), max_size=4, unique=True), st.sampled_from(NDIMS))
def test_shares_of_iterations(total, shares, ndim):
    shares = [*sorted(shares), 1.0]
    steps = share_iterations(total, shares, ndim)
    assert sum(steps) == total
    assert len(steps) == len(shares)
    assert min(steps) >= 0
    assert steps == sorted(steps, reverse=True)
    # proportional to the inverse square root of the positions, but for rounding
    positions = [share**ndim for share in shares]
    fair = [total * p**-0.5 / sum(q**-0.5 for q in positions) for p in positions]
    assert all(abs(n - f) <= len(shares) for n, f in zip(steps, fair, strict=True))
