"""Volumes: arbitrary intensities by their own range, or by a window; spacing in mm is respected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nst_nd import scratch
from nst_nd.domains.domain import FULL_SCALE, Prepared, Scaling, check_together, refuse_channels
from nst_nd.domains.filters import detail, eroded
from nst_nd.domains.resample import on_spacing
from nst_nd.domains.selection import percentiles
from nst_nd.domains.settings import Settings
from nst_nd.domains.tissues import ANISOTROPY, finely, lock_of, smoothed
from nst_nd.errors import InputError
from nst_nd.sample import Data, Kind, Sample

# intensities between these percentiles span the 255 model units
PERCENTILES = (0.5, 99.5)
# two ranges of intensities whose widths differ by less than this factor count as the same unit
ALIKE = 2.0


class VolumeDomain:
    """MR, microscopy, anything: ranges of intensities are mapped to the model's, see _scalings."""

    name = "volume"
    kind: Kind = "volume"
    # whether the last axis counts slices, each with noise of its own
    picks_slices = False
    defaults: Mapping[str, Any] = {
        "extractor": (
            {"name": "vgg19"},
            {"name": "random", "label": "level", "octave": 1, "widths": (3, 5), "channels": (16, 24, 32)},
        ),
        "content_layers": ("vgg19.relu2_2",),
        "style_layers": (
            "vgg19.relu1_1",
            "vgg19.relu2_1",
            "vgg19.relu3_1",
            "level.relu1",
            "level.relu2",
            "level.relu3",
        ),
        "padding": "replicate",
        "style_weight": 40.0,
        "iterations": 60,
        "scales": (0.5, 1.0),
    }
    unshaped: Mapping[str, Any] = {}

    def prepare(self, content: Sample | None, styles: Sequence[Sample], settings: Settings) -> Prepared:
        """See Domain.prepare. Regions, protected values and the lock are those of the settings."""
        check_together(content, styles, self.kind)
        like = styles[0] if content is None else content
        notes: list[str] = []
        for style in styles:
            if style.nc != like.nc:
                raise refuse_channels(like, style, "choose one channel of each, or volumes with the same channels")
        if settings.compare == "mm":
            styles = [on_spacing(style, like.grid.spacing, notes, pick=self.picks_slices) for style in styles]
        scaling, *scalings = _scalings([like, *styles], settings, notes)
        tensors = tuple(own.encode(s.data) for own, s in zip(scalings, styles, strict=True))
        allowed = [_allowed(s, settings) for s in styles]
        free, weight = (None, None) if content is None else _allowed(content, settings)
        encoded = None if content is None else scaling.encode(content.data)
        if settings.region is not None:
            tensors = tuple(
                _detail(t, self._lock(s, settings), a[0]) for t, s, a in zip(tensors, styles, allowed, strict=True)
            )
            encoded = (
                None if content is None or encoded is None else _detail(encoded, self._lock(content, settings), free)
            )
        return Prepared(
            encoded,
            tensors,
            scaling,
            lock=self._lock(like, settings),
            free=free,
            weight=weight,
            style_weights=tuple(a[1] for a in allowed),
            pool_kernel=pool_kernel(like.grid.spacing, notes),
            seen=tuple(styles),
            notes=notes,
        )

    def _lock(self, sample: Sample, settings: Settings) -> tuple[float, ...] | None:
        return None if settings.lock_mm is None else lock_of(sample, settings.lock_mm, slices=self.picks_slices)

    def finish(self, content: Sample | None, result: Sample, settings: Settings) -> tuple[Sample, list[str]]:
        """Nothing to guard: what must not change was never free to."""
        del content, settings
        return result, []


def _scalings(samples: Sequence[Sample], settings: Settings, notes: list[str]) -> list[Scaling]:
    """A mapping to model units for each sample, from the window of the settings or from percentiles.

    Alike ranges (widths within ALIKE of each other, middles within half the larger width) are taken for the same unit:
    then one mapping serves all, and brightness and contrast are part of the style. Others are each mapped by their own.
    """
    if settings.window is not None:
        ranges = [tuple(np.full(s.nc, v) for v in settings.window) for s in samples]
    else:
        ranges = [_percentiles(s) for s in samples]
        lows, highs = (np.array([r[i] for r in ranges]) for i in (0, 1))
        widths, middles = highs - lows, (highs + lows) / 2.0
        alike = widths.max() <= ALIKE * widths.min() and bool(np.all(np.ptp(middles, axis=0) <= widths.max() / 2.0))
        if settings.intensity == "shared" or (settings.intensity == "auto" and alike):
            ranges = [(lows.min(axis=0), highs.max(axis=0))] * len(samples)
            notes.append("intensities: one mapping for content and style, the style's brightness counts")
        else:
            notes.append("intensities: content and style are mapped each by its own range")
    return [Scaling(FULL_SCALE / np.where(h > low, h - low, 1.0), (low + h) / 2.0) for low, h in ranges]


def _percentiles(sample: Sample) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Lowest and highest value per channel but for outliers; all values where that leaves nothing."""
    low, high = np.transpose([percentiles(sample.data[c : c + 1], PERCENTILES) for c in range(sample.nc)])
    lowest, highest = scratch.extremes(sample.data)
    return np.where(high > low, low, lowest), np.where(high > low, high, highest)


def pool_kernel(spacing: Sequence[float], notes: list[str]) -> tuple[int, ...]:
    """2 along finely sampled axes, 1 along those ANISOTROPY times coarser than the finest."""
    finest = min(spacing)
    kernel = tuple(1 if step >= ANISOTROPY * finest else 2 for step in spacing)
    if 1 in kernel:
        mm = " x ".join(f"{s:g}" for s in spacing)
        notes.append(f"spacing {mm} mm is anisotropic: pooling joins {'x'.join(map(str, kernel))} voxels")
    return kernel


def _allowed(sample: Sample, settings: Settings) -> tuple[Tensor | None, Tensor | None]:
    """Where the signal may change, and where statistics are taken: [1, 1, *space], 0 or 1; None: everywhere.

    With a region, both stay within it: a voxel that no statistic sees must not be used to please its neighbours'.
    """
    free: NDArray[np.bool_] | None = None
    if settings.protect is not None:
        free = _within(sample.data, settings.protect)
    if settings.region is None:
        return (None if free is None else _as_mask(free, sample, settings.protect)), None
    tissue, inner = _tissue(sample, settings.region)
    free = tissue if free is None else scratch.piecewise(np.logical_and, free, tissue, nc=1, dtype=np.bool_)
    return _as_mask(free, sample, settings.region), _as_mask(inner, sample, settings.region)


def _detail(model: Tensor, lock: Sequence[float] | None, free: Tensor | None) -> Tensor:
    """What the networks see of a region: its detail (all of it where nothing is locked), and 0 outside of it.

    The change is added to the content itself in the end; the steps at the region's border, which are a hundred times
    the noise, would otherwise decide every statistic near them.
    """
    assert free is not None  # a region is one
    return detail(model, lock, free)


def _tissue(sample: Sample, limits: tuple[float, float]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Voxels [1, *space] whose smoothed values lie within the limits, and those of them away from the border.

    Smoothing first keeps noise from deciding which voxels count, which would bias the noise that is measured.
    """
    each = [_within(smoothed(sample, channel)[None], limits) for channel in range(sample.nc)]
    inside = reduce(partial(scratch.piecewise, np.logical_and, nc=1, dtype=np.bool_), each)
    reach = [3 if fine else 1 for fine in finely(sample)]
    return inside, eroded(inside[0], reach, 2, border=True)[None]


def _within(data: Data, limits: tuple[float, float]) -> NDArray[np.bool_]:
    """[1, *space]: whether the values of every channel of [C, *space] lie within the limits."""
    low, high = limits
    return scratch.piecewise(lambda piece: np.all((piece >= low) & (piece <= high), axis=0), data, nc=1, dtype=np.bool_)


def _as_mask(inside: NDArray[np.bool_], sample: Sample, limits: tuple[float, float] | None) -> Tensor:
    limits = limits or (-np.inf, np.inf)
    mask = scratch.piecewise(np.positive, inside.view(np.uint8), nc=1, dtype=np.float32)
    if not scratch.extremes(mask)[1].any():
        lows, highs = scratch.extremes(sample.data)
        raise InputError(
            f"no region lies between {limits[0]:g} and {limits[1]:g} "
            f"(values {lows.min():g} to {highs.max():g}); wrong preset or modality?"
        )
    return torch.from_numpy(mask)[None]
