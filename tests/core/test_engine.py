"""value_and_grad against plain autograd of the same objective, and against finite differences."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from core_helpers import GENERAL, NDIMS, network, relative, signal

from nst_nd import (
    STATISTICS,
    Branch,
    ContentTerm,
    Objective,
    SignalTerm,
    StyleTerm,
    out_of_range,
    random_network,
    total_variation,
    value_and_grad,
    vgg19,
)
from nst_nd.engine.objective import style_moments
from nst_nd.features.statistics import LOG_FLOOR

CPU = torch.device("cpu")
TAPS = ("relu1", "pool1", "relu2")
PADDINGS = ("zeros", "replicate", "reflect", "circular")


def branch(
    extractor, content, styles, *, taps=TAPS, statistics=("gram",), mask=None, content_taps=("relu2",), regions=()
):
    """A branch with every combination of styles, statistics and taps as terms.

    regions: masks in place of `mask`, of which the styles take turns.
    """
    weights = regions or ([] if mask is None else [mask])
    extractor = extractor.until({*taps, *content_taps})
    with torch.no_grad():
        targets = extractor(content)
    contents = [ContentTerm.of(t, 0.7, targets[t], "relative", "") for t in content_taps]
    terms, pivots = [], {}
    wanted = [STATISTICS[name] for name in statistics]
    for number, style in enumerate(styles):
        for tap, m in style_moments(extractor, style, wanted).items():
            if tap not in taps:  # a content tap may have channels that a statistic does not take
                continue
            if m.pivot is not None:
                pivots.setdefault((number % max(1, len(regions)), tap), m.pivot)
            for s in wanted:
                name = f"{number}/{s.name}/{tap}"
                region = number % max(1, len(regions))
                term = StyleTerm(name, tap, 1.5 + number, s, s.read(m), "relative", region)
                terms.append(term)
    masks = {
        (region, tap): carried
        for region, weight in enumerate(weights)
        for tap, carried in extractor.carry(weight, frozenset(taps)).items()
    }
    return Branch(extractor, tuple(contents), tuple(terms), pivots, masks)


def plain_statistic(name, activations, weight):
    """The definition by weighted means, without moments or pivots."""
    f = activations[0].flatten(1)
    w = torch.ones_like(f[0]) if weight is None else weight.flatten()
    w = w / w.sum()
    mean = f @ w
    if name == "gram":
        return (f * w) @ f.T
    centred = f - mean[:, None]
    covariance = (centred * w) @ centred.T
    deviation = covariance.diagonal().clamp_min(1e-300).sqrt()
    alive = covariance.diagonal() > 1e-12 * covariance.diagonal().max()
    if name in ("mean_std", "levels"):
        return torch.cat([mean, torch.where(alive, deviation, 0.0)])
    if name == "log_std":
        return 0.5 * (covariance.diagonal() + LOG_FLOOR).log()
    if name == "covariance":
        return covariance
    scale = torch.where(alive, 1.0 / deviation, 0.0)
    return covariance * torch.outer(scale, scale)


def plain(objective, x):
    """The terms by the definitions, differentiable; layers that are taps are not fused, nor is anything else."""
    terms = []
    for b in objective.branches:
        h, found = x, {}
        for stage in b.extractor.stages:
            h, here = stage.forward(h, b.taps)
            found |= here
        for c in b.content:
            terms.append(c.weight * c.scale * (found[c.tap] - c.target).square().sum())
        for s in b.style:
            statistic = plain_statistic(s.statistic.name, found[s.tap], b.masks.get(s.at))
            difference = (statistic - s.target).square()
            share = difference.mean() if s.statistic.logarithmic else difference.sum() / s.target.square().sum()
            terms.append(s.weight * share)
    return torch.stack([*terms, *(t.weight * t.cost(x) for t in objective.signal)])


def assert_agree(objective, x, tolerance, reference=None):
    terms, grad = value_and_grad(objective, x)
    leaf = x.detach().to(torch.float64 if reference else x.dtype).requires_grad_()
    wanted = plain(reference or objective, leaf)
    (want,) = torch.autograd.grad(wanted.sum(), leaf)
    assert len(terms) == len(objective.names)
    assert terms.dtype == torch.float64
    assert grad.dtype == x.dtype
    torch.testing.assert_close(terms, wanted.detach().double(), rtol=10 * tolerance, atol=tolerance)
    assert relative(grad, want) < tolerance


def low_pass_mask(ndim):
    return (signal(ndim, 1, seed=7) > -0.4).double() * signal(ndim, 1, seed=8).abs().clamp_max(1.0)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("statistics", [*((s,) for s in GENERAL), GENERAL], ids="+".join)
@pytest.mark.parametrize("ndim", NDIMS)
def test_gradient_is_autograds(ndim, statistics, masked):
    content, styles = signal(ndim), [signal(ndim, seed=1), signal(ndim, seed=2) + 0.3]
    mask = low_pass_mask(ndim) if masked else None
    b = branch(network(2, ndim), content, styles, statistics=statistics, mask=mask)
    assert (statistics == ("gram",)) == (not b.pivots)
    assert_agree(Objective((b,)), signal(ndim, seed=3), 1e-10)


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("ndim", NDIMS)
def test_several_branches_and_terms_on_the_signal(ndim, padding, pooling):
    content, style = signal(ndim, 3), signal(ndim, 3, seed=1)
    options = {"pooling": pooling, "padding": padding}
    plain_branch = branch(network(3, ndim, **options), content, [style])
    octave = network(3, ndim, octave=1, zero_mean=True, seed=4, **options)
    deep = branch(octave, content, [style], taps=("octave", "relu1"), statistics=("covariance",), content_taps=())
    low, high = torch.full((3,), -0.5, dtype=torch.float64), torch.full((3,), 0.8, dtype=torch.float64)
    terms = (
        SignalTerm("tv", 0.3, partial(total_variation, exponent=2.0)),
        SignalTerm("range", 2.0, partial(out_of_range, low=low, high=high)),
    )
    objective = Objective((plain_branch, deep), terms)
    assert len(set(objective.names[-2:]) & {"tv", "range"}) == 2
    assert_agree(objective, signal(ndim, 3, seed=3), 1e-10)


@pytest.mark.parametrize("ndim", NDIMS)
def test_a_signal_is_left_as_it_was_and_a_second_call_gives_the_same(ndim):
    content = signal(ndim)
    objective = Objective((branch(network(2, ndim), content, [signal(ndim, seed=1)], statistics=GENERAL),))
    x = signal(ndim, seed=3)
    before = x.clone()
    first, second = value_and_grad(objective, x), value_and_grad(objective, x)
    assert torch.equal(x, before)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("statistic", ["gram", "mean_std"])
@pytest.mark.parametrize("ndim", NDIMS)
def test_the_fused_float32_path(ndim, statistic, padding):
    objectives = []
    for dtype in (torch.float32, torch.float64):
        # one width: the fused convolution with its rectifier in both stages
        extractor = network(2, ndim, dtype, widths=(3,), padding=padding)
        mask = low_pass_mask(ndim).to(dtype)
        signals = [signal(ndim, seed=i, dtype=torch.float32).to(dtype) for i in (0, 1)]
        one = branch(extractor, signals[0], signals[1:], statistics=(statistic,), mask=mask)
        objectives.append(Objective((one,)))
    x = signal(ndim, seed=3, dtype=torch.float32)
    assert_agree(objectives[0], x, 1e-5, reference=objectives[1])


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("statistic", GENERAL)
@pytest.mark.parametrize("ndim", NDIMS)
def test_gradient_is_the_finite_difference(ndim, statistic, pooling):
    b = branch(network(2, ndim, pooling=pooling), signal(ndim), [signal(ndim, seed=1)], statistics=(statistic,))
    objective = Objective((b,), (SignalTerm("tv", 0.1, total_variation),))
    x, step = signal(ndim, seed=3), 1e-5
    _, grad = value_and_grad(objective, x)
    for i in (0, 7, x.numel() // 2, x.numel() - 1):
        at = torch.zeros_like(x)
        at.view(-1)[i] = step
        difference = (value_and_grad(objective, x + at)[0].sum() - value_and_grad(objective, x - at)[0].sum()) / (
            2 * step
        )
        assert float(difference) == pytest.approx(float(grad.flatten()[i]), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_vgg_fused_in_float32_against_its_definition_in_float64(pooling):
    taps = ("conv1_1", "relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    size, objectives = (37, 32), []
    for dtype in (torch.float32, torch.float64):
        extractor = vgg19(3, 2, pooling=pooling).until({*taps, "relu4_2"}).to(CPU, dtype)
        content, style = (signal(2, 3, seed=i, size=size, scale=60.0, dtype=torch.float32).to(dtype) for i in (0, 1))
        one = branch(extractor, content, [style], taps=taps, statistics=("gram", "mean_std"), content_taps=("relu4_2",))
        objectives.append(Objective((one,)))
    x = signal(2, 3, seed=3, size=size, scale=60.0, dtype=torch.float32)
    assert_agree(objectives[0], x, 1e-4 if pooling == "max" else 2e-5, reference=objectives[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ndim", NDIMS)
def test_taps_before_and_after_a_rectifier_side_by_side(ndim, dtype):
    size = {1: (19,), 2: (9, 11), 3: (5, 6, 7)}[ndim]
    whole = vgg19(2, ndim, padding="replicate")
    extractor = replace(whole, stages=whole.stages[:1]).to(CPU, dtype)
    content, style, x = (signal(ndim, 2, seed=i, size=size, scale=60.0, dtype=dtype) for i in range(3))
    taps = ("conv1_1", "relu1_1", "relu1_2")
    one = branch(extractor, content, [style], taps=taps, content_taps=("conv1_1", "relu1_1", "conv1_2"))
    assert_agree(Objective((one,)), x, 1e-10 if dtype == torch.float64 else 1e-5)


def test_only_terms_on_the_signal():
    for size in ((1, 1, 1), (1, 5, 1), (4, 3, 2)):
        x = signal(3, 1, size=size)
        low = torch.zeros(1, dtype=torch.float64)
        terms = (
            SignalTerm("tv", 1.0, total_variation),
            SignalTerm("range", 1.0, partial(out_of_range, low=low, high=low + 0.1)),
        )
        assert_agree(Objective((), terms), x, 1e-12)
    with pytest.raises(ValueError, match="no terms"):
        value_and_grad(Objective(()), signal(1))


def test_a_target_of_another_size_is_not_broadcast():
    extractor = random_network(1, 1, channels=(4,), widths=(3,)).until(["relu1"])
    one = branch(extractor, signal(1, 1, dtype=torch.float32), [], taps=(), content_taps=("relu1",))
    short = replace(one.content[0], target=one.content[0].target[..., :1])
    with pytest.raises((ValueError, RuntimeError)):
        value_and_grad(Objective((replace(one, content=(short,)),)), signal(1, 1, dtype=torch.float32))


@pytest.mark.parametrize("ndim", NDIMS)
@pytest.mark.parametrize("statistics", [("gram",), ("covariance", "mean_std")])
def test_every_style_has_a_region_of_its_own(ndim, statistics):
    extractor = network(2, ndim).to(CPU, torch.float64)
    inside = (signal(ndim, 1, seed=7) > 0.0).double()
    styles = [signal(ndim, 2, seed=1), signal(ndim, 2, seed=2), signal(ndim, 2, seed=3)]
    regions = [inside, 1.0 - inside]
    b = branch(extractor, signal(ndim, 2), styles, statistics=statistics, regions=regions)
    assert {term.region for term in b.style} == {0, 1}
    assert_agree(Objective((b,)), signal(ndim, 2, seed=4), 1e-11)
