"""What a search gives: patches by unit, and all that is said about them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nst_nd.boxes import Box, Span, overlap
from nst_nd.domains.domain import Scaling
from nst_nd.domains.settings import Settings
from nst_nd.patches.network import Watched
from nst_nd.patches.views import View
from nst_nd.sample import Grid, Kind, Sample


@dataclass(frozen=True)
class Patch:
    """Where a unit responds, and how much.

    input: number of the file in the order of the search, from 0. position: of the layer. field: the receptive field
    there, in samples as the network sees them, beyond the ends of the signal too. size, grid: of the signal as
    it is seen; file_size, file_grid: of the file, which may be sampled in another way. view: see views. units: of the
    file's values; scaling: how they came to model units.
    """

    activation: float
    input: int
    file: Path
    position: tuple[int, ...]
    field: Box
    size: tuple[int, ...]
    grid: Grid
    file_size: tuple[int, ...]
    file_grid: Grid
    units: str
    view: View = dataclasses.field(repr=False, compare=False)
    scaling: Scaling = dataclasses.field(repr=False, compare=False)

    @property
    def box(self) -> Box:
        """The part of the field within the signal, in samples as the network sees them."""
        return tuple(overlap(span, Span(0, n)) for span, n in zip(self.field, self.size, strict=True))

    @property
    def clipped(self) -> bool:
        """Whether the field reaches beyond the signal."""
        return self.box != self.field

    @property
    def resampled(self) -> bool:
        """Whether the file is sampled in another way than the network sees it."""
        return self.size != self.file_size


@dataclass(frozen=True)
class Synthetic:
    """An input made to excite a unit: what is drawn of it, the activation that it reaches and what it began with.

    samples: of what is drawn, per axis.
    """

    activation: float
    start: float
    steps: int
    seed: int
    samples: tuple[int, ...]
    view: View = dataclasses.field(repr=False, compare=False)


@dataclass(frozen=True)
class Found:
    """The result of a search. watched: the network and its layer. patches: by unit, from the highest activation down.

    inputs: how many files were given. files: what the patches were cut from, by the number of the input, as
    `sidecar.described` has it. skipped: those that could not be used, and why. low, high: [C], of the inputs in model
    units, empty where they were not measured. first, scaling: the first signal as the network sees it, without its
    values, and how it came to model units.
    """

    kind: Kind
    settings: Settings
    watched: Watched = dataclasses.field(repr=False)
    patches: dict[int, list[Patch]]
    inputs: int
    files: dict[int, dict[str, Any]]
    skipped: list[tuple[Path, str]]
    notes: list[str]
    low: torch.Tensor = dataclasses.field(repr=False)
    high: torch.Tensor = dataclasses.field(repr=False)
    first: Sample = dataclasses.field(repr=False)
    scaling: Scaling = dataclasses.field(repr=False)
    synthetic: dict[int, Synthetic] = dataclasses.field(default_factory=dict)
