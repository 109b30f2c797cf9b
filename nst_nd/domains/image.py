"""Images: 0..1 of full scale <-> 0..255 less the mean of the photographs that VGG was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nst_nd import nd
from nst_nd.domains.domain import FULL_SCALE, Prepared, Scaling, check_together, refuse_channels
from nst_nd.domains.settings import Settings
from nst_nd.features.vgg import MEAN_RGB
from nst_nd.sample import Data, Kind, Sample

# Rec. 601 luma of R, G, B, in which "luminance transfer" is usually done
LUMA = np.array([0.299, 0.587, 0.114])

# of a resized style, in positions of the content: longer sides alone say nothing where one of them is a strip
MOST_POSITIONS = 16


class ImageDomain:
    """Photographs, paintings, micrographs: gray or RGB."""

    name = "image"
    kind: Kind = "image"
    defaults: Mapping[str, Any] = {
        "style_weight": 30.0,
        "iterations": 80,
        "step_exponent": 0.5,
        "history": 20,
        "style_scale": 1.0,
        "range_weight": 100.0,
    }
    # from noise, large structures come of coarse scales; from a content these cost more time than they save, and after
    # them steps by frequency are no help
    unshaped: Mapping[str, Any] = {
        "iterations": 150,
        "step_exponent": 0.0,
        "history": 10,
        "scales": (0.25, 0.5, 1.0),
    }

    def prepare(self, content: Sample | None, styles: Sequence[Sample], settings: Settings) -> Prepared:
        """See Domain.prepare. A gray style serves a colour content and the other way round; styles are resized."""
        check_together(content, styles, self.kind)
        nc = styles[0].nc if content is None else content.nc
        notes: list[str] = []
        mean = np.array(MEAN_RGB) / FULL_SCALE
        scaling = Scaling(np.full(nc, FULL_SCALE), mean if nc == 3 else np.full(nc, float(LUMA @ mean)))
        tensors = []
        for style in styles:
            tensor = scaling.encode(match_channels(style, nc, content, notes))
            if settings.style_scale is not None and content is not None:
                longer = max(content.shape) * settings.style_scale / max(style.shape)
                # by a strip of 8000 x 20 a square style would become 8000 x 8000
                most = math.sqrt(MOST_POSITIONS * max(1.0, settings.style_scale**2) * _area(content) / _area(style))
                longer = min(longer, most)
                size = [max(1, round(n * longer)) for n in style.shape]
                if tuple(size) != style.shape:
                    notes.append(f"style resized from {_size(style.shape)} to {_size(size)} (style_scale)")
                    tensor = nd.resize(tensor, size)
            tensors.append(tensor)
        encoded = None if content is None else scaling.encode(content.data)
        return Prepared(encoded, tuple(tensors), scaling, limits=(0.0, 1.0), notes=notes)

    def finish(self, content: Sample | None, result: Sample, settings: Settings) -> tuple[Sample, list[str]]:
        """With original_colors, only luminance changes: chroma stays the content's (Gatys et al. 2016b)."""
        if not settings.original_colors or content is None or content.nc != 3:
            return result, []
        change = np.tensordot(LUMA, result.data.astype(np.float64) - content.data, axes=1)
        data = (content.data + change[None]).astype(content.data.dtype)
        return result.replace(data=data), []


def _area(sample: Sample) -> int:
    return math.prod(sample.shape)


def match_channels(style: Sample, nc: int, content: Sample | None, notes: list[str]) -> Data:
    """The style's data with nc channels: gray three times, or the luma of colours. Raises InputError for others."""
    if style.nc == nc:
        return style.data
    if {style.nc, nc} != {1, 3}:
        assert content is not None
        raise refuse_channels(content, style, "convert one of them to gray or RGB")
    if nc == 3:
        notes.append("gray style serves a colour content: used in all three channels")
        return np.repeat(style.data, 3, axis=0)
    notes.append("colour style serves a gray content: its luma is used")
    return np.tensordot(LUMA[None], style.data, axes=1).astype(style.data.dtype)


def _size(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in reversed(shape))
