"""What a domain is: a way into model space and back, and the settings that suit it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from nst_nd import scratch
from nst_nd.domains.settings import Settings
from nst_nd.errors import ConfigError, InputError
from nst_nd.features.power_law import PowerLaw
from nst_nd.features.shaping import Shaping
from nst_nd.sample import Data, Kind, Sample

# model units span about 255, as the networks trained on photographs expect
FULL_SCALE = 255.0
# of values in model space: squares of sums of some thousands of them are far below what float32 holds
LARGEST = 1e9
# Hz; no ear and no electrode has more
FASTEST = 1e7


@dataclass(frozen=True)
class Scaling:
    """model = (data - offset) * gain, per channel: linear, so that it can be undone exactly.

    gain, offset: [C] in model units per data unit, and in data units.
    """

    gain: NDArray[np.float64]
    offset: NDArray[np.float64]

    def encode(self, data: Data) -> Float[Tensor, "1 channel *space"]:
        """[C, *space] in data units -> [1, C, *space] float32 in model units."""
        gain, offset = self._columns(data.ndim)
        model = scratch.piecewise(lambda piece: (piece - offset) * gain, data, nc=len(data), dtype=np.float32)
        return torch.from_numpy(model)[None]

    def apply(self, data: Data, change: Float[Tensor, "1 channel *space"]) -> Data:
        """data + change in data units, in data's dtype: where change is 0, data stays bit for bit."""
        gain, _ = self._columns(data.ndim)

        def changed(before: Data, by: Tensor) -> Data:
            delta = by.cpu().numpy().astype(np.float64) / gain
            return np.where(delta == 0.0, before, (before + delta).astype(before.dtype))  # -0.0 + 0.0 would be 0.0

        return scratch.piecewise(changed, data, change[0], nc=len(data), dtype=data.dtype)

    def decode(self, model: Float[Tensor, "1 channel *space"]) -> Data:
        """[1, C, *space] in model units -> [C, *space] float32 in data units."""
        gain, offset = self._columns(model.dim() - 1)

        def decoded(piece: Tensor) -> Data:
            return piece.cpu().numpy().astype(np.float64) / gain + offset

        return scratch.piecewise(decoded, model[0], nc=model.shape[1], dtype=np.float32)

    def _columns(self, axes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Gain and offset, to go with data of so many axes."""
        shape = (-1,) + (1,) * (axes - 1)
        return self.gain.reshape(shape), self.offset.reshape(shape)


def uniform_scaling(nc: int, gain: float, offset: float) -> Scaling:
    """The same gain and offset for every channel."""
    return Scaling(np.full(nc, gain), np.full(nc, offset))


@dataclass(frozen=True)
class Style:
    """A style signal, its share among several, where it counts (a mask of its size, 0..1), and for what.

    labels: of the content's label map: the part that this style is for; without a map, none.
    """

    sample: Sample
    weight: float = 1.0
    mask: Sample | None = None
    labels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ConfigError(f"a style has weight {self.weight}; allowed: finite, 0 or more")


@dataclass(frozen=True)
class Prepared:
    """Inputs in model space.

    content: [1, C, *space] or None. styles: one [1, C, *space] each. scaling: of the content (of the first style where
    there is none). lock: low-pass sigma in samples per axis, see Iterate. free: [1, 1, *space] where the content may
    change. weight: [1, 1, *space] where the generated signal's statistics are taken; style_weights the same per style.
    regions: in its place where styles have parts of the content of their own; region_of: which part, per style.
    region_names: of regions that every style serves: styles then come again in their order, once for each.
    limits: lowest and highest value that the file can hold, in data units, where there is such a thing.
    pool_kernel: positions joined per axis by each pool. start: [1, C, *space] in model units, a change of the content
    that is made before anything is optimised, and stays; shaping: of the iterate, see Iterate; colour: gives
    white noise the first style's spectrum; closed: a last correction of a whole change. seen: the styles
    as the networks see them, where a domain resamples them. beforehand: bytes that making a start takes at a time.
    notes: what was converted, in words.
    """

    content: Tensor | None
    styles: tuple[Tensor, ...]
    scaling: Scaling
    lock: tuple[float, ...] | None = None
    free: Tensor | None = None
    weight: Tensor | None = None
    style_weights: tuple[Tensor | None, ...] = ()
    regions: tuple[Tensor, ...] = ()
    region_of: tuple[int, ...] = ()
    region_names: tuple[str, ...] = ()
    limits: tuple[float, float] | None = None
    pool_kernel: tuple[int, ...] | None = None
    start: Tensor | None = None
    shaping: Shaping | PowerLaw | None = None
    colour: Shaping | None = None
    closed: Callable[[Tensor], Tensor] | None = None
    seen: tuple[Sample, ...] = ()
    beforehand: int = 0
    notes: list[str] = field(default_factory=list)


@runtime_checkable
class Domain(Protocol):
    """One kind of signal. unshaped: defaults in place of others from noise, by Adam, or over scales."""

    name: str
    kind: Kind
    defaults: Mapping[str, Any]
    unshaped: Mapping[str, Any]

    def prepare(self, content: Sample | None, styles: Sequence[Sample], settings: Settings) -> Prepared:
        """Content and styles in model space. Raises InputError where they do not go together."""

    def finish(self, content: Sample | None, result: Sample, settings: Settings) -> tuple[Sample, list[str]]:
        """The result after what the domain guards (peaks, colours), and what had to be said."""


# of a content: for each part the numbers of its styles, and its mask
Parts = Sequence[tuple[Sequence[int], Sample | None]]


@runtime_checkable
class Starter(Domain, Protocol):
    """A domain with a method of its own that makes a start for the optimiser, or the whole result."""

    def begin(
        self,
        content: Sample,
        styles: Sequence[Style],
        parts: Parts,
        prepared: Prepared,
        settings: Settings,
    ) -> Prepared:
        """The prepared inputs with that start; as they are, and a note, where it cannot be made and is not all.

        Raises InputError where it was all that was
        asked for.
        """


def check_together(content: Sample | None, styles: Sequence[Sample], kind: Kind) -> None:
    """InputError unless there is a style, everything is of this kind and no style is constant."""
    if not styles:
        raise InputError("no style given; at least one is needed")
    kinds = {sample.kind for sample in (content, *styles) if sample is not None}
    if len(kinds) == 1 and kinds != {kind}:
        raise ConfigError(f"this preset takes signals of kind {kind}, these are of kind {kinds.pop()}; choose another")
    for what, sample in [("content", content), *(("style", s) for s in styles)]:
        if sample is not None and sample.kind != kind:
            raise InputError(
                f"the {what} is of kind {sample.kind}, this preset takes {kind}\nchoose inputs of one kind"
            )
        rate = None if sample is None else sample.grid.rate
        if rate is not None and not 0 < rate <= FASTEST:
            raise InputError(f"the {what} is sampled at {rate:g} Hz; allowed: up to {FASTEST:g} Hz")
    for style in styles:
        refuse_constant(style)


def sound(prepared: Prepared) -> Prepared:
    """As it is. Raises InputError where a signal in model space is so large that squares of activations overflow."""
    given = [("content", prepared.content), *(("style", style) for style in prepared.styles)]
    for what, x in given:
        if x is not None:
            most = float(np.abs(scratch.extremes(x[0].numpy())).max())
            if not most <= LARGEST:
                raise InputError(
                    f"the {what} has values up to {most / FULL_SCALE:.3g} times the range that networks expect; "
                    f"allowed: {LARGEST / FULL_SCALE:.3g} times\n"
                    "is the file broken, or a value of it a mark for no value?"
                )
    return prepared


def refuse_constant(style: Sample) -> None:
    """InputError where every sample of a style is the same."""
    low, high = scratch.extremes(style.data)
    if np.all(high == low):
        values = ", ".join(f"{v:g}" for v in low[:4])
        raise InputError(f"the style is constant (every sample is {values}); it has no texture to transfer")


def refuse_channels(content: Sample, style: Sample, advice: str) -> InputError:
    """The error for content and style with different numbers of channels."""
    return InputError(f"the content has {content.nc} channels, the style {style.nc}; they must have as many\n{advice}")
