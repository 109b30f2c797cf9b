"""Peaks of one map against brute force; the best of many."""

import numpy as np
import pytest
import torch

from nst_nd import scratch
from nst_nd.boxes import Span, tiles, whole
from nst_nd.patches.peaks import ActivationMap, Best


def made(values):
    """A map of one unit."""
    found = ActivationMap([0], values.shape)
    found.take(whole(values.shape), torch.from_numpy(values)[None, None])
    return found


def brute(values, reach, count):
    """Greedy suppression, position by position."""
    order = sorted(np.ndindex(values.shape), key=lambda p: -values[p])
    kept = []
    for p in order:
        if not any(all(abs(a - b) <= r for a, b, r in zip(p, q, reach, strict=True)) for q in kept):
            kept.append(p)
    return kept[:count]


@pytest.mark.parametrize(
    ("size", "reach"), [((90,), (7,)), ((23, 31), (3, 5)), ((9, 11, 13), (2, 0, 4)), ((6, 6), (9, 9))]
)
@pytest.mark.parametrize("seed", range(4))
def test_against_brute_force(size, reach, seed, monkeypatch):
    monkeypatch.setattr(scratch, "PIECE", 256)  # many parts
    values = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    found = [peak for peak, _ in zip(made(values).peaks(0, reach), range(12), strict=False)]
    assert [peak.position for peak in found] == brute(values, reach, 12)
    assert [peak.activation for peak in found] == [values[p] for p in brute(values, reach, 12)]


def test_neighbours_do_not_fill_the_grid():
    values = np.zeros((40, 40), np.float32)
    values[10:14, 20:24] = 5.0 + np.arange(16, dtype=np.float32).reshape(4, 4) / 10
    values[30, 5] = 1.0
    found = list(made(values).peaks(0, (4, 4)))
    assert [peak.position for peak in found] == [(13, 23), (30, 5)]


def test_the_first_of_equals_whatever_rounding_says():
    values = np.full((20,), 3.0, np.float32)
    values[11] += 1e-6
    assert [peak.position for peak in made(values).peaks(0, (4,))] == [(0,), (5,), (10,), (15,)]


def test_no_response_is_no_peak():
    assert not list(made(np.zeros((5, 5), np.float32)).peaks(0, (1, 1)))
    below = made(-np.ones((4,), np.float32) - np.arange(4, dtype=np.float32))
    assert [peak.activation for peak in below.peaks(0, (1,))] == [-1.0, -3.0]


def test_tiles_in_any_order_make_the_same_map():
    values = torch.randn(1, 3, 17, 19, generator=torch.Generator().manual_seed(0))
    once, again = ActivationMap([2, 0], (17, 19)), ActivationMap([2, 0], (17, 19))
    once.take(whole((17, 19)), values)
    for box in reversed(tiles(whole((17, 19)), (5, 4), (1, 1))):
        again.take(box, values[(slice(None), slice(None), *(slice(s.start, s.stop) for s in box))])
    assert np.array_equal(once.values, again.values)
    assert list(once.peaks(0, (2, 2))) == list(again.peaks(0, (2, 2)))


def test_what_does_not_count():
    found = made(np.arange(1, 21, dtype=np.float32))
    found.keep((Span(3, 15),))
    weight = torch.ones(1, 1, 20)
    weight[..., 10:] = 0
    found.leave_out(weight)
    assert [peak.position for peak in found.peaks(0, (2,))] == [(9,), (6,), (3,)]


def test_the_best_of_many():
    best = Best(3)
    for activation, name in ((1.0, "a"), (3.0, "b"), (3.0 + 1e-7, "c"), (2.0, "d"), (5.0, "e"), (3.0, "f")):
        assert best.wants(activation) == (name not in "f")
        best.add(activation, name)
    assert best.items == ["e", "b", "c"]
    assert not best.wants(3.0)
    assert best.wants(3.1)
