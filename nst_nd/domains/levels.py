"""How loud noise is in each tissue of a CT: less where rays meet less, and each scanner has its own way.

Spectra are measured in soft tissue, where noise is alone. Lung and fat have the same kernel, so that the shape of
theirs is the same, but not the level. That is told by second differences along lines of voxels, whose median does not
see vessels and borders (Donoho & Johnstone 1994): not in HU, since spectra differ in them, but against soft tissue of
the same scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.domains.metrics.running import pieces
from nst_nd.domains.tissues import TISSUES_BY_HU, smoothed
from nst_nd.sample import Sample

# values that a median is taken of: fewer say nothing, more say no more
FEWEST, MOST = 2000, 2_000_000
# how far levels may lie from those of soft tissue, and content and style from each other
LEVELS, RATIOS = (0.25, 4.0), (0.5, 2.0)


@dataclass(frozen=True)
class Levels:
    """tissue: [i, j, k], numbers of TISSUES_BY_HU. wanted: per tissue, noise of the styles over that in soft tissue.

    gain: per tissue, what the content's own noise is multiplied by besides, to get there.
    """

    tissue: UInt8[NDArray[np.uint8], "i j k"]
    wanted: Float[NDArray[np.float32], " tissue"]
    gain: Float[NDArray[np.float32], " tissue"]


def levels_of(content: Sample, styles: Sequence[tuple[Sample, float]]) -> Levels:
    """Of a content for its styles, each with its share of the whole.

    A tissue that some of them lack has the content's level, or where that is not known soft tissue's.
    """
    tissue = tissue_map(content)
    ours = _relative(content, tissue)
    theirs = np.sqrt(sum(share * _relative(style, tissue_map(style)) ** 2 for style, share in styles))
    wanted = np.where(np.isnan(theirs), np.where(np.isnan(ours), 1.0, ours), theirs)
    known = ours > 0  # not so for NaN
    gain = np.divide(wanted, ours, out=np.ones_like(wanted), where=known)
    return Levels(tissue, np.clip(wanted, *LEVELS).astype(np.float32), np.clip(gain, *RATIOS).astype(np.float32))


def tissue_map(sample: Sample) -> UInt8[NDArray[np.uint8], "i j k"]:
    """Numbers of TISSUES_BY_HU by the smoothed values."""
    low = smoothed(sample)
    out: NDArray[np.uint8] = scratch.empty(low.shape, np.uint8)
    tops = np.array([top for _, top in TISSUES_BY_HU[:-1]])
    for i in pieces(out, low):
        out[i] = np.searchsorted(tops, low[i])
    return out


def _relative(sample: Sample, tissue: NDArray[np.uint8]) -> NDArray[np.float64]:
    """[tissue]: medians of second differences over that of soft tissue; NaN where there are too few."""
    found = np.array([_median(sample.data[0], tissue, n) for n in range(len(TISSUES_BY_HU))])
    soft = found[[name for name, _ in TISSUES_BY_HU].index("soft")]
    relative: NDArray[np.float64] = found / soft if soft > 0 else np.full(len(found), np.nan)
    # where tissues meet there is none of either
    relative[[i for i, (name, _) in enumerate(TISSUES_BY_HU) if name not in ("lung", "fat", "soft")]] = np.nan
    return relative


def _median(data: NDArray[Any], tissue: NDArray[np.uint8], number: int) -> float:
    """Of |second differences| along the second axis with all three voxels in a tissue; NaN for fewer than FEWEST."""
    every = max(1, data.size // (4 * MOST))
    values: list[NDArray[np.float64]] = []
    for i in range(0, len(data), every):
        here = tissue[i] == number
        x = data[i].astype(np.float64)
        inside = here[1:-1] & here[:-2] & here[2:]
        values.append(np.abs(2.0 * x[1:-1] - x[:-2] - x[2:])[inside])
        scratch.release(data, tissue)
    together = np.concatenate(values) if values else np.zeros(0)
    return float(np.median(together)) if len(together) >= FEWEST else np.nan
