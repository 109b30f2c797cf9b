"""What is minimised: terms on the taps of one or several extractors, with their targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from nst_nd.boxes import Box
from nst_nd.engine.field import Field
from nst_nd.features.costs import (
    AdditiveCost,
    ContentNormalisation,
    StyleNormalisation,
    content_scale,
    log_cost,
    style_cost,
)
from nst_nd.features.extractor import Extractor
from nst_nd.features.statistics import Moments, Statistic


@dataclass(frozen=True)
class ContentTerm:
    """weight * scaled sum of squared differences of the activations at a tap from a target [1, C, *space]."""

    name: str
    tap: str
    weight: float
    target: Tensor | Field
    scale: Tensor | float

    @classmethod
    def of(
        cls, tap: str, weight: float, target: Tensor, normalisation: ContentNormalisation, label: str
    ) -> ContentTerm:
        """The term of this tap, named content/tap."""
        return cls(f"content/{label}{tap}", tap, weight, target, content_scale(target, normalisation))


# a region of the generated signal, by number, and a tap
At = tuple[int, str]


@dataclass(frozen=True)
class StyleTerm:
    """weight * scaled difference of a statistic at a tap from a target; region: where the signal's is taken."""

    name: str
    tap: str
    weight: float
    statistic: Statistic
    target: Tensor
    normalisation: StyleNormalisation
    region: int = 0

    @property
    def at(self) -> At:
        """Where the signal's statistic is taken."""
        return self.region, self.tap

    def cost(self, moments: Moments) -> Tensor:
        """Scalar, unweighted, from the generated signal's moments at this tap."""
        if self.statistic.logarithmic:
            return log_cost(self.statistic.read(moments), self.target)
        return style_cost(self.statistic.read(moments), self.target, moments.outer.shape[0], self.normalisation)


@dataclass(frozen=True)
class Branch:
    """One extractor, cut after its deepest tap, and the terms on its taps.

    pivots: [C] per region and tap for centred statistics, from the style, fixed for the whole run.
    masks: [1, 1, *space] weights per region and tap for the generated signal's statistics; none means everywhere.
    """

    extractor: Extractor
    content: tuple[ContentTerm, ...]
    style: tuple[StyleTerm, ...]
    pivots: Mapping[At, Tensor] = field(default_factory=dict)
    masks: Mapping[At, Tensor | Field] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the terms, content first."""
        return (*(term.name for term in self.content), *(term.name for term in self.style))

    def style_at(self, tap: str) -> dict[At, list[StyleTerm]]:
        """The style terms of a tap, by where they are taken."""
        found: dict[At, list[StyleTerm]] = {}
        for term in self.style:
            if term.tap == tap:
                found.setdefault(term.at, []).append(term)
        return found

    @property
    def taps(self) -> frozenset[str]:
        """Every tap that a term reads."""
        return frozenset([*(term.tap for term in self.content), *(term.tap for term in self.style)])


@dataclass(frozen=True)
class SignalTerm:
    """weight * cost of the generated signal itself, without a network: total variation, range.

    A cost that is an AdditiveCost can be evaluated part by part; any other one needs the whole signal at once.
    """

    name: str
    weight: float
    cost: Callable[[Tensor], Tensor]

    @property
    def additive(self) -> bool:
        """Whether the cost is a sum over parts of the signal."""
        return isinstance(self.cost, AdditiveCost)

    @property
    def halo(self) -> int:
        """Positions around a part that its cost looks at."""
        return self.cost.halo if isinstance(self.cost, AdditiveCost) else 0

    def part(self, x: Tensor, have: Box, core: Box, size: Sequence[int]) -> Tensor:
        """The unweighted share of the positions `core` of a signal of `size`, from x, which holds the box `have`."""
        assert isinstance(self.cost, AdditiveCost)
        return self.cost.part(x, have, core, size)


@dataclass(frozen=True)
class Objective:
    """The sum of the terms of all branches and of those on the signal itself."""

    branches: tuple[Branch, ...]
    signal: tuple[SignalTerm, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the terms in the order in which `value_and_grad` reports them."""
        taps = [name for branch in self.branches for name in branch.names]
        return (*taps, *(term.name for term in self.signal))


def activations_of(extractor: Extractor, x: Tensor) -> dict[str, Tensor]:
    """Activations at every tap of a cut extractor, outside of any graph.

    By the very arithmetic of the engine, so that the distance of a signal from its own target is 0, not rounding.
    """
    wanted = frozenset(extractor.names)
    found: dict[str, Tensor] = {}
    for stage in extractor.stages:
        trace = stage.run(x, wanted)
        found |= trace.taps
        x = trace.out
    return found


def style_moments(
    extractor: Extractor, x: Tensor, statistics: Sequence[Statistic], mask: Tensor | None = None
) -> dict[str, Moments]:
    """Moments of a style [1, nc, *space] at every tap of a cut extractor.

    Centred statistics get the style's own mean as pivot, found in a first pass over the activations.
    """
    wanted = frozenset(extractor.names)
    weights = {} if mask is None else extractor.carry(mask, wanted)
    centred = any(s.centred for s in statistics)
    found = {}
    for tap, activations in activations_of(extractor, x).items():
        weight = weights.get(tap)
        pivot = Moments.of(activations, weight).mean if centred else None
        found[tap] = Moments.of(activations, weight, pivot, with_sum=centred)
    return found
