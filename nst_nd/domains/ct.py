"""CT in HU: the noise of all tissue by the spectral method, its texture by features from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nst_nd import scratch
from nst_nd.domains.domain import Parts, Prepared, Style, check_together
from nst_nd.domains.hounsfield import check_hounsfield
from nst_nd.domains.metrics.noise import EDGE, quiet_squares
from nst_nd.domains.metrics.running import pieces
from nst_nd.domains.metrics.volume import TISSUES_HU
from nst_nd.domains.octaves import octave_layers, octaves
from nst_nd.domains.settings import Settings
from nst_nd.domains.spectral import SpectralMethod, working_bytes
from nst_nd.domains.spectrum import FINE
from nst_nd.domains.tissue_regions import FEWEST, squares_within, weight_within, with_tissues
from nst_nd.domains.tissues import smoothed
from nst_nd.domains.volume import VolumeDomain
from nst_nd.errors import InputError
from nst_nd.sample import Sample

CT_OCTAVES = 3
# HU of the smoothed content between which there is tissue, neither air nor bone
TISSUE_HU = (-970.0, 350.0)


# with another resolution edges change by design, those of protected voxels on one side
RESOLUTION_LIMITS: Mapping[str, float | None] = {
    **{f"hu_bias_{tissue}": None for tissue in TISSUES_HU},
    **{f"uniform_bias_{tissue}": 1.0 for tissue in TISSUES_HU},
    "hu_drift": None,
}


class CtDomain(VolumeDomain):
    """CT in HU: low frequencies stay the content's, air and bone come back bit for bit.

    The spectral method acts on all tissue; features refine soft tissue from there, and lung and fat where they can.
    """

    name = "ct"
    picks_slices = True
    defaults: Mapping[str, Any] = {
        "extractor": octaves(CT_OCTAVES, widths=(3, 5)),
        "content_layers": (f"o{CT_OCTAVES - 1}.relu2",),
        "style_layers": octave_layers(CT_OCTAVES),
        "padding": "replicate",
        "style_weight": 100.0,
        "iterations": 30,
        "window": (-160.0, 240.0),
        "lock_mm": 3.0,
        "protect": (-990.0, 400.0),
        "method": "both",
        "region": (-20.0, 120.0),
        "tissues": ("lung", "fat"),
        "limits": {
            "hu_bias_lung": 1.0,
            "hu_bias_fat": 1.0,
            "hu_bias_soft": 1.0,
            "hu_drift": 1.0,
            "false_edges": 1.2,
            "nps_worse": 0.5,
            "protected_changed": 0.0,
        },
    }

    def prepare(self, content: Sample | None, styles: Sequence[Sample], settings: Settings) -> Prepared:
        """See Domain.prepare. Raises InputError also for values that cannot be HU."""
        check_together(content, styles, self.kind)
        given = [("content", content), *(("style", style) for style in styles)]
        said = [note for what, sample in given if sample is not None for note in check_hounsfield(sample, what)]
        prepared = super().prepare(content, styles, settings)
        beforehand = 0 if content is None else working_bytes(content.shape)
        return replace(prepared, notes=[*said, *prepared.notes], beforehand=beforehand)

    def begin(
        self,
        content: Sample,
        styles: Sequence[Style],
        parts: Parts,
        prepared: Prepared,
        settings: Settings,
    ) -> Prepared:
        """See Starter.begin: by the spectral method; features then learn in quiet squares.

        A part with too little quiet soft tissue to measure noise in, and a volume of several channels, is left to them.
        """
        if content.nc > 1:
            _leave(f"a volume with {content.nc} channels has no noise spectrum here", prepared, settings)
            return prepared
        weights, style_weights = list(prepared.regions or (prepared.weight,)), list(prepared.style_weights)
        methods: list[SpectralMethod] = []
        for region, (numbers, mask) in enumerate(parts):
            own = [styles[number] for number in numbers]
            squares, theirs = squares_within(content, mask), [squares_within(s.sample, s.mask) for s in own]
            found, least = len(squares), min(map(len, theirs))
            if min(found, least) < FEWEST:
                said = f"{found} quiet squares of {EDGE} voxels in the content's soft tissue and {least} in the style's"
                _leave(f"noise cannot be measured: {said}; {FEWEST} are needed", prepared, settings)
                continue
            prepared.notes.append(f"noise measured in {found} squares of the content and {least} of the style")
            methods.append(_method(content, own, squares, theirs, mask, settings))
            prepared.notes.append(_lesions_note(methods[-1]))
            weights[region] = weight_within(weights[region], squares)
            for number, corners in zip(numbers, theirs, strict=True):
                seen = prepared.seen[number]
                # those of a resampled style are other ones; perhaps none are left
                here = corners if seen is styles[number].sample else quiet_squares(seen)
                if len(here):
                    style_weights[number] = weight_within(style_weights[number], here)
            if settings.resolution:
                prepared.notes.append(_resolution_note(methods[-1]))
        if not methods:
            return prepared
        gain = prepared.scaling.gain[0]

        def closed(change: Tensor) -> Tensor:
            hu = _times(change[0, 0].numpy(), 1.0 / gain)[0, 0].numpy()
            for method in methods:
                hu = method.closed(hu)
            return _times(hu, gain)

        start = methods[0].change(settings.seed)
        for n, method in enumerate(methods[1:], start=1):
            more = method.change(settings.seed + n)
            for i in pieces(start, more):
                start[i] += more[i]
        begun = replace(
            prepared,
            start=_times(start, gain),
            closed=closed,
            weight=prepared.weight if prepared.regions else weights[0],
            regions=tuple(w for w in weights if w is not None) if prepared.regions else (),
            style_weights=tuple(style_weights),
        )
        if settings.method == "spectral" or prepared.regions or settings.region is None:
            return begun  # a label map has its own parts; without a region there is one for all
        return with_tissues(begun, content, styles, parts[0][1], settings, super().prepare)


def _leave(said: str, prepared: Prepared, settings: Settings) -> None:
    """To the features, with a note; InputError where they are not all that was asked for."""
    if settings.method == "spectral" or settings.resolution:
        raise InputError(f"{said}\nuse method features without resolution, or larger volumes")
    prepared.notes.append(f"{said}: features alone")


def _method(
    content: Sample,
    styles: Sequence[Style],
    squares: NDArray[np.intp],
    theirs: Sequence[NDArray[np.intp]],
    mask: Sample | None,
    settings: Settings,
) -> SpectralMethod:
    total = sum(style.weight for style in styles)
    shared = [(s.sample, s.weight / total, corners) for s, corners in zip(styles, theirs, strict=True)]
    # bone itself stays, but a voxel beside it is part of its edge
    edges = _free(content, mask, settings, np.inf) if settings.resolution else None
    free = _free(content, mask, settings, TISSUE_HU[1])
    return SpectralMethod(content, shared, squares, free, settings.lock_mm or 0.0, edges)


def _resolution_note(spectral: SpectralMethod) -> str:
    """What was done to edges, for people."""
    mm = spectral.place.spacing[0]
    said = ", ".join(
        f"{float(spectral.ratio[round(f * FINE * mm), 0, 0]):.2f} at {f:g}" for f in (0.2, 0.4, 0.6) if f < 0.5 / mm
    )
    return (
        f"resolution: edges get the style's transfer over the content's as noise tells it ({said} per mm), true of "
        "linear reconstruction; HU bias is judged in uniform tissue only, drift not at all: bone and air stay as "
        "they are, so that their edges change on one side"
    )


def _lesions_note(spectral: SpectralMethod) -> str:
    """What becomes of what is as faint as noise, for people."""
    kept = ", ".join(f"{spectral.kept(mm):.0%} at {mm:g} mm" for mm in (3.0, 5.0, 8.0))
    return f"a faint ball in soft tissue keeps about this much of its contrast, by radius: {kept}"


def _times(change: NDArray[np.float32], factor: float) -> Tensor:
    """[i, j, k] as [1, 1, i, j, k], in other units."""
    by = np.float32(factor)
    return torch.from_numpy(scratch.piecewise(lambda c: c * by, change[None], nc=1, dtype=np.float32))[None]


def _free(content: Sample, mask: Sample | None, settings: Settings, most: float) -> NDArray[np.bool_]:
    """[i, j, k]: tissue within the mask that is not protected, below `most` HU after smoothing."""
    data, low = content.data[0], smoothed(content)
    floor, top = settings.protect or (-np.inf, np.inf)
    free: NDArray[np.bool_] = scratch.empty(data.shape, np.bool_)
    for i in pieces(free, data, low):
        free[i] = (low[i] > TISSUE_HU[0]) & (low[i] < most) & (data[i] >= floor) & (data[i] <= top)
        if mask is not None:
            free[i] &= mask.data[:, i].mean(axis=0) > 0
    return free
