"""ECG: leads are channels, in mV. Beats are the content; what is left without them is restyled.

First by the spectral method (ecg_noise), then by features of that rest, so that no network sees a beat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nst_nd.domains.beats import FEWEST, Beats, beats_of
from nst_nd.domains.domain import Parts, Prepared, Style, check_together, refuse_channels
from nst_nd.domains.ecg_noise import RestMethod
from nst_nd.domains.octaves import octave_layers, octaves
from nst_nd.domains.settings import Settings
from nst_nd.domains.signals import common_scaling, resample
from nst_nd.errors import InputError
from nst_nd.sample import Data, Kind, Sample

# at 1000 Hz: from single samples to 64 ms
OCTAVES = 7
# bytes per sample that the spectral method takes at a time
WORKING = 160


class EcgDomain:
    """Any number of leads, any rate."""

    name = "ecg"
    kind: Kind = "ecg"
    defaults: Mapping[str, Any] = {
        "extractor": (
            *octaves(OCTAVES, widths=(3, 5, 9)),
            {"name": "random", "label": "level", "widths": (5, 17, 65), "channels": (48, 64, 96, 96, 96)},
        ),
        "content_layers": ("level.relu1", "o3.relu1", "o4.relu1"),
        "style_layers": (*octave_layers(OCTAVES), *(f"level.relu{i}" for i in range(1, 6))),
        # a repeated end would count many times, and became a spike
        "padding": "reflect",
        "style_weight": 40.0,
        "iterations": 40,
        "method": "both",
        "limits": {
            "r_peaks_lost": 0.01,
            "r_shift_ms": 8.0,
            "qrs_change_ms": 10.0,
            "qt_change_ms": 20.0,
            "st_change_mv": 0.05,
            "limb_law_mv": 0.02,
        },
    }
    unshaped: Mapping[str, Any] = {}

    def prepare(self, content: Sample | None, styles: Sequence[Sample], settings: Settings) -> Prepared:
        """See Domain.prepare. Styles are resampled to the content's rate, said aloud; leads must be as many."""
        del settings
        check_together(content, styles, self.kind)
        like = styles[0] if content is None else content
        notes: list[str] = []
        for style in styles:
            if style.nc != like.nc:
                raise refuse_channels(like, style, "choose the same leads of both, e.g. columns of a CSV")
            if content is not None and style.channels and content.channels and style.channels != content.channels:
                notes.append(
                    f"leads are matched by position: content {' '.join(content.channels)}, "
                    f"style {' '.join(style.channels)}"
                )
        scaling = common_scaling([*styles, *([] if content is None else [content])], like.nc)
        tensors = tuple(scaling.encode(resample(s, like.grid.rate, notes)) for s in styles)
        encoded = None if content is None else scaling.encode(content.data)
        beforehand = 0 if content is None else WORKING * content.data.size
        free = None if content is None else _recorded(content, content.shape[0])
        return Prepared(
            encoded,
            tensors,
            scaling,
            free=free,
            weight=free,
            style_weights=tuple(_recorded(s, x.shape[2]) for s, x in zip(styles, tensors, strict=True)),
            beforehand=beforehand,
            notes=notes,
        )

    def begin(
        self,
        content: Sample,
        styles: Sequence[Style],
        parts: Parts,
        prepared: Prepared,
        settings: Settings,
    ) -> Prepared:
        """See Starter.begin: by the spectral method of ecg_noise."""
        beats = beats_of(content)
        if beats is None:
            said = f"fewer than {FEWEST} beats alike in the content: the rest of it cannot be told from them"
            if settings.method == "spectral":
                raise InputError(f"{said}\nuse method features, or a longer recording")
            prepared.notes.append(f"{said}: features alone")
            return prepared
        rate = content.grid.rate
        seen = [np.asarray(resample(style.sample, rate, []), np.float64) for style in styles]
        change = np.zeros(content.data.shape)
        known = prepared.style_weights or (None,) * len(styles)  # with the gaps, see prepare
        there = _recorded(content, content.shape[0])
        recorded = 1.0 if there is None else there[0, 0].double().numpy()
        methods: list[tuple[RestMethod, Data | float]] = []
        for n, (numbers, mask) in enumerate(parts):
            total = sum(styles[number].weight for number in numbers)
            method = RestMethod(content, [(seen[i], known[i], styles[i].weight / total) for i in numbers], beats, there)
            methods.append((method, recorded * (1.0 if mask is None else mask.data.mean(axis=0))))
            change += method.change(settings.seed + n) * methods[-1][1]
        odd = int((~beats.alike).sum())
        left = f"; {odd} like no other are left as they are" if odd else ""
        prepared.notes.append(f"{len(beats.peaks)} beats found{left}")
        scaling, gain = prepared.scaling, prepared.scaling.gain[:, None]

        def rest(data: Data, own: Beats | None, known: Tensor | None) -> Tensor:
            left = data if own is None else data - own.drawn(data.shape[1])
            # features are not to give the content the style's constant part
            counts = np.ones(left.shape[1]) if known is None else known[0, 0].double().numpy()
            return scaling.encode(left - (left @ counts / counts.sum())[:, None])

        def closed(change: Tensor) -> Tensor:
            mv = change[0].double().numpy() / gain
            for method, where in methods:
                mv = mv + (method.closed(mv) - mv) * where
            return torch.from_numpy((mv * gain).astype(np.float32))[None]

        return replace(
            prepared,
            content=rest(content.data.astype(np.float64), beats, there),
            styles=tuple(
                rest(data, beats_of(content.replace(data=data, gaps=None)), weight)
                for data, weight in zip(seen, known, strict=True)
            ),
            start=torch.from_numpy((change * gain).astype(np.float32))[None],
            closed=closed,
        )

    def finish(self, content: Sample | None, result: Sample, settings: Settings) -> tuple[Sample, list[str]]:
        """Nothing to guard here."""
        del content, settings
        return result, []


def _recorded(sample: Sample, length: int) -> Tensor | None:
    """[1, 1, length], 1 where all leads were recorded, 0 in a gap of one; None without gaps. length: as resampled."""
    if sample.gaps is None:
        return None
    gap = np.logical_or.reduce(sample.gaps)
    if gap.all():
        raise InputError("the gaps of all leads together leave no sample; leave out the lead with most of them")
    places = np.arange(length) * (gap.size / length)
    # what lies between a sample that is there and one that is not, is not
    near = np.stack([np.floor(places), np.ceil(places)]).astype(int).clip(0, gap.size - 1)
    return torch.from_numpy(~gap[near].any(axis=0)).float()[None, None]
