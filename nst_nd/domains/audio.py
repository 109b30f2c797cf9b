"""Audio: the waveform itself is optimised, through what an ear hears of it: cochlear envelopes and their modulations.

It starts from the content with the style's mean spectrum (equalisation, the spectral method), so that features have to
do what no filter can: how much a band rises and falls, how often, how suddenly, and with which others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from nst_nd import scratch
from nst_nd.domains.domain import Parts, Prepared, Style, check_together
from nst_nd.domains.equaliser import Spectrum, colour, equaliser, mean_spectrum, steps
from nst_nd.domains.metrics.signals import clipped
from nst_nd.domains.settings import Settings
from nst_nd.domains.signals import common_scaling, resample, variance
from nst_nd.errors import InputError
from nst_nd.features.cochlea import SHARE_OF_NYQUIST
from nst_nd.sample import Data, Kind, Sample

# below full scale, so that rounding does not reach it, in 8 bits either
CEILING = 0.984
# of the level of a style's channels, what has to be left of their mean
CANCELLED = 1e-3
# times full scale: floats that were written as if they were 32-bit integers have 2e9
LOUDEST = 1e10
# bytes per sample that equalising takes at a time
WORKING = 48


class AudioDomain:
    """Speech, music, textures: any rate and number of channels."""

    name = "audio"
    kind: Kind = "audio"
    defaults: Mapping[str, Any] = {
        "extractor": (
            {"name": "cochlea", "bands": 40},
            {"name": "spectrogram", "window": 2048, "hop": 512, "floor": 1e-3, "widths": (1, 3, 9, 27), "filters": 96},
        ),
        "content_layers": ("cochlea.modulation",),
        "style_layers": ("cochlea.powers", "cochlea.modulation", "cochlea.envelope", "spectrogram.magnitude"),
        "style_layer_weights": (1.0, 1.0, 1.0, 0.3),
        "statistics": {
            "cochlea.powers": "log_moments",
            "cochlea.modulation": "log_std",
            "cochlea.envelope": "correlation",
            "spectrogram.magnitude": "levels",
        },
        "content_weight": 0.05,
        "style_weight": 1.0,
        "iterations": 80,
        "range_weight": 1e5,
        "method": "both",
    }
    unshaped: Mapping[str, Any] = {}

    def prepare(self, content: Sample | None, styles: Sequence[Sample], settings: Settings) -> Prepared:
        """See Domain.prepare. Styles are resampled to the content's rate and mixed to its channels, said aloud."""
        check_together(content, styles, self.kind)
        if content is not None and settings.content_weight > 0 and content.shape[0] > 1 and np.ptp(content.data) == 0:
            raise InputError(
                "the content is silent: nothing happens in it\nmake a texture, or use content_weight 0 and init noise"
            )
        for what, s in (("content", content), *(("style", style) for style in styles)):
            if s is not None and (most := float(np.abs(scratch.extremes(s.data)).max())) > LOUDEST:
                raise InputError(f"the {what} has values up to {most:.3g} times full scale; is the file broken?")
        like = styles[0] if content is None else content
        notes = [
            f"the {what} has {count} samples at full scale: it was recorded too loud, or is limited"
            for what, s in (("content", content), *(("style", s) for s in styles))
            if s is not None and (count := clipped(s))
        ]
        scaling = common_scaling([*styles, *([] if content is None else [content])], like.nc)
        seen = [mix(resample(s, like.grid.rate, notes), like.nc, notes) for s in styles]
        known = _known(like, styles)
        if known < 1.0:
            notes.append(f"above {known * (like.grid.rate or 0.0) / 2.0:g} Hz the style has nothing: left as it is")
        spectra = [mean_spectrum(data) for data in seen]
        return Prepared(
            None if content is None else scaling.encode(content.data),
            tuple(scaling.encode(data) for data in seen),
            scaling,
            limits=(-CEILING, CEILING),
            shaping=steps(spectra, like.grid.rate or 1.0, known),
            colour=colour(spectra[0]),
            beforehand=0 if content is None else WORKING * content.data.size,
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
        """See Starter.begin: the content through a filter that gives it the styles' mean spectrum."""
        del settings
        assert prepared.content is not None
        known = _known(content, [style.sample for style in styles])
        gain = float(prepared.scaling.gain[0])
        change = torch.zeros_like(prepared.content)
        for numbers, mask in parts:
            total = sum(styles[n].weight for n in numbers)
            own = mean_spectrum(content.data, None if mask is None else mask.data.mean(axis=0))
            theirs = [_spectrum_of(prepared, n) for n in numbers]
            goal: Spectrum = np.sum(
                [styles[n].weight / total * power for n, power in zip(numbers, theirs, strict=True)], axis=0
            )
            shaping = equaliser(own, goal, known)
            made = shaping.mirrored(prepared.content)
            # what a filter makes of a cut at an end may be a click
            made = prepared.content + _fade(content.shape[0], shaping.reach) * (made - prepared.content)
            # what would be clipped is turned down: it is a start
            peak = float(made.abs().max())
            made = made * min(1.0, CEILING * gain / peak) if peak > 0 else made
            here = 1.0 if mask is None else torch.from_numpy(mask.data.mean(axis=0, dtype=np.float32))
            change += (made - prepared.content) * here
        return replace(prepared, start=change)

    def finish(self, content: Sample | None, result: Sample, settings: Settings) -> tuple[Sample, list[str]]:
        """Peak guard: a result with samples near full scale, where the content has none, is turned down as a whole."""
        del settings
        size = np.abs(result.data)
        allowed = np.maximum(CEILING, 0.0 if content is None else np.abs(content.data))
        beyond = size > allowed
        if not beyond.any():
            return result, []
        factor = float((np.broadcast_to(allowed, size.shape)[beyond] / size[beyond]).min())
        decibel = 20.0 * np.log10(factor)
        data = (result.data * factor).astype(result.data.dtype)
        if content is not None:  # what a mask kept is not turned down
            np.copyto(data, content.data, where=result.data == content.data)
        return result.replace(data=data), [f"peak guard: the result was turned down by {-decibel:.1f} dB"]


def _spectrum_of(prepared: Prepared, number: int) -> Spectrum:
    """Of a style, where its mask lets it count."""
    weights = prepared.style_weights or (None,) * len(prepared.styles)
    weight = weights[number]
    data = prepared.styles[number][0].double().numpy() / float(prepared.scaling.gain[0])
    return mean_spectrum(data, None if weight is None else weight[0, 0].numpy())


def _fade(length: int, ramp: int) -> torch.Tensor:
    """[time]: 1, and falling to 0 over a ramp at both ends."""
    ramp = max(1, min(ramp, length // 2))
    place = torch.arange(length)
    from_end = torch.minimum(place, place.flip(0)) / ramp
    return 0.5 - 0.5 * torch.cos(torch.pi * from_end.clamp_max(1.0))


def _known(like: Sample, styles: Sequence[Sample]) -> float:
    """The share of the frequencies, up to half the rate of `like`, that every style was sampled finely enough for."""
    least = min(s.grid.rate or 1.0 for s in styles)
    return min(1.0, SHARE_OF_NYQUIST * least / (like.grid.rate or 1.0)) if least < (like.grid.rate or 1.0) else 1.0


def mix(data: Data, nc: int, notes: list[str]) -> Data:
    """Style channels brought to the content's number: the mean of all of them, repeated.

    Raises InputError where they cancel.
    """
    if data.shape[0] == nc:
        return data
    mean = scratch.piecewise(lambda part: part.mean(axis=0, keepdims=True), data, nc=1, dtype=data.dtype)
    if variance(mean).mean() < CANCELLED**2 * variance(data).mean():
        raise InputError(
            f"the style's {data.shape[0]} channels cancel when they are mixed to the content's {nc} (they are in "
            "antiphase)\ngive one of them as a file of its own"
        )
    notes.append(f"style mixed from {data.shape[0]} channels to the content's {nc}")
    return scratch.piecewise(lambda part: np.repeat(part, nc, axis=0), mean, nc=nc, dtype=data.dtype)
