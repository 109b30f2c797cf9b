"""Large arrays go through preparation, scaling, masks and metrics by pieces: with what they give as a whole."""

import numpy as np
import pytest
import torch
from core_samples import MAKE, PRESETS, ct, mask_of, volume
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, gaussian_filter

from nst_nd import Style, scratch
from nst_nd.domains import PRESETS as DOMAINS
from nst_nd.domains.filters import detail, eroded, gaussian, smoothed
from nst_nd.domains.masks import with_masks
from nst_nd.domains.metrics import measure
from nst_nd.domains.metrics.running import Running
from nst_nd.domains.resolve import resolve
from nst_nd.domains.selection import percentiles
from nst_nd.errors import InputError
from nst_nd.features.iterate import Iterate

tiny = pytest.mark.parametrize("size", [8, 300, 2000])


@pytest.fixture
def tear(monkeypatch):
    def to(size):
        monkeypatch.setattr(scratch, "PIECE", size)
        monkeypatch.setattr(scratch, "LARGE", 1)

    return to


@tiny
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("preset", PRESETS)
def test_scaling(preset, dtype, size, tear):
    content, style = (MAKE[preset](2 if preset != "image" else 3, seed=s, dtype=dtype) for s in (1, 2))
    content.data.reshape(-1)[:2] = -0.0, 0.0
    scaling = DOMAINS[preset].prepare(content, [style], resolve({"preset": preset}, content.kind)).scaling
    change = torch.randn(1, *content.data.shape, generator=torch.Generator().manual_seed(1))
    change[:, :, ::2] = 0.0
    want = scaling.encode(content.data), scaling.apply(content.data, change), scaling.decode(change)
    tear(size)
    found = scaling.encode(content.data), scaling.apply(content.data, change), scaling.decode(change)
    assert scratch.is_mapped(found[0])
    assert [np.asarray(a).tobytes() for a in found] == [np.asarray(a).tobytes() for a in want]
    assert found[1].dtype == dtype
    strided = change.transpose(-1, 1).contiguous().transpose(-1, 1)
    assert scaling.apply(content.data, strided).tobytes() == want[1].tobytes()


@tiny
@pytest.mark.parametrize("nc", [1, 2])
@pytest.mark.parametrize(
    ("preset", "options"),
    [
        ("volume", {}),
        ("volume", {"intensity": "own"}),
        ("ct", {}),
        ("ct", {"lock_mm": None}),
        ("ct", {"region": None}),
        ("ct", {"protect": None}),
    ],
)
def test_volumes(preset, options, nc, size, tear):
    content, style = (MAKE[preset](nc, seed=seed) for seed in (1, 2))
    resolved = resolve({"preset": preset, **options}, "volume")
    whole = DOMAINS[preset].prepare(content, [style], resolved)
    tear(size)
    torn = DOMAINS[preset].prepare(content, [style], resolved)
    pairs = [(whole.content, torn.content), *zip(whole.styles, torn.styles, strict=True)]
    for a, b in pairs:  # a convolution of a piece may sum in another order
        torch.testing.assert_close(b, a, rtol=0.0, atol=2e-4 if resolved.region and resolved.lock_mm else 0.0)
    pairs = [(whole.free, torn.free), (whole.weight, torn.weight)]
    for a, b in [*pairs, *zip(whole.style_weights, torn.style_weights, strict=True)]:
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)
    np.testing.assert_array_equal(torn.scaling.gain, whole.scaling.gain)
    np.testing.assert_array_equal(torn.scaling.offset, whole.scaling.offset)
    assert torn.notes == whole.notes


def test_a_region_that_is_nowhere_says_what_values_there_are(tear):
    tear(300)
    with pytest.raises(InputError, match=r"between 5000 and 6000 \(values .* to .*\)"):
        DOMAINS["ct"].prepare(ct(seed=1), [ct(seed=2)], resolve({"preset": "ct", "region": (5000, 6000)}, "volume"))


@tiny
def test_masks(size, tear):
    content, style = ct(seed=1), ct(seed=2)
    mask, share = mask_of(content), mask_of(style, 0.3)
    share = share.replace(data=(0.25 * share.data).astype(np.float32))
    prepared = DOMAINS["ct"].prepare(content, [style], resolve({"preset": "ct"}, "volume"))
    whole = with_masks(prepared, content, [Style(style, mask=share)], mask)
    tear(size)
    torn = with_masks(prepared, content, [Style(style, mask=share)], mask)
    given = torch.from_numpy(mask.data)[None]
    assert torch.equal(torn.free, prepared.free * (given > 0))
    assert torch.equal(torn.weight, prepared.weight * given)
    for a, b in [(whole.free, torn.free), (whole.weight, torn.weight), (whole.style_weights[0], torn.style_weights[0])]:
        assert torch.equal(a, b)
    empty = mask.replace(data=np.zeros_like(mask.data))
    with pytest.raises(InputError, match="values 0 to 0"):
        with_masks(prepared, content, [Style(style)], empty)


@tiny
@pytest.mark.parametrize("sigma", [(1.5, 0.7, 2.0), (2.0, 1.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0)])
def test_filters_are_scipys(sigma, size, tear):
    tear(size)
    data = volume(seed=3).data[0]
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(gaussian(data, sigma, dtype), gaussian_filter(data.astype(dtype), sigma))
    inside = data > 250
    for reach, border in [((3, 3, 1), False), ((3, 3, 3), True), ((1, 3, 1), True)]:
        want = binary_erosion(inside, np.ones(reach, dtype=bool), iterations=3, border_value=border)
        np.testing.assert_array_equal(eroded(inside, reach, 3, border=border), want)


@tiny
@pytest.mark.parametrize("lock", [None, (1.5, 0.8, 2.0), (1.0, 0.0, 1.0)])
def test_detail_is_the_change_of_an_iterate(lock, size, tear):
    z = torch.from_numpy(volume(2, seed=3).data)[None] - 300.0
    free = (z[:, :1] > -40.0).float()
    want = Iterate(torch.zeros_like(z), lock, free).change(z)
    whole = detail(z, lock, free)
    torch.testing.assert_close(whole, want, rtol=0.0, atol=2e-4)
    tear(size)
    assert torch.equal(detail(z, lock, free), whole)
    assert torch.equal(detail(z, lock, free, lock and smoothed(free, lock)), whole)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 400),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 100),
    st.sampled_from(["normal", "few", "huge", "constant"]),
)
def test_percentiles_are_numpys(count, dtype, seed, kind):
    rng = np.random.default_rng(seed)
    values = {
        "normal": rng.normal(size=count),
        "few": rng.integers(-2, 2, count),
        "huge": rng.normal(size=count) * 10.0 ** rng.integers(-37, 37, count),
        "constant": np.full(count, -1024.0),
    }[kind]
    data = values.astype(dtype).reshape(1, count)
    shares = (0.5, 37.0, 50.0, 99.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scratch, "LARGE", 1)
        patch.setattr(scratch, "PIECE", 500)
        np.testing.assert_array_equal(percentiles(data, shares), np.percentile(data, shares))


def test_running_moments():
    rng = np.random.default_rng(1)
    a, b = rng.normal(1e6, 1.0, (2, 1000))
    b += a
    found = Running(2)
    for start, stop in [(0, 1), (1, 1), (1, 400), (400, 1000)]:
        found.add(a[start:stop], b[start:stop])
    assert found.sd == pytest.approx(a.std(), rel=1e-9)
    assert found.mean == pytest.approx(a.mean(), rel=1e-12)
    assert found.correlation == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-9)
    assert all(np.isnan([Running(2).sd, Running(2).mean, Running(2).correlation]))


@tiny
@pytest.mark.parametrize("preset", PRESETS)
def test_metrics(preset, size, tear):
    content, style, result = (MAKE[preset](seed=seed) for seed in (1, 2, 3))
    whole = measure(content, [style], result, preset)
    tear(size)
    assert measure(content, [style], result, preset) == pytest.approx(whole, rel=1e-9, nan_ok=True)


def test_metrics_by_the_formulas(tear):
    tear(300)
    content, style, result = (ct(seed=seed) for seed in (1, 2, 3))
    found = measure(content, [style], result, "ct")
    a, b = (s.data[0].astype(np.float64) for s in (content, result))
    slopes = [np.sqrt(sum(g**2 for g in np.gradient(x))) for x in (a, b)]
    assert found["gradient_correlation"] == pytest.approx(np.corrcoef(*(s.ravel() for s in slopes))[0, 1], rel=1e-9)
    assert found["change_rms"] == pytest.approx(np.sqrt(np.mean((b - a) ** 2)), rel=1e-9)
    assert found["change_max"] == np.abs(b - a).max()
    outside = (a < -990) | (a > 400)
    assert found["protected_changed"] == np.count_nonzero(b[outside] != a[outside])
    same = measure(content, [style], content, "ct")
    assert same["gradient_correlation"] == pytest.approx(1.0)
    assert same["hu_bias_soft"] == same["change_max"] == 0.0
