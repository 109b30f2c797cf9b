"""One of many signals brought to the grid and channels of the first, as a domain brings a style to its content."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nst_nd.domains import PRESETS
from nst_nd.domains.audio import mix
from nst_nd.domains.domain import FASTEST
from nst_nd.domains.image import match_channels
from nst_nd.domains.resample import on_spacing
from nst_nd.domains.settings import Settings
from nst_nd.domains.signals import resample
from nst_nd.errors import InputError
from nst_nd.sample import Data, Grid, Sample


def alike(sample: Sample, nc: int, grid: Grid, settings: Settings) -> Sample:
    """The sample with nc channels on a grid like this one: its rate, or its spacing where settings compare in mm.

    Images are made gray or RGB, sounds mixed; other kinds must have nc channels. What is as wanted comes back itself.
    Raises InputError where they do not go together.
    """
    if sample.kind == "image":
        return sample if sample.nc == nc else sample.replace(data=_coloured(sample, nc), channels=(), gaps=None)
    if sample.kind != "audio" and sample.nc != nc:
        raise InputError(f"has {sample.nc} channels, the first input {nc}; they must have as many")
    if sample.kind == "volume":
        assert settings.preset is not None
        pick = getattr(PRESETS[settings.preset], "picks_slices", False)
        return on_spacing(sample, grid.spacing, [], pick=pick) if settings.compare == "mm" else sample
    rate = sample.grid.rate
    if rate is not None and not 0 < rate <= FASTEST:
        raise InputError(f"is sampled at {rate:g} Hz; allowed: up to {FASTEST:g} Hz")
    data = resample(sample, grid.rate, [])
    data = mix(data, nc, []) if sample.kind == "audio" else data
    if data is sample.data:
        return sample
    gaps = None if sample.gaps is None else sample.gaps[:, _nearest(sample.shape[0], data.shape[1])]
    named = sample.channels if len(data) == sample.nc else ()
    there = replace(sample.grid, spacing=grid.spacing, rate=grid.rate)
    return sample.replace(data=data, grid=there, gaps=gaps, channels=named)


def _coloured(sample: Sample, nc: int) -> Data:
    if {sample.nc, nc} != {1, 3}:
        raise InputError(f"has {sample.nc} channels, others {nc}; convert them to gray or RGB")
    return np.ascontiguousarray(match_channels(sample, nc, sample, []))


def _nearest(own: int, length: int) -> NDArray[np.intp]:
    return (np.arange(length) * own // length).clip(0, own - 1)
