"""ECG: leads are channels, in mV; levels and baseline belong to the signal and are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nst_nd.domains.domain import Prepared, check_together, refuse_channels
from nst_nd.domains.octaves import octave_layers, octaves
from nst_nd.domains.settings import Settings
from nst_nd.domains.signals import common_scaling, resample
from nst_nd.sample import Kind, Sample

# at 1000 Hz: from single samples to 64 ms
OCTAVES = 7


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
        "style_weight": 40.0,
        "iterations": 150,
    }

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
        return Prepared(None if content is None else scaling.encode(content.data), tensors, scaling, notes=notes)

    def finish(self, content: Sample | None, result: Sample, settings: Settings) -> tuple[Sample, list[str]]:
        """Nothing to guard here."""
        del content, settings
        return result, []
