"""Features of lung and fat: regions of their own where there are quiet squares, and as before where there are not."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from nst_nd.domains import tissue_regions
from nst_nd.domains.domain import Prepared, uniform_scaling
from nst_nd.domains.labels import shares_of
from nst_nd.domains.metrics.noise import gram_distance, noise_at, quiet_squares
from nst_nd.domains.stylize import Style, stylize
from nst_nd.domains.tissue_regions import FREE_HU, SQUARES_HU
from nst_nd.errors import ConfigError
from nst_nd.sample import Grid, Sample

SHAPE = (192, 112, 8)
HALF = 96
LEVELS = {"soft": 45.0, "fat": -95.0, "lung": -850.0}


def ct(data):
    grid = Grid((0.8, 0.8, 3.0), "mm", None, np.diag([0.8, 0.8, 3.0, 1.0]))
    return Sample(np.asarray(data, np.float32)[None], "volume", "HU", grid)


def noise(seed, sd, sigma, bursts=0.0):
    """Smoothed noise; bursts: how much its loudness varies from place to place, which no spectrum shows."""
    draw = np.random.default_rng(seed)
    drawn = gaussian_filter(draw.standard_normal(SHAPE), (sigma, sigma, 0.0), mode="wrap")
    loud = gaussian_filter(draw.standard_normal(SHAPE), (3.0, 3.0, 0.0), mode="wrap")
    drawn = drawn * np.exp(bursts * loud / loud.std())
    return sd * drawn / drawn.std()


def two_tissues(other, soft_noise, other_noise):
    """The other tissue in the first half, soft tissue in the second."""
    data = np.empty(SHAPE)
    data[:HALF] = LEVELS[other] + other_noise[:HALF]
    data[HALF:] = LEVELS["soft"] + soft_noise[HALF:]
    return ct(data)


@pytest.fixture(scope="module", params=["fat", "lung"])
def pair(request):
    content = two_tissues(request.param, noise(0, 10.0, 0.7), noise(1, 10.0, 0.7))
    style = two_tissues(request.param, noise(2, 20.0, 0.5), noise(3, 20.0, 0.5, bursts=0.7))
    return request.param, content, style


def distance(tissue, content, style, result):
    """Of the noise of a tissue: Gram, by the metric's own network."""
    limits = SQUARES_HU.get(tissue, (-50.0, 120.0))
    return gram_distance(
        noise_at(result, quiet_squares(content, limits)), noise_at(style, quiet_squares(style, limits))
    )


def restyled(content, styles, **settings):
    return stylize(content, styles, preset="ct", **settings)


def test_a_tissue_with_room_gets_a_texture_of_its_own(pair):
    tissue, content, style = pair
    without = restyled(content, style, tissues=(), iterations=10)
    found = restyled(content, style, iterations=10)
    assert any(note.startswith(f"{tissue}: ") and "features of its own" in note for note in found.notes)
    before, after = (distance(tissue, content, style, r.sample) for r in (without, found))
    assert after < 0.5 * before
    assert distance("soft", content, style, found.sample) < 1.3 * distance("soft", content, style, without.sample)
    change = found.sample.data - content.data
    for part in (change[:, :HALF], change[:, HALF:]):
        assert abs(part.mean()) < 0.2
    names = set(found.history[-1].terms)
    assert f"style-{tissue}/o0.relu1" in names
    assert "style-soft/o0.relu1" in names


def test_nothing_else_happens_where_there_is_no_room():
    content = ct(LEVELS["soft"] + noise(0, 10.0, 0.7))
    style = two_tissues("fat", noise(2, 20.0, 0.5), noise(3, 20.0, 0.5))
    with_tissues, without = (restyled(content, style, iterations=3, tissues=t).sample for t in (("lung", "fat"), ()))
    assert np.array_equal(with_tissues.data, without.data)


def test_masks_decide_what_has_room(pair):
    tissue, content, style = pair
    mask = np.ones(SHAPE, np.float32)
    mask[:HALF] = 0.0
    settings = {"iterations": 2}
    found = restyled(content, style, mask=ct(mask), **settings)
    assert any(f"{tissue}: 0 quiet squares of the content" in note for note in found.notes)
    assert np.array_equal(found.sample.data[:, :HALF], content.data[:, :HALF])
    found = restyled(content, Style(style, mask=ct(mask)), **settings)
    assert any("0 of the style" in note for note in found.notes)


def test_several_styles_share_each_tissue(pair):
    tissue, content, style = pair
    other = two_tissues(tissue, noise(4, 15.0, 0.6), noise(5, 15.0, 0.6))
    found = restyled(content, [Style(style, 3.0), Style(other, 1.0)], iterations=2)
    terms = {name.split("/")[0] for name in found.history[-1].terms}
    assert terms == {"content", *(f"style{n}-{t}" for n in (1, 2) for t in ("soft", tissue))}
    assert found.sample.data[:, :HALF].std() > content.data[:, :HALF].std()


def test_shares_are_by_weight_within_a_tissue_and_by_size_between():
    regions = torch.ones(1, 1, 30), torch.ones(1, 1, 10)
    both = Prepared(None, (), uniform_scaling(1, 1.0, 0.0), regions=regions, region_of=(0, 0, 1, 1))
    styles = [Style(ct(np.zeros((4, 4, 4))), 3.0), Style(ct(np.zeros((4, 4, 4))), 1.0)]
    assert shares_of(styles, both) == pytest.approx([9 / 16, 3 / 16, 3 / 16, 1 / 16])


def test_what_makes_no_sense_is_refused():
    a = ct(LEVELS["soft"] + noise(0, 10.0, 0.7))
    with pytest.raises(ConfigError, match="tissues: works on ct only"):
        stylize(a, a, preset="volume", tissues=("fat",))
    with pytest.raises(ConfigError, match="tissues names one twice"):
        restyled(a, a, tissues=("fat", "fat"))
    with pytest.raises(ConfigError, match="tissues: are for method both"):
        restyled(a, a, tissues=("fat",), method="spectral")


def test_a_protected_tissue_is_left(pair):
    tissue, content, style = pair
    protect = (-60.0, 400.0)
    found = restyled(content, style, iterations=1, protect=protect).sample
    outside = (content.data < protect[0]) | (content.data > protect[1])
    assert np.array_equal(found.data[outside], content.data[outside])
    found = restyled(content, style, iterations=1, protect=protect)
    assert any(note.startswith(f"{tissue}: some of it is protected") for note in found.notes)


def test_a_tissue_that_is_too_thin_is_left(monkeypatch, pair):
    tissue, content, style = pair
    monkeypatch.setattr(tissue_regions, "weight_within", lambda mask, squares: mask * 0.0)
    found = restyled(content, style, iterations=1)
    assert any(note.startswith(f"{tissue}: ") and "too thin" in note for note in found.notes)
    assert {name.split("/")[0] for name in found.history[-1].terms} == {"content", "style"}


def test_a_region_that_has_a_tissue_already_keeps_it(pair):
    tissue, content, style = pair
    found = restyled(content, style, iterations=1, region=(-900.0, 120.0))
    assert any(note.startswith(f"{tissue}: the region") for note in found.notes)
    assert {name.split("/")[0] for name in found.history[-1].terms} == {"content", "style"}


def test_ranges_of_tissues_do_not_meet():
    ranges = sorted([*FREE_HU.values(), (-20.0, 120.0)])
    assert all(a[1] < b[0] for a, b in pairwise(ranges))
    for tissue, (low, high) in SQUARES_HU.items():
        assert FREE_HU[tissue][0] < low < high < FREE_HU[tissue][1]
