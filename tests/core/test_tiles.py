"""Tiles and processes against the untiled network: sizes, strides, tiles, networks, borders, masks drawn at random."""

from dataclasses import replace
from itertools import pairwise, product
from typing import get_args

import pytest
import torch
from core_helpers import GENERAL, NDIMS, network, relative, signal
from core_team import together
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from test_engine import branch

from nst_nd import Objective, SignalTerm, module_extractor, random_network, value_and_grad, vgg19
from nst_nd.boxes import Span, cut, hull, size_of, tiles, unwrapped, whole
from nst_nd.domains.networks import spectrogram_network
from nst_nd.domains.settings import ExtractorSettings
from nst_nd.engine.field import Field, Place
from nst_nd.engine.stream import Engine, Tiling
from nst_nd.engine.sweep import StagePlan
from nst_nd.engine.team import Split
from nst_nd.errors import ConfigError, InputError
from nst_nd.features.bands import BandGroup, CochlearEnvelopes
from nst_nd.features.cochlea import Modulations, Powers, Rhythm
from nst_nd.features.convolution import Convolution
from nst_nd.features.costs import OutOfRange, TotalVariation
from nst_nd.features.extractor import ChainStage, Extractor, Keep
from nst_nd.features.layer import Pool

CPU = torch.device("cpu")
PADDINGS = ("zeros", "replicate", "reflect", "circular")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-11}
LONGEST = {1: 61, 2: 27, 3: 15}
# no shrinking: it takes minutes here, and what is drawn is small
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)


def strided(nc, ndim, padding, draw):
    """Convolutions with strides and dilations, a pool between them, as no network of the package has them."""
    generator = torch.Generator().manual_seed(5)

    def conv(name, inputs, outputs, rectify):
        kernel = tuple(draw(st.sampled_from((1, 3, 5))) for _ in range(ndim))
        weight = torch.randn(outputs, inputs, *kernel, generator=generator, dtype=torch.float64) / (3 * inputs)
        stride = tuple(draw(st.integers(1, 3)) for _ in range(ndim))
        dilation = tuple(draw(st.integers(1, 2)) for _ in range(ndim))
        bias = torch.randn(outputs, generator=generator, dtype=torch.float64)
        return Convolution(name, weight, bias, stride, dilation, padding, rectify)

    pool = Pool("pool", tuple(draw(st.integers(1, 3)) for _ in range(ndim)), "average")
    stages = (
        ChainStage((conv("a", nc, 3, True), pool, conv("b", 3, 4, True))),
        ChainStage((conv("c", 4, 3, False),)),
    )
    return Extractor("strided", nc, ndim, stages), ("a", "pool", "b", "c")


def small_cochlea(nc):
    """Every layer of a cochlea, with kernels short enough for many tiles; two groups of bands."""
    draw = torch.Generator().manual_seed(11)
    groups = tuple(BandGroup(torch.randn(2 * n, k, generator=draw), s) for n, k, s in ((2, 10, 1), (1, 4, 2)))
    kernels = torch.randn(3, 5, generator=draw)
    layers = (CochlearEnvelopes("envelope", groups, 4), Powers("powers"), Modulations("modulation", kernels))
    layers = (*layers, Rhythm("rhythm", 3, (1, 4)))
    return Extractor("small cochlea", nc, 1, tuple(ChainStage((layer,)) for layer in layers))


def networks(draw, ndim, nc):
    """An extractor in float64, and its taps."""
    padding, pooling = draw(st.sampled_from(PADDINGS)), draw(st.sampled_from(("average", "max")))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(ndim))
    kind = draw(st.sampled_from(("random", "one width", "octave", "strided", "vgg", "spectrogram", "cochlea")))
    if kind == "strided":
        return strided(nc, ndim, padding, draw)
    if kind == "spectrogram" and ndim == 1:
        spec = ExtractorSettings(name="spectrogram", window=12, hop=4, widths=(1, 5), filters=6)
        return spectrogram_network(nc, 1, spec), ("magnitude", "filters")
    if kind == "cochlea" and ndim == 1:
        return small_cochlea(nc), ("envelope", "powers", "modulation", "rhythm")
    if kind == "vgg":
        whole_network = vgg19(nc, ndim, pooling=pooling, padding=padding, pool_kernel=kernel)
        small = [
            replace(c, weight=c.weight[:6, : 6 if c.weight.shape[1] > nc else nc].double(), bias=c.bias[:6].double())
            if isinstance(c, Convolution)
            else c
            for c in whole_network.stages[0].layers
        ]
        return Extractor("vgg block", nc, ndim, (ChainStage(tuple(small)),)), ("conv1_1", "relu1_1", "relu1_2", "pool1")
    options = {"pooling": pooling, "padding": padding, "pool_kernel": kernel}
    if kind == "one width":
        options |= {"widths": (3,)}
    if kind == "octave":
        options |= {"octave": 1, "zero_mean": True}
    return network(nc, ndim, **options), ("relu1", "pool1", "relu2")


def problem(draw):
    """An objective in float64, a signal, and tiles for it.

    Not a composite strategy: building networks draws from `random` (beartype does), which strategies must not.
    """
    ndim, nc = draw(st.sampled_from(NDIMS)), draw(st.integers(1, 3))
    extractor, names = networks(draw, ndim, nc)
    taps = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    content = draw(st.lists(st.sampled_from(names), max_size=2, unique=True))
    least = extractor.until({*taps, *content}).least_size
    size = tuple(2 * n + 2 + draw(st.integers(0, LONGEST[ndim])) for n in least)  # one position has no variance
    extractor = extractor.to(CPU, torch.float64)
    known = [*GENERAL, *(["log_moments"] if taps == ["powers"] else [])]
    statistics = tuple(draw(st.lists(st.sampled_from(known), min_size=1, max_size=2, unique=True)))
    inside = (signal(ndim, 1, seed=7, size=size) > -0.6).double()
    share = signal(ndim, 1, seed=8, size=size).abs()
    regions = draw(st.sampled_from(([], [inside * share], [inside * share, (1.0 - inside) * share])))
    # in model units: VGG's biases would drown a smaller signal
    styles = [signal(ndim, nc, seed=1 + i, size=size, scale=60.0) for i in range(max(1, len(regions)))]
    try:
        one = branch(
            extractor,
            signal(ndim, nc, size=size, scale=60.0),
            styles,
            taps=tuple(taps),
            statistics=statistics,
            regions=regions,
            content_taps=tuple(content),
        )
    except InputError:  # silent, see below
        assume(False)
    # a network this small may be silent in a layer, which a relative cost refuses
    assume(all(term.target.any() for term in (*one.style, *one.content)))
    # the logarithm of next to nothing is all rounding
    logs = [term for term in one.style if term.statistic.name.startswith("log_")]
    assume(all(float(term.target[: one.extractor.nc].min()) > -2.0 for term in logs) and not (logs and regions))
    if any(not m.any() for m in one.masks.values()):
        one = replace(one, masks={})
    limit = torch.full((nc,), 24.0, dtype=torch.float64)
    terms = (SignalTerm("tv", 0.3, TotalVariation(2.0)), SignalTerm("range", 2.0, OutOfRange(-limit, limit)))
    plans = []
    here = size
    for stage in one.extractor.stages:
        tile = tuple(draw(st.integers(1, n + 2)) for n in here)
        keep, place = draw(st.sampled_from(get_args(Keep))), draw(st.sampled_from(get_args(Place)))
        plans.append(StagePlan(tile, keep, place))
        here = stage.output(here)
    tiling = Tiling((tuple(plans),), tuple(draw(st.integers(1, n + 2)) for n in size))
    return Objective((one,), terms), signal(ndim, nc, seed=3, size=size, scale=60.0), tiling


def to(objective, dtype):
    """The same objective in another precision."""
    branches = tuple(
        replace(
            b,
            extractor=b.extractor.to(CPU, dtype),
            content=tuple(replace(c, target=c.target.to(dtype)) for c in b.content),
            masks={at: mask.to(dtype) for at, mask in b.masks.items()},
        )
        for b in objective.branches
    )
    low = torch.full_like(objective.signal[1].cost.low, -24.0).to(dtype)
    terms = (objective.signal[0], replace(objective.signal[1], cost=OutOfRange(low, -low)))
    return Objective(branches, terms)


@quick
@given(st.data())
def test_tiles_give_the_untiled_gradient(data):
    objective, x, tiling = problem(data.draw)
    terms, grad = value_and_grad(objective, x)
    tiled_terms, tiled_grad = value_and_grad(objective, x, tiling)
    torch.testing.assert_close(tiled_terms, terms, rtol=1e-10, atol=1e-12)
    assert relative(tiled_grad, grad) <= TOLERANCE[torch.float64]


@quick
@given(st.data())
def test_tiles_give_the_untiled_gradient_in_float32(data):
    objective, x, tiling = problem(data.draw)
    exact = value_and_grad(objective, x)[1]
    single, x = to(objective, torch.float32), x.float()
    whole_error = relative(value_and_grad(single, x)[1], exact)
    _, tiled = value_and_grad(single, x, tiling)
    # where float32 itself flakes (a tie of a max-pool, a kink), the tiled error is of the same kind
    assert relative(tiled, value_and_grad(single, x)[1]) <= 1e-5 or relative(tiled, exact) <= 2 * whole_error


@quick
@given(st.data(), st.integers(2, 3))
def test_processes_give_the_gradient_of_one(data, count):
    objective, x, tiling = problem(data.draw)
    size, ndim = x.shape[2:], x.dim() - 2
    extractor = objective.branches[0].extractor
    sizes = [size]
    for stage in extractor.stages:
        sizes.append(stage.output(sizes[-1]))
    allowed = [a for a in range(ndim) if all(s.can_cut(a, n) for s, n in zip(extractor.stages, sizes, strict=False))]
    cell = tuple(torch.tensor([s.stride_at(None)[a] for s in extractor.stages]).prod().item() for a in range(ndim))
    try:
        split = Split.along_longest(size, count, cell, allowed)
    except InputError:
        return  # too small to be shared out
    terms, grad = value_and_grad(objective, x)

    def work(team):
        engine = Engine(objective, size, tiling, team, split)
        own = split.owned(team.rank, size)
        return engine.value_and_grad(Field.of(x).read(own).clone())

    results = together(count, work)
    for found, _ in results:
        torch.testing.assert_close(found, terms, rtol=1e-10, atol=1e-12)
    assert relative(torch.cat([g for _, g in results], dim=2 + split.axis), grad) <= TOLERANCE[torch.float64]


@pytest.mark.parametrize("padding", ["replicate", "reflect", "circular"])
@pytest.mark.parametrize("ndim", NDIMS)
def test_a_constant_stays_constant_up_to_the_border(ndim, padding):
    size = {1: (41,), 2: (21, 19), 3: (13, 11, 12)}[ndim]
    size = tuple(2 * (n // 2) for n in size) if padding == "circular" else size
    extractor = random_network(1, ndim, widths=(3,), channels=(5, 6), padding=padding).to(CPU, torch.float64)
    x = torch.full((1, 1, *size), 3.0, dtype=torch.float64)
    one = branch(extractor, x * 0.5, [signal(ndim, 1, size=size)], taps=("relu1", "relu2"), content_taps=())
    tiling = Tiling((tuple(StagePlan((5,) * ndim, keep="nothing") for _ in one.extractor.stages),))
    grad = value_and_grad(Objective((one,)), x, tiling)[1]
    flat = value_and_grad(Objective((one,)), x)[1]
    assert relative(grad, flat) < 1e-11
    found = {}

    def read(tap, box, activations):
        found.setdefault(tap, []).append(activations.flatten(2).amax(2) - activations.flatten(2).amin(2))

    from nst_nd.engine.sweep import Sweep

    Sweep(one.extractor, one.taps, size, tiling.branches[0]).forward(Field.of(x), read, back=False)
    for tap, spreads in found.items():
        assert len(spreads) > 1, tap
        assert float(torch.stack(spreads).abs().max()) < 1e-12, tap


def test_a_module_is_refused_before_any_work():
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.InstanceNorm2d(2))
    extractor = module_extractor(module, 1, 2, ["1"], probe=(16, 16))
    one = branch(extractor, signal(2, 1, size=(16, 16), dtype=torch.float32), [], taps=(), content_taps=("1",))
    with pytest.raises(ConfigError, match="whole signal"):
        Engine(Objective((one,)), (16, 16), Tiling(((StagePlan((8, 8)),),)))


def test_a_cost_without_parts_is_refused_when_tiled():
    objective = Objective((), (SignalTerm("odd", 1.0, lambda x: x.abs().amax()),))
    x = signal(1, 1)
    assert value_and_grad(objective, x)[0].shape == (1,)
    with pytest.raises(ConfigError, match=r"odd.*whole signal"):
        value_and_grad(objective, x, Tiling((), (4,)))


@given(st.integers(0, 5), st.integers(1, 60), st.integers(1, 70), st.integers(1, 7))
def test_parts_cover_a_span_once(first, cells, length, cell):
    span = Span(first * cell, first * cell + cells * cell + cell // 2)
    parts = cut(span, length, cell)
    assert parts[0].start == span.start
    assert parts[-1].stop == span.stop
    assert all(a.stop == b.start for a, b in pairwise(parts))
    assert all(p.length > 0 and p.start % cell == 0 for p in parts)
    assert all(p.length <= max(length, cell) for p in parts[:-1])


def test_boxes():
    box = whole((5, 4))
    found = tiles(box, (2, 3), (1, 1))
    assert hull(found) == box
    assert sum(len(list(product(*(range(*s) for s in t)))) for t in found) == 20
    pieces = list(unwrapped((Span(-2, 7),), whole((4,)), (4,)))
    assert [p[0][0] for p in pieces] == [Span(2, 4), Span(0, 4), Span(0, 3)]
    assert sum(size_of(p[1])[0] for p in pieces) == 9
