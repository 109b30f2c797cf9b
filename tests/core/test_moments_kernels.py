"""The Triton kernels of moments, by their interpreter, against the float64 definition; and which one is taken."""

from __future__ import annotations

import pytest
import torch
from core_samples import MAKE, QUICK
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_nd import stylize
from nst_nd.kernels import moments as chooser
from nst_nd.kernels import moments_torch, moments_triton

# of the norm: float32 sums; 16 bits round what is centred or weighted once, and a gradient once more
FORWARD = {torch.float32: 1e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}
BACKWARD = {torch.float32: 1e-6, torch.bfloat16: 3e-2, torch.float16: 3e-3}


def features(batch: int, channels: int, positions: int, dtype: torch.dtype, layout: str, seed: int) -> torch.Tensor:
    """[B, C, N] as `layout` says: channels outermost or innermost, or every other one of a larger array."""
    generator = torch.Generator().manual_seed(seed)
    factor = 2 if layout == "sliced" else 1
    drawn = torch.randn(batch, factor * channels, factor * positions, generator=generator) + 0.5
    drawn = drawn.to(dtype)
    if layout == "innermost":
        return drawn.mT.contiguous().mT
    return drawn[:, ::factor, ::factor]


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    assert found.shape == wanted.shape
    assert torch.isfinite(found).all()
    assert (found.double() - wanted).norm() <= tolerance * wanted.norm() + 1e-12


def double(x: torch.Tensor | None) -> torch.Tensor | None:
    return None if x is None else x.double()


@st.composite
def drawn(draw):
    channels, positions = draw(st.integers(1, 80)), draw(st.integers(1, 700))
    batch, seed = draw(st.integers(1, 2)), draw(st.integers(0, 2**16))
    dtype = draw(st.sampled_from(list(FORWARD)))
    f = features(batch, channels, positions, dtype, draw(st.sampled_from(["first", "innermost", "sliced"])), seed)
    generator = torch.Generator().manual_seed(seed + 1)
    weight = {
        "none": None,
        "shared": torch.rand(positions, generator=generator),
        "mask": (torch.rand(batch, positions, generator=generator) > 0.5).float(),
    }[draw(st.sampled_from(["none", "shared", "mask"]))]
    pivot = torch.randn(channels, generator=generator) if draw(st.booleans()) else None
    return f, weight, pivot, generator


@settings(max_examples=25, deadline=None)
@given(drawn(), st.booleans())
def test_moments_are_those_of_the_definition(case, with_sum):
    f, weight, pivot, _ = case
    count, total, outer = moments_triton.moments(f, weight, pivot, with_sum=with_sum)
    wanted = chooser.moments(f.double(), double(weight), double(pivot), with_sum=with_sum)
    torch.testing.assert_close(count, wanted[0])
    close(outer, wanted[2], FORWARD[f.dtype])
    assert torch.equal(outer, outer.mT)
    assert (total is not None) == with_sum
    if total is not None:
        # sums may cancel: what they are made of says how far rounding goes
        assert (total - wanted[1]).abs().max() <= FORWARD[f.dtype] * f.double().abs().sum(-1).max() + 1e-12


@settings(max_examples=25, deadline=None)
@given(drawn(), st.booleans(), st.booleans())
def test_the_way_back_is_that_of_the_definition(case, with_sum, into):
    f, weight, pivot, generator = case
    channels = f.shape[1]
    # as small as the gradients of relative costs are: in float16 these alone would be 0
    at_outer = torch.randn(channels, channels, generator=generator).double() * 1e-9
    at_sum = torch.randn(channels, generator=generator).double() * 1e-3 if with_sum else None
    there = torch.randn(f.shape, generator=generator).to(f.dtype) * 1e-3 if into else None
    if f.dtype == torch.float16 and at_sum is None and there is None:
        at_outer = at_outer * 1e7  # float16 itself ends at 6e-8
    wanted = chooser.moments_vjp(
        f.double(), double(weight), double(pivot), at_sum, at_outer, None if there is None else there.double()
    )
    kept = None if there is None else there.clone()
    found = moments_triton.moments_vjp(f, weight, pivot, at_sum, at_outer, kept)
    assert found.dtype == f.dtype
    assert (found is kept) == into
    close(found, wanted, BACKWARD[f.dtype])


@settings(max_examples=25, deadline=None)
@given(drawn())
def test_the_definition_sums_16_bits_in_float32(case):
    f, weight, pivot, generator = case
    at_outer = torch.randn(f.shape[1], f.shape[1], generator=generator).double() * 1e-3
    exact = [chooser.moments(f.double(), double(weight), double(pivot))[2]]
    exact.append(chooser.moments_vjp(f.double(), double(weight), double(pivot), None, at_outer, None))
    close(chooser.moments(f, weight, pivot)[2], exact[0], 1e-5)
    close(chooser.moments_vjp(f, weight, pivot, None, at_outer, None), exact[1], BACKWARD[f.dtype])


def test_nothing_sums_to_nothing():
    f = torch.zeros(2, 3, 0)
    for module in (moments_triton, chooser):
        count, total, outer = module.moments(f, None, None)
        assert count.tolist() == [0, 0]
        assert not total.any()
        assert not outer.any()
        assert module.moments_vjp(f, None, None, None, torch.eye(3).double(), None).shape == f.shape


def test_one_signal_has_no_batch_axis():
    f = features(1, 5, 130, torch.float32, "first", 0)[0]
    count, total, outer = moments_triton.moments(f, None, None)
    wanted = moments_torch.moments(f.double(), None, None)
    assert count.shape == ()
    assert count == 130
    close(total, wanted[1], 1e-6)
    close(outer, wanted[2], 1e-6)
    at_outer = torch.eye(5, dtype=torch.float64)
    close(moments_triton.moments_vjp(f, None, None, None, at_outer, None), 2 * f.double(), 1e-6)


@given(st.integers(1, 1024), st.integers(1, 10**8), st.integers(1, 8))
def test_spans_cover_the_positions_once(channels, positions, items):
    parts, length = moments_triton.spans(channels, positions, items)
    assert (parts - 1) * length < positions <= parts * length
    assert 0 < length <= moments_triton.LONGEST_SPAN
    assert length % 64 == 0
    # what partial sums take stays below the features themselves
    assert parts == 1 or length >= 4 * channels
    assert parts < 65536  # the grid's second axis


def test_many_spans_are_one_sum():
    f = features(1, 3, 20_000, torch.float32, "innermost", 1)
    assert moments_triton.spans(3, 20_000, 1)[0] > 100
    close(moments_triton.moments(f, None, None)[2], chooser.moments(f.double(), None, None)[2], 1e-6)


def test_the_kernel_is_for_newer_gpus_and_short_numbers(monkeypatch):
    gpu = torch.device("cuda:0")
    monkeypatch.setattr(chooser, "_capable", lambda index: True)
    assert chooser.implementation(gpu) == "triton"
    assert chooser.implementation(gpu, torch.bfloat16) == "triton"
    assert chooser.implementation(gpu, torch.float64) == "torch"
    assert chooser.implementation(torch.device("cpu")) == "torch"
    monkeypatch.setattr(chooser, "_capable", lambda index: False)
    assert chooser.implementation(gpu) == "torch"


@pytest.mark.parametrize("statistic", ["gram", "covariance"])
@pytest.mark.parametrize("kind", ["image", "volume"])
def test_a_transfer_is_the_same_on_them(monkeypatch, statistic, kind):
    content, style = MAKE[kind](seed=0), MAKE[kind](seed=1)
    config = {"preset": kind, **QUICK, "statistic": statistic}
    plain = stylize(content, style, **config)
    calls = []
    monkeypatch.setattr(chooser, "implementation", lambda *_: calls.append(1) or "triton")
    by_kernels = stylize(content, style, **config)
    assert calls
    losses = torch.tensor([[step.loss for step in result.history] for result in (plain, by_kernels)])
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=0)
