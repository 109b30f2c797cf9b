"""Label maps: each part of a content by styles of its own, and everything else as it was."""

import numpy as np
import pytest
import torch
from core_samples import MAKE, QUICK, bits, image, mask_of
from scipy.ndimage import gaussian_filter

from nst_nd import Grid, Sample, Style, stylize
from nst_nd.domains.domain import Prepared, uniform_scaling
from nst_nd.domains.labels import Part, parts_of, shares_of
from nst_nd.domains.metrics.noise import noise_at, quiet_squares
from nst_nd.errors import ConfigError, InputError

DOMAINS = ("image", "audio", "ecg", "volume")


def run(preset, content, styles, **changes):
    return stylize(content, styles, **{"preset": preset, **QUICK, "iterations": 4, **changes})


def map_of(content, left=1, right=2):
    """The left half of the last axis is one label, most of the right half another, the end 9."""
    labels = np.full((1, *content.shape), right, np.float32)
    length = content.shape[-1]
    labels[..., : length // 2] = left
    labels[..., -max(2, length // 8) :] = 9
    return mask_of(content).replace(data=labels)


@pytest.mark.parametrize("preset", DOMAINS)
def test_what_no_style_is_for_stays_and_the_rest_changes(preset):
    content, a, b = (MAKE[preset](seed=seed) for seed in (1, 2, 3))
    labels = map_of(content)
    result = run(preset, content, [Style(a, labels=(1,)), Style(b, labels=(2,))], labels=labels).sample
    for label in (1, 2, 9):
        where = np.broadcast_to(labels.data == label, content.data.shape)
        assert np.array_equal(result.data[where], content.data[where]) == (label == 9)


@pytest.mark.parametrize("preset", ["image", "volume"])
def test_one_part_is_a_mask(preset):
    content, style = MAKE[preset](seed=1), MAKE[preset](seed=2)
    labels = map_of(content)
    mask = labels.replace(data=(labels.data == 1).astype(np.float32))
    by_label = run(preset, content, Style(style, labels=(1,)), labels=labels)
    assert bits(by_label.sample) == bits(run(preset, content, style, mask=mask).sample)


def test_the_style_of_one_part_has_no_say_in_the_other():
    content, a, b, c = (image(1, (48, 64), seed=seed) for seed in (1, 2, 3, 4))
    labels = map_of(content)
    options = {"iterations": 1, "content_weight": 0.0, "style_scale": None, "optimizer": "adam", "scales": (1.0,)}
    first, other = (
        run("image", content, [Style(a, labels=(1,)), Style(x, labels=(2,))], labels=labels, **options).sample.data
        for x in (b, c)
    )
    far = slice(0, 64 // 2 - 20)  # of the border, by more than the networks see
    assert np.array_equal(first[..., far], other[..., far])
    assert not np.array_equal(first[..., 40:50], other[..., 40:50])


def test_groups_of_labels_and_several_styles_for_one():
    styles = [Style(image(seed=i), w, labels=own) for i, w, own in ((1, 1.0, (2, 1)), (2, 3.0, (1, 2)), (3, 1.0, (5,)))]
    parts = parts_of(styles, map_of(image(seed=0)))
    assert parts == [Part((1, 2), (0, 1)), Part((5,), (2,))]


def test_shares_go_by_size_between_parts_and_by_weight_within():
    regions = (torch.ones(1, 1, 6), torch.ones(1, 1, 6) * 0.5)
    prepared = Prepared(None, (), uniform_scaling(1, 1.0, 0.0), regions=regions, region_of=(0, 0, 1))
    styles = [Style(image(seed=i), w) for i, w in ((1, 1.0), (2, 3.0), (3, 7.0))]
    assert shares_of(styles, prepared) == pytest.approx([1 / 6, 3 / 6, 2 / 6])


def test_wrong_labels_are_refused():
    content, a, b = (image(1, (32, 40), seed=seed) for seed in (1, 2, 3))
    labels = map_of(content)

    def given(*own, labels=labels, **options):
        return run(
            "image", content, [Style(s, labels=o) for s, o in zip((a, b), own, strict=True)], labels=labels, **options
        )

    with pytest.raises(InputError, match="label 4 is nowhere in the label map; it has 1, 2, 9"):
        given((1,), (4,))
    with pytest.raises(ConfigError, match="style 2 has no labels"):
        given((1,), ())
    with pytest.raises(ConfigError, match="style 1 has labels, and there is no label map"):
        given((1,), (2,), labels=None)
    with pytest.raises(ConfigError, match="label 2 is in two groups"):
        given((1, 2), (2,))
    with pytest.raises(InputError, match="the label map has size"):
        given((1,), (2,), labels=labels.replace(data=labels.data[..., 1:]))
    with pytest.raises(InputError, match="allowed: at most 1024 whole numbers"):
        given((1,), (2,), labels=labels.replace(data=labels.data + 0.25))
    with pytest.raises(InputError, match="allowed: at most 1024 whole numbers"):
        given((1,), (2,), labels=labels.replace(data=-labels.data))
    with pytest.raises(InputError, match="has 3 channels; allowed: one"):
        given((1,), (2,), labels=labels.replace(data=np.repeat(labels.data, 3, axis=0)))
    with pytest.raises(InputError, match="label 2: the mask or the preset's region leaves no position"):
        given((1,), (2,), mask=labels.replace(data=(labels.data == 1).astype(np.float32)))
    with pytest.raises(InputError, match="a label map needs a content"):
        stylize(None, Style(a, labels=(1,)), labels=labels, preset="image", **QUICK)


def ct(data):
    grid = Grid((0.8, 0.8, 3.0), "mm", None, np.diag([0.8, 0.8, 3.0, 1.0]))
    return Sample(np.asarray(data, np.float32)[None], "volume", "HU", grid)


@pytest.mark.parametrize("method", ["spectral", "both"])
def test_ct_gets_the_noise_of_each_parts_style(method):
    shape = (192, 128, 8)

    def noise(seed, sd, sigma):
        drawn = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), (sigma, sigma, 0.0), mode="wrap")
        return sd * drawn / drawn.std()

    content = ct(50 + noise(0, 10.0, 0.8))
    styles = [ct(50 + noise(1, 25.0, 0.4)), ct(50 + noise(2, 18.0, 0.6))]
    labels = np.zeros(shape)
    labels[:80], labels[80:160] = 1, 2
    found = stylize(
        content,
        [Style(s, labels=(n,)) for n, s in enumerate(styles, start=1)],
        labels=ct(labels),
        preset="ct",
        method=method,
        iterations=3,
    ).sample
    assert np.array_equal(found.data[:, 160:], content.data[:, 160:])
    corners = quiet_squares(content)
    for wanted, (low, high) in zip((25.0, 18.0), ((0, 80), (80, 160)), strict=True):
        here = corners[(corners[:, 0] >= low) & (corners[:, 0] + 32 <= high)]
        assert noise_at(found, here).sd == pytest.approx(wanted, rel=0.08)
