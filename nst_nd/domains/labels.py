"""Label maps: parts of the content by number, each with styles of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nst_nd import scratch
from nst_nd.domains.domain import Prepared, Style
from nst_nd.domains.masks import check_covers
from nst_nd.errors import ConfigError, InputError
from nst_nd.sample import Sample

# a file with more different values is an image and no label map
MOST_LABELS = 1024


@dataclass(frozen=True)
class Part:
    """Of the content: the labels that make it, and which styles are for it, by number."""

    labels: tuple[int, ...]
    styles: tuple[int, ...]


def parts_of(styles: Sequence[Style], labels: Sample | None) -> list[Part]:
    """The parts in the order of the styles; one, of no label, without a map.

    Raises ConfigError unless with a map every style has labels, without one none has, and no label has two parts.
    """
    named = [i for i, style in enumerate(styles, start=1) if style.labels]
    if labels is None:
        if named:
            raise ConfigError(f"style {named[0]} has labels, and there is no label map; give one with labels")
        return [Part((), tuple(range(len(styles))))]
    if len(named) < len(styles):
        bare = next(i for i in range(1, len(styles) + 1) if i not in named)
        raise ConfigError(f"style {bare} has no labels; with a label map every style says which labels it is for")
    sets = list(dict.fromkeys(tuple(sorted(set(style.labels))) for style in styles))
    seen: set[int] = set()
    for chosen in sets:
        if seen & set(chosen):
            both = min(seen & set(chosen))
            raise ConfigError(f"label {both} is in two groups of labels that differ; allowed: the same group, or none")
        seen |= set(chosen)
    mine = [tuple(sorted(set(style.labels))) for style in styles]
    return [Part(chosen, tuple(i for i, own in enumerate(mine) if own == chosen)) for chosen in sets]


def check_labels(labels: Sample, content: Sample, parts: Sequence[Part]) -> None:
    """InputError unless it is a map of whole numbers on the content's grid that has every label that is asked for."""
    check_covers(labels, content, "label map")
    if labels.nc != 1:
        raise InputError(f"the label map has {labels.nc} channels; allowed: one")
    found: set[float] = set()
    for piece in scratch.chunks(labels.data, 1):
        found |= set(np.unique(labels.data[:, piece]).tolist())
        scratch.release(labels.data)
        if len(found) > MOST_LABELS or any(not value.is_integer() or value < 0 for value in map(float, found)):
            raise InputError(
                f"the label map has values such as {', '.join(f'{v:g}' for v in sorted(found)[-3:])}; "
                f"allowed: at most {MOST_LABELS} whole numbers from 0"
            )
    for label in (label for part in parts for label in part.labels):
        if label not in found:
            there = ", ".join(f"{value:g}" for value in sorted(found)[:20])
            raise InputError(f"label {label} is nowhere in the label map; it has {there}")


def inside(labels: Sample, part: Part, mask: Sample | None) -> Sample:
    """1 where a label of the part is (and the mask above 0), 0 elsewhere: [1, *space]."""
    chosen = np.array(part.labels, np.float64)

    def of(values: NDArray[np.float32], *masks: NDArray[np.float32]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.isin(values, chosen)
        return found & (masks[0].mean(axis=0, keepdims=True) > 0) if masks else found

    given = () if mask is None else (mask.data,)
    return labels.replace(data=scratch.piecewise(of, labels.data, *given, nc=1, dtype=np.float32))


def with_labels(prepared: Prepared, labels: Sample, parts: Sequence[Part]) -> Prepared:
    """The prepared inputs with statistics part by part; what has no part stays the content, bit for bit.

    Raises InputError where a part has no position to take statistics from.
    """
    masks = [torch.from_numpy(inside(labels, part, None).data)[None] for part in parts]
    regions = tuple(m if prepared.weight is None else _times(prepared.weight, m) for m in masks)
    for part, region in zip(parts, regions, strict=True):
        if not scratch.extremes(region[0].numpy())[1].any():
            names = ", ".join(map(str, part.labels))
            raise InputError(
                f"label {names}: the mask or the preset's region leaves no position to take statistics from"
            )
    union = masks[0]
    for mask in masks[1:]:
        union = _of_both(union, mask)
    free = union if prepared.free is None else _times(prepared.free, union)
    region_of = [next(n for n, part in enumerate(parts) if i in part.styles) for i in range(len(prepared.styles))]
    return replace(prepared, free=free, regions=regions, region_of=tuple(region_of))


def shares_of(styles: Sequence[Style], prepared: Prepared) -> list[float]:
    """Of the style weight, per style: by weight within a part, and by size between parts.

    Each position of a part then counts as much as without parts, however small the part is. Styles that serve several
    parts come again in their order, once for each.
    """
    if not prepared.regions:
        total = sum(style.weight for style in styles)
        return [style.weight / total for style in styles]
    sizes = [_sum(region) for region in prepared.regions]
    totals = [0.0] * len(sizes)
    served = list(zip(cycle(styles), prepared.region_of, strict=False))
    for style, region in served:
        totals[region] += style.weight
    return [style.weight / totals[region] * sizes[region] / sum(sizes) for style, region in served]


def _sum(region: Tensor) -> float:
    data = region[0].numpy()
    total = 0.0
    for piece in scratch.chunks(data, 1):
        total += float(data[:, piece].sum(dtype=np.float64))
        scratch.release(data)
    return total


def _times(a: Tensor, b: Tensor) -> Tensor:
    product = scratch.piecewise(np.multiply, a[0].numpy(), b[0].numpy(), nc=1, dtype=np.float32)
    return torch.from_numpy(product)[None]


def _of_both(a: Tensor, b: Tensor) -> Tensor:
    return torch.from_numpy(scratch.piecewise(np.maximum, a[0].numpy(), b[0].numpy(), nc=1, dtype=np.float32))[None]
