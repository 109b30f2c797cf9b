"""Lesions of known contrast in noise of known deviation."""

import numpy as np
import pytest
from scipy.stats import norm
from test_noise_metrics import ct

from nst_nd import scratch
from nst_nd.domains.metrics.lesions import contrast, detections, matched_filter, threshold_for
from nst_nd.errors import InputError

SPACING = (0.7, 0.7, 1.0)
SHAPE = (96, 90, 40)
EVERYWHERE = np.ones(SHAPE, bool)


def noise(seed, sd=10.0, shape=SHAPE):
    return 50.0 + np.random.default_rng(seed).normal(0.0, sd, shape)


def ball(centre, radius, shape=SHAPE):
    """Voxels whose middle lies inside; an index less in centre is a cylinder."""
    pairs = zip(np.indices(shape), centre, SPACING, strict=False)
    return sum(((axis - c) * mm) ** 2 for axis, c, mm in pairs) <= radius**2


@pytest.mark.parametrize("radius", [3.0, 5.0, 8.0])
@pytest.mark.parametrize("centre", [(47.2, 43.9, 19.5), (47.2, 43.9)], ids=["ball", "disc"])
def test_contrast_is_what_was_inserted(centre, radius):
    data = np.full(SHAPE, 50.0)
    data[ball(centre, radius)] += 12.0
    ring = (1.3 * radius, 2.0 * radius)
    assert contrast(ct(data, SPACING), centre, radius, ring) == pytest.approx(12.0, rel=1e-5)
    noisy = ct(data + noise(1, 5.0) - 50.0, SPACING)
    assert contrast(noisy, centre, radius, ring) == pytest.approx(12.0, abs=4 * 5.0 / np.sqrt(ball(centre, 3.0).sum()))


def test_contrast_in_single_slices_and_outside():
    data = np.full(SHAPE, 50.0)
    data[..., :10][ball((40.0, 40.0), 5.0)[..., :10]] -= 30.0
    sample = ct(data, SPACING)
    assert contrast(sample, (40.0, 40.0), 5.0, (7.0, 10.0), slice(10)) == pytest.approx(-30.0)
    assert contrast(sample, (40.0, 40.0), 5.0, (7.0, 10.0), slice(10, 40)) == 0.0
    assert np.isnan(contrast(sample, (-90.0, 40.0), 5.0, (7.0, 10.0)))
    with pytest.raises(InputError, match="must grow"):
        contrast(sample, (40.0, 40.0), 5.0, (4.0, 10.0))


@pytest.mark.parametrize("flat", [True, False])
def test_the_filter_leaves_a_known_share_of_white_noise(flat):
    weights = matched_filter(SPACING, 3.0, flat=flat)
    assert weights.sum() == pytest.approx(0.0, abs=1e-9)
    assert (weights.shape[2] == 1) == flat
    sd = 10.0 * np.sqrt(np.sum(weights**2))
    # with a reach of no voxel every place is its own maximum: how often is the normal law's
    found = detections(ct(noise(2), SPACING), EVERYWHERE, 3.0, -np.inf, flat=flat)[1]
    assert found.mean() > sd  # maxima are above the mean
    a, b, c = weights.shape
    fits = (SHAPE[0] - a + 1) * (SHAPE[1] - b + 1) * (SHAPE[2] - c + 1)
    high = norm.isf(200.0 / fits) * sd
    # of the 200 voxels beyond it, neighbours share a maximum
    assert 10 < (found > high).sum() < 200
    # and of the opposite sign as many
    dark = detections(ct(-noise(2), SPACING), EVERYWHERE, 3.0, high, flat=flat)[1]
    assert 10 < len(dark) < 200
    far = norm.isf(0.01 / fits) * sd
    assert not (found > far).any()


def test_every_voxel_that_exceeds_counts_where_bodies_are_small():
    """A body within its voxel has no neighbours to share a maximum with: the rate is the normal law's."""
    spacing = (1.0, 1.0, 1.0)
    weights = matched_filter(spacing, 0.7, flat=True)
    assert weights.shape == (3, 3, 1)
    sd = 10.0 * np.sqrt(np.sum(weights**2))
    found = detections(ct(noise(3), spacing), EVERYWHERE, 0.7, 2.0 * sd, flat=True)[0]
    want = norm.sf(2.0) * 94 * 88 * 40
    assert len(found) == pytest.approx(want, rel=0.06)


@pytest.mark.parametrize("flat", [True, False])
def test_false_alarms_come_at_the_rate_of_the_references(flat):
    references = [(ct(noise(seed), SPACING), EVERYWHERE) for seed in (4, 5)]
    ml = EVERYWHERE.sum() * 0.49 / 1000.0
    limit = threshold_for(references, 3.0, 0.5, flat=flat)
    own = sum(len(detections(s, mask, 3.0, limit, flat=flat)[0]) for s, mask in references)
    assert own == int(0.5 * 2 * ml)
    new = len(detections(ct(noise(6), SPACING), EVERYWHERE, 3.0, limit, flat=flat)[0])
    assert abs(new - 0.5 * ml) < 4 * np.sqrt(1.5 * 0.5 * ml)
    louder = len(detections(ct(noise(6, 20.0), SPACING), EVERYWHERE, 3.0, limit, flat=flat)[0])
    assert louder > 2 * new
    assert threshold_for(references, 3.0, 1e9, flat=flat) == -np.inf


@pytest.mark.parametrize("radius", [3.0, 5.0])
def test_an_inserted_lesion_is_found(radius):
    data, centre = noise(7), (50, 41, 18)
    data[ball(centre, radius)] += 20.0
    limit = threshold_for([(ct(noise(8), SPACING), EVERYWHERE)], radius, 0.01)
    places, scores = detections(ct(data, SPACING), EVERYWHERE, radius, limit)
    assert len(places) >= 1
    assert np.abs((places[0] - centre) * SPACING).max() <= 1.1
    assert scores[0] == pytest.approx(20.0, rel=0.25)
    assert (np.diff(scores) <= 0).all()
    # not where nobody looks
    elsewhere = ~ball(centre, 2 * radius)
    places, _ = detections(ct(data, SPACING), elsewhere, radius, 0.0)
    assert len(places) > 10
    assert elsewhere[tuple(places.T)].all()


def test_a_level_is_not_a_lesion():
    assert not len(detections(ct(np.full(SHAPE, 900.0), SPACING), EVERYWHERE, 3.0, 1e-3)[0])
    # a volume thinner than the filter has no place for it
    thin = (96, 90, 3)
    assert not len(detections(ct(noise(9, shape=thin), SPACING), np.ones(thin, bool), 8.0, -np.inf)[0])


def test_pieces_give_the_same(monkeypatch):
    whole = detections(ct(noise(10), SPACING), EVERYWHERE, 3.0, 5.0)
    monkeypatch.setattr(scratch, "LARGE", 1)
    monkeypatch.setattr(scratch, "PIECE", 90 * 40 * 8 * 7)
    torn = detections(ct(noise(10), SPACING), EVERYWHERE, 3.0, 5.0)
    np.testing.assert_array_equal(torn[0], whole[0])
    np.testing.assert_allclose(torn[1], whole[1], rtol=1e-4)


def test_what_cannot_be_looked_for():
    sample = ct(noise(11), SPACING)
    with pytest.raises(InputError, match="mask has shape"):
        detections(sample, EVERYWHERE[1:], 3.0, 0.0)
    with pytest.raises(InputError, match="too small"):
        detections(sample, EVERYWHERE, 0.01, 0.0)
    with pytest.raises(InputError, match="empty"):
        threshold_for([(sample, ~EVERYWHERE)], 3.0, 1.0)
