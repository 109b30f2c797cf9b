"""Windows on signals with any border, and their transposes, against numpy and autograd."""

import numpy as np
import pytest
import torch
from core_helpers import NDIMS, SIZES, signal
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_nd import nd
from nst_nd.borders import window, window_adjoint
from nst_nd.boxes import Span, size_of, whole

NUMPY_PADDING = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def case(draw, padding):
    """What a tile has, what it needs of the continued signal, and the signal's size."""
    size, have, need = (), (), ()
    for _ in range(draw(st.sampled_from(NDIMS))):
        n = draw(st.integers(1, 9))
        reach = {"reflect": n - 1, "circular": n}.get(padding, 4)
        low, high = draw(st.integers(0, min(4, reach))), draw(st.integers(0, min(4, reach)))
        own = Span(0, n)
        if not (low or high):  # inside, where a part may be all there is
            start = draw(st.integers(0, n - 1))
            own = Span(start, draw(st.integers(start + 1, n)))
        inner = draw(st.integers(own.start, own.stop - 1))
        wanted = Span(-low if low else inner, n + high if high else draw(st.integers(inner + 1, own.stop)))
        size, have, need = (*size, n), (*have, own), (*need, wanted)
    return size, have, need


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(sorted(NUMPY_PADDING)), st.integers(1, 3))
def test_windows_are_cut_out_of_the_continued_signal(data, padding, nc):
    size, have, need = case(data.draw, padding)
    x = signal(len(size), nc, size=size)
    amounts = [(max(0, -n.start), max(0, n.stop - length)) for n, length in zip(need, size, strict=True)]
    continued = np.pad(x.numpy(), [(0, 0), (0, 0), *amounts], mode=NUMPY_PADDING[padding])
    at = (slice(n.start + low, n.stop + low) for n, (low, _) in zip(need, amounts, strict=True))
    want = continued[(slice(None), slice(None), *at)]
    mine = x[(slice(None), slice(None), *(slice(*h) for h in have))]
    np.testing.assert_array_equal(window(mine, have, need, size, padding).numpy(), want)
    # <W x, y> = <x, W* y>, and the same through autograd
    leaf = mine.clone().requires_grad_()
    shown = window(leaf, have, need, size, padding)
    np.testing.assert_array_equal(shown.detach().numpy(), want)
    y = signal(len(size), nc, seed=1, size=size_of(need))
    (slope,) = torch.autograd.grad(shown, leaf, y)
    torch.testing.assert_close(window_adjoint(y.clone(), have, need, size, padding), slope, rtol=1e-12, atol=1e-12)


def test_a_window_beyond_what_is_there_is_refused():
    x = signal(1, 1, size=(6,))
    with pytest.raises(ValueError, match="cannot show"):
        window(x, (Span(2, 8),), (Span(1, 8),), (10,), "zeros")
    with pytest.raises(ValueError, match="cannot show"):
        window(x, (Span(2, 8),), (Span(3, 11),), (10,), "circular")


@pytest.mark.parametrize("kernel", [(2, 2, 2), (3, 1, 2), (1, 1, 1), (4, 5, 3)])
@pytest.mark.parametrize("ndim", NDIMS)
def test_averages_and_their_transpose(ndim, kernel):
    kernel, size = kernel[:ndim], SIZES[ndim]
    leaf = nd.channels_last(signal(ndim, 3)).requires_grad_()
    want = nd.pool(leaf, kernel, "average")
    got = nd.average(leaf.detach(), kernel)
    torch.testing.assert_close(got, want.detach(), rtol=1e-14, atol=1e-14)
    assert got.data_ptr() != leaf.data_ptr()
    y = signal(ndim, 3, seed=1, size=tuple(want.shape[2:]))
    (slope,) = torch.autograd.grad(want, leaf, y)
    torch.testing.assert_close(nd.average_adjoint(y, kernel, size), slope, rtol=1e-14, atol=1e-14)
    assert nd.average_adjoint(y, kernel, size).shape[2:] == tuple(span.stop for span in whole(size))


@pytest.mark.parametrize("kernel", [(2, 2, 2), (3, 1, 2), (1, 1, 1), (4, 5, 3), (17, 17, 1)])
@pytest.mark.parametrize("ndim", NDIMS)
def test_maxima_and_their_transpose(ndim, kernel):
    kernel, size = kernel[:ndim], tuple(max(n, k + 3) for n, k in zip(SIZES[ndim], kernel, strict=False))
    leaf = nd.channels_last(signal(ndim, 3, size=size).round()).requires_grad_()  # ties: the first one counts
    want = nd.pool(leaf, kernel, "max")
    got, place = nd.maximum(leaf.detach(), kernel)
    assert torch.equal(got, want.detach())
    y = signal(ndim, 3, seed=1, size=tuple(want.shape[2:]))
    (slope,) = torch.autograd.grad(want, leaf, y)
    torch.testing.assert_close(nd.maximum_adjoint(y, place, kernel, size), slope, rtol=0, atol=0)
