"""What a run aims at: activations of the content and statistics of the styles, in the memory that a plan allows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nst_nd.boxes import Box, whole
from nst_nd.domains.domain import Prepared
from nst_nd.domains.networks import Network
from nst_nd.domains.settings import Settings
from nst_nd.domains.shared import shared
from nst_nd.domains.target_cache import kept_moments
from nst_nd.engine.field import Field
from nst_nd.engine.objective import At, Branch, ContentTerm, SignalTerm, StyleTerm
from nst_nd.engine.plan import Plan, tile_lengths
from nst_nd.engine.sweep import StagePlan, Sweep
from nst_nd.engine.team import Split, Team
from nst_nd.errors import InputError
from nst_nd.features.convolution import uses_winograd
from nst_nd.features.costs import OutOfRange, TotalVariation, content_scale_of
from nst_nd.features.extractor import Extractor
from nst_nd.features.precision import dtype_of
from nst_nd.features.statistics import STATISTICS, Moments


@dataclass(frozen=True)
class StyleSignal:
    """A style in model space at one scale: x [1, C, *space], mask [1, 1, *space] or None, share of the weight.

    region: of the generated signal, whose statistics it is for. name: of its terms.
    """

    x: Tensor
    mask: Tensor | None
    share: float
    region: int = 0
    name: str = "style"


def style_names(prepared: Prepared) -> list[str]:
    """Of the terms of each style: numbered where there are several, with the tissue where a style serves several."""
    tissues = prepared.region_names or ("",)
    given = len(prepared.styles) // len(tissues)
    numbers = [""] if given == 1 else range(1, given + 1)
    return [f"style{number}{tissue and f'-{tissue}'}" for tissue in tissues for number in numbers]


@dataclass(frozen=True)
class Frame:
    """How signals are looked at: the plan, and the processes that share them."""

    plan: Plan
    team: Team
    processes: int

    def split(self, extractors: Sequence[Extractor], size: Sequence[int]) -> Split | None:
        """Slabs of a signal of this size for these networks; None for one process."""
        return split_for(extractors, size, self.processes)


def split_for(extractors: Sequence[Extractor], size: Sequence[int], processes: int) -> Split | None:
    """Slabs along the longest axis that every network can be cut along, on multiples of all their pooling.

    None for one process. Raises InputError where the signal is too short for so many.
    """
    if processes == 1:
        return None
    ndim = len(size)
    cell = [1] * ndim
    allowed = set(range(ndim))
    for extractor in extractors:
        here, total = tuple(size), [1] * ndim
        for stage in extractor.stages:
            allowed -= {a for a in range(ndim) if not stage.can_cut(a, here)}
            total = [t * s for t, s in zip(total, stage.stride_at(None), strict=True)]
            here = stage.output(here)
        cell = [math.lcm(c, t) for c, t in zip(cell, total, strict=True)]
    return Split.along_longest(size, processes, cell, sorted(allowed))


def branch_of(
    number: int,
    network: Network,
    settings: Settings,
    content: Tensor,
    styles: Sequence[StyleSignal],
    weights: Sequence[Tensor | None],
    frame: Frame,
    split: Split | None,
    size: Sequence[int],
) -> Branch:
    """One network with its terms; targets are computed here, once per scale.

    number: of the network in the plan. content: this process's slab of a signal of `size`. weights: [1, 1, *size] of
    each region, whole; None: everywhere.
    Raises InputError where nothing is left to take statistics from, or nothing is active.
    """
    extractor, stages = network.extractor, frame.plan.tiling.branches[number]
    terms = _content_terms(network, settings, content, stages, frame, split, size) if network.content else []
    style_terms: list[StyleTerm] = []
    pivots: dict[At, Tensor] = {}
    names = {tap: settings.statistic_of(f"{network.label}{tap}") for tap in network.style}
    centred = any(STATISTICS[name].centred for name in names.values())
    for style in styles if network.style else ():
        for tap, m in _style_moments(network, style, centred, frame).items():
            statistic = STATISTICS[names[tap]]
            if not m.count > 0:
                raise InputError(f"the style mask leaves no position of {network.label}{tap} to take statistics from")
            if statistic.centred and m.pivot is not None:
                pivots.setdefault((style.region, tap), m.pivot)
            name = f"{style.name}/{network.label}{tap}"
            beta = settings.style_weight * style.share * network.style[tap]
            target, normalisation = statistic.read(m), settings.style_normalisation
            style_terms.append(StyleTerm(name, tap, beta, statistic, target, normalisation, style.region))
    masks: dict[At, Tensor | Field] = {}
    for region, weight in enumerate(weights):
        carried = {} if weight is None else extractor.carry(weight, frozenset(network.style))
        for tap, mask in carried.items():
            if not mask.any():
                raise InputError(f"the mask leaves no position of {network.label}{tap} to take statistics from")
            masks[region, tap] = mask if split is None else _slab_at(extractor, tap, mask, frame.team, split)
    return Branch(extractor, tuple(terms), tuple(style_terms), pivots, masks)


def _split_at(extractor: Extractor, tap: str, split: Split | None, size: Sequence[int]) -> Split | None:
    return None if split is None else split.coarser(extractor.stride_at(tap), size)


def _slab_at(extractor: Extractor, tap: str, mask: Tensor, team: Team, split: Split) -> Field:
    there = split.coarser(extractor.stride_at(tap), mask.shape[2:])
    own = Field.of(mask).read(there.owned(team.rank, mask.shape[2:]))
    return Field.slab(own.clone(), mask.shape[2:], team, there)


def _until_stage(extractor: Extractor, taps: frozenset[str]) -> Extractor:
    """The same stages up to the last one with a wanted tap: cut, not fused anew, so that the arithmetic is the same."""
    last = max(i for i, stage in enumerate(extractor.stages) if taps & frozenset(stage.names))
    return replace(extractor, stages=extractor.stages[: last + 1])


def _content_terms(
    network: Network,
    settings: Settings,
    content: Tensor,
    stages: Sequence[StagePlan],
    frame: Frame,
    split: Split | None,
    size: Sequence[int],
) -> list[ContentTerm]:
    taps = frozenset(network.content)
    cut = _until_stage(network.extractor, taps)
    sweep = Sweep(cut, taps, size, stages[: len(cut.stages)], frame.team, split)
    targets: dict[str, Tensor | Field] = {}
    energy = {tap: torch.zeros((), dtype=torch.float64, device=content.device) for tap in taps}
    sizes = _tap_sizes(cut, taps, size)

    def read(tap: str, box: Box, activations: Tensor) -> None:
        energy[tap] += _at_least_float32(activations).square().sum(dtype=torch.float64)
        if split is None and box == whole(sizes[tap]):
            targets[tap] = activations
            return
        if tap not in targets:
            there = _split_at(cut, tap, split, sizes[tap])
            nc = activations.shape[1]
            targets[tap] = Field.empty(nc, sizes[tap], activations, frame.plan.targets, frame.team, there)
        field = targets[tap]
        assert isinstance(field, Field)
        field.write(box, activations)

    sweep.forward(with_margin(content, sweep, size, frame.team, split), read, back=False)
    terms = []
    for tap, share in network.content.items():
        total = frame.team.total(energy[tap])
        field = targets[tap]
        numel = (field.data if isinstance(field, Field) else field).shape[1] * math.prod(sizes[tap])
        scale = content_scale_of(total, numel, settings.content_normalisation)
        name = f"content/{network.label}{tap}"
        terms.append(ContentTerm(name, tap, settings.content_weight * share, field, scale))
    return terms


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype.itemsize < torch.float32.itemsize else x


def _tap_sizes(extractor: Extractor, taps: frozenset[str], size: Sequence[int]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    here = tuple(size)
    for stage in extractor.stages:
        found |= {tap: stage.output_at(tap, here) for tap in taps & frozenset(stage.names)}
        here = stage.output(here)
    return found


def with_margin(x: Tensor, sweep: Sweep, size: Sequence[int], team: Team, split: Split | None) -> Field:
    """A slab as a field that a sweep can read."""
    if split is None:
        return Field.of(x)
    field = Field.empty(x.shape[1], size, x, "device", team, split, sweep.input_reach())
    field.write(split.owned(team.rank, size), x)
    field.exchange()
    return field


def _style_moments(network: Network, style: StyleSignal, centred: bool, frame: Frame) -> dict[str, Moments]:
    """See _found_moments; those of an earlier job, of this process or on disk, where nothing differs."""
    if frame.team.count > 1:
        return _found_moments(network, style, centred, frame)
    # of the plan, what _fitting looks at
    how = (tuple(sorted(network.style)), centred, frame.plan.length, frame.plan.place)

    def make() -> dict[str, Moments]:
        if network.key is None:
            return _found_moments(network, style, centred, frame)
        numbers = str(dtype_of(network.extractor)), torch.backends.cudnn.allow_tf32, uses_winograd(network.extractor)
        return kept_moments(
            (network.key, numbers, *how),
            (style.x, style.mask),
            style.x.device,
            lambda: _found_moments(network, style, centred, frame),
        )

    keeper = shared()
    return make() if keeper is None else keeper.moments(network.extractor, how, style.x, style.mask, make)


def _found_moments(network: Network, style: StyleSignal, centred: bool, frame: Frame) -> dict[str, Moments]:
    """Moments of a style at the style taps; centred ones about the style's own mean, found in a first pass."""
    taps = frozenset(network.style)
    cut = _until_stage(network.extractor, taps)
    size = tuple(style.x.shape[2:])
    try:
        split, team = frame.split([cut], size), frame.team
    except InputError:  # too short to be shared out: every process looks at all of it
        split, team = None, Team()
    plan = _fitting(cut, frame.plan, size)
    sweep = Sweep(cut, taps, size, plan, team, split)
    x = style.x if split is None else Field.of(style.x).read(split.owned(team.rank, size), copy=True)
    field = with_margin(x, sweep, size, team, split)
    weights = {} if style.mask is None else cut.carry(style.mask, taps)
    if not centred:
        return _pass(sweep, field, weights, {}, team, with_sum=False)
    means = {tap: m.mean for tap, m in _pass(sweep, field, weights, {}, team, with_sum=True, marginal=True).items()}
    return _pass(sweep, field, weights, means, team, with_sum=True)


def _fitting(extractor: Extractor, plan: Plan, size: tuple[int, ...]) -> list[StagePlan]:
    """The plan of the generated signal for a style of another size: tiles of the same length, nothing kept."""
    return [StagePlan(tile, "nothing", plan.place) for tile in tile_lengths(extractor, size, plan.length)]


def _pass(
    sweep: Sweep,
    x: Field,
    weights: Mapping[str, Tensor],
    pivots: Mapping[str, Tensor],
    team: Team,
    *,
    with_sum: bool,
    marginal: bool = False,
) -> dict[str, Moments]:
    found: dict[str, Moments] = {}

    def read(tap: str, box: Box, activations: Tensor) -> None:
        weight = None if tap not in weights else Field.of(weights[tap]).read(box)
        here = Moments.over(activations, weight, pivots.get(tap), with_sum=with_sum, marginal=marginal)
        found[tap] = found[tap] + here if tap in found else here

    sweep.forward(x, read, back=False)
    return {tap: m.totalled(team.total) for tap, m in found.items()}


def signal_terms(settings: Settings, prepared: Prepared, device: torch.device) -> tuple[SignalTerm, ...]:
    """The terms on the signal itself."""
    terms = []
    if settings.tv_weight:
        terms.append(SignalTerm("tv", settings.tv_weight, TotalVariation(settings.tv_exponent)))
    if settings.range_weight and prepared.limits is not None:
        scaling = prepared.scaling
        low, high = (torch.from_numpy((v - scaling.offset) * scaling.gain).float().to(device) for v in prepared.limits)
        terms.append(SignalTerm("range", settings.range_weight, OutOfRange(low, high)))
    return tuple(terms)
