"""Audio: the waveform itself is optimised, through its spectrograms and octave by octave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nst_nd.domains.domain import Prepared, check_together
from nst_nd.domains.octaves import octave_layers, octaves
from nst_nd.domains.settings import Settings
from nst_nd.domains.signals import common_scaling, resample
from nst_nd.sample import Data, Kind, Sample

# just below full scale, so that rounding does not reach it
CEILING = 0.999
# at 44.1 kHz: from single samples to 6 ms
OCTAVES = 8
SPECTRAL_LAYERS = ("spectrogram.magnitude", "spectrogram.filters", "fine.magnitude", "fine.filters")


class AudioDomain:
    """Speech, music, textures: any rate and number of channels."""

    name = "audio"
    kind: Kind = "audio"
    defaults: Mapping[str, Any] = {
        "extractor": (
            {"name": "spectrogram", "window": 2048, "hop": 512, "widths": (1, 3, 9, 27), "filters": 96},
            {
                "name": "spectrogram",
                "label": "fine",
                "window": 512,
                "hop": 128,
                "widths": (1, 5, 15, 45),
                "filters": 64,
            },
            *octaves(OCTAVES, widths=(3, 9, 17)),
        ),
        "content_layers": ("spectrogram.magnitude",),
        "style_layers": (*SPECTRAL_LAYERS, *octave_layers(OCTAVES)),
        # half for the spectrograms, half for the waveform's octaves
        "style_layer_weights": (0.125,) * len(SPECTRAL_LAYERS) + (0.25 / OCTAVES,) * (2 * OCTAVES),
        "style_weight": 10.0,
        "iterations": 100,
        "range_weight": 1e5,
    }

    def prepare(self, content: Sample | None, styles: Sequence[Sample], settings: Settings) -> Prepared:
        """See Domain.prepare. Styles are resampled to the content's rate and mixed to its channels, said aloud."""
        del settings
        check_together(content, styles, self.kind)
        like = styles[0] if content is None else content
        notes: list[str] = []
        scaling = common_scaling([*styles, *([] if content is None else [content])], like.nc)
        tensors = tuple(scaling.encode(_mix(resample(s, like.grid.rate, notes), like.nc, notes)) for s in styles)
        encoded = None if content is None else scaling.encode(content.data)
        return Prepared(encoded, tensors, scaling, limits=(-CEILING, CEILING), notes=notes)

    def finish(self, content: Sample | None, result: Sample, settings: Settings) -> tuple[Sample, list[str]]:
        """Peak guard: a result louder than full scale, where the content was not, is turned down as a whole."""
        del settings
        peak = float(np.abs(result.data).max())
        allowed = CEILING if content is None else max(CEILING, float(np.abs(content.data).max()))
        if peak <= allowed:
            return result, []
        decibel = 20.0 * np.log10(allowed / peak)
        data = (result.data * (allowed / peak)).astype(result.data.dtype)
        if content is not None:  # what a mask kept is not turned down
            np.copyto(data, content.data, where=result.data == content.data)
        return result.replace(data=data), [f"peak guard: the result was turned down by {-decibel:.1f} dB"]


def _mix(data: Data, nc: int, notes: list[str]) -> Data:
    """Style channels brought to the content's number: the mean of all of them, repeated."""
    if data.shape[0] == nc:
        return data
    notes.append(f"style mixed from {data.shape[0]} channels to the content's {nc}")
    return np.repeat(data.mean(axis=0, keepdims=True), nc, axis=0)
