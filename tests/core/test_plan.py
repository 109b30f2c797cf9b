"""The memory planner: what it counts, what it refuses, and what happens when memory runs out all the same."""

import pytest
import torch
from core_helpers import NDIMS
from core_samples import MAKE, QUICK, bits

from nst_nd import random_network, stylize, vgg19
from nst_nd.boxes import whole
from nst_nd.engine.memory import bytes_of, free_memory, in_words, is_out_of_memory, peak_resident, resident
from nst_nd.engine.plan import Demand, Plan, candidates, halved, make_plan
from nst_nd.engine.stream import Engine
from nst_nd.engine.team import Split
from nst_nd.errors import ComputationError, ConfigError

GIB = 2**30
TAPS = ("relu1_1", "relu2_1", "relu2_2", "relu3_1")


def demand(size=(256, 256, 256), **options):
    network = vgg19(1, len(size), padding="replicate", blocks=3).until(TAPS)
    branches = ((network, frozenset(TAPS), frozenset(["relu2_2"])),)
    return Demand(branches, size, **{"nc": 1, "optimizer": "lbfgs", "history": 10, **options})


def test_more_memory_never_gives_a_leaner_plan():
    order = [plan.record() for plan in candidates(demand())]
    chosen = [order.index(make_plan(demand(), gib * GIB, 10**12).record()) for gib in (2, 3, 5, 8, 12, 20, 60)]
    assert chosen == sorted(chosen, reverse=True)
    assert chosen[-1] == 0
    assert make_plan(demand(), 60 * GIB, 10**12).untiled


@pytest.mark.parametrize("gib", [2, 3, 6, 12, 40])
def test_a_plan_fits(gib):
    plan = make_plan(demand(), gib * GIB, 10**12)
    assert plan.predicted <= gib * GIB
    assert Plan.of_record(plan.record()).record() == plan.record()
    assert in_words(plan.predicted) in plan.words()


def test_what_does_not_fit_is_refused_with_what_it_needs():
    with pytest.raises(ConfigError, match=r"at least .* of memory"):
        make_plan(demand(), GIB // 4, 10**12)
    with pytest.raises(ConfigError, match="scratch space"):
        make_plan(demand(), GIB, 0)


def test_little_scratch_space_gives_a_history_in_16_bits():
    needs = [p for p in candidates(demand()) if p.dtype == "bfloat16"]
    plan = make_plan(demand(), max(p.predicted for p in needs), min(p.on_disk for p in needs))
    assert plan.on_disk <= min(p.on_disk for p in needs)
    assert "bfloat16" in {p.dtype for p in needs}
    assert plan.dtype in ("bfloat16", "float32")


@pytest.mark.parametrize("ndim", NDIMS)
def test_tiles_have_as_many_positions_in_any_number_of_axes(ndim):
    size = {1: (10**7,), 2: (4000, 4000), 3: (300, 300, 300)}[ndim]
    network = random_network(1, ndim).until(["relu1", "relu2"])
    plan = next(
        p
        for p in candidates(Demand(((network, frozenset(["relu1"]), frozenset()),), size, 1, "adam", 10))
        if not p.untiled
    )
    positions = torch.tensor(plan.tiling.branches[0][0].tile).prod().item()
    assert 0.9 * 64**3 <= positions <= 1.1 * 64**3


def test_a_share_of_the_processes_is_counted():
    alone = next(p for p in candidates(demand()) if not p.untiled)
    split = Split.along_longest((256, 256, 256), 2, (4, 4, 4), [0, 1, 2])
    half = next(p for p in candidates(demand(split=split)) if not p.untiled)
    assert 0.4 < half.predicted / alone.predicted < 0.75


def test_halving_ends():
    plan, seen = next(iter(candidates(demand()))), []
    while plan is not None:
        seen.append(plan.length)
        plan = halved(plan, demand())
    assert seen[0] is None
    assert seen[1:] == sorted(set(seen[1:]), reverse=True)
    assert seen[-1] >= 8


@pytest.mark.parametrize("kind", ["image", "volume"])
def test_running_out_of_memory_makes_tiles_and_says_so(monkeypatch, kind):
    real, fails = Engine.value_and_grad, [2]

    def scarce(self, x):
        if fails[0]:
            fails[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(self, x)

    wanted = stylize(MAKE[kind](seed=0), MAKE[kind](seed=1), **QUICK)
    monkeypatch.setattr(Engine, "value_and_grad", scarce)
    result = stylize(MAKE[kind](seed=0), MAKE[kind](seed=1), **QUICK)
    assert sum("out of memory" in note for note in result.notes) == 2
    difference = abs(result.sample.data - wanted.sample.data).max()
    assert difference <= 1e-3 * abs(wanted.sample.data - MAKE[kind](seed=0).data).max()


def test_running_out_of_memory_for_good(monkeypatch):
    def scarce(self, x):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(Engine, "value_and_grad", scarce)
    with pytest.raises(ComputationError, match="out of memory at"):
        stylize(MAKE["image"](seed=0), MAKE["image"](seed=1), **QUICK)


def test_other_errors_are_not_taken_for_it():
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert is_out_of_memory(MemoryError())


@pytest.mark.parametrize("kind", ["image", "audio", "ecg", "volume", "ct"])
def test_a_tight_budget_gives_the_same_result(kind):
    content, style = MAKE[kind](seed=0), MAKE[kind](seed=1)
    options = {**QUICK, "preset": kind}
    free = stylize(content, style, **options)
    words = str(resident() + 110 * 2**20)
    tight = stylize(content, style, **options, max_memory=words)
    assert tight.memory["max_memory"] == words
    change = abs(free.sample.data - content.data).max()
    assert abs(tight.sample.data - free.sample.data).max() <= 1e-3 * change
    again = stylize(content, style, **options)
    assert bits(again.sample) == bits(free.sample)


@pytest.mark.parametrize(
    ("words", "size"),
    [("4GiB", 4 * GIB), ("800M", 800 * 2**20), ("2.5g", int(2.5 * GIB)), ("1024", 1024), ("1 kB", 1024)],
)
def test_sizes_in_words(words, size):
    assert bytes_of(words) == size


@pytest.mark.parametrize("words", ["", "lots", "-1GiB", "0", "4 pounds", "nan"])
def test_what_is_no_size(words):
    with pytest.raises(ValueError, match="is no size"):
        bytes_of(words)
    with pytest.raises(ConfigError, match="max_memory"):
        stylize(MAKE["image"](), MAKE["image"](seed=1), max_memory=words)


def test_what_the_machine_has():
    assert 0 < resident() <= peak_resident()
    assert free_memory() > 0


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("keep", ["all", "slopes", "nothing"])
def test_footprints_cover_what_a_stage_leaves(keep, pooling):
    """Tensors that a trace holds, each storage once, against what the plan counts."""
    taps = frozenset(["relu1_1", "pool1"])
    stage = vgg19(1, 2, pooling=pooling, blocks=1).until(taps).stages[0]
    size = (64, 48)
    tile = stage.windows(whole(size), size, taps)
    trace = stage.run(torch.randn(1, 1, *size), taps, tile, keep=keep)
    held = (
        {}
        if keep != "all"
        else {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in trace.taps.values()}
    )
    for saved in trace.saved:
        for each in saved or ():
            if isinstance(each, torch.Tensor):
                held[each.untyped_storage().data_ptr()] = each.untyped_storage().nbytes()
    counted = 4 * stage.footprint(1, tile, taps, keep).saved
    assert sum(held.values()) <= counted <= 1.3 * sum(held.values()) + 8


def test_reversed_kernels_are_counted():
    parts = dict(make_plan(demand(), 60 * GIB, 10**12).parts)
    weights = sum(
        layer.weight.numel() for s in demand().branches[0][0].stages for layer in s.layers if hasattr(layer, "weight")
    )
    assert parts["reversed kernels"] == 4 * weights
