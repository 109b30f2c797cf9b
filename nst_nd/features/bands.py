"""Envelopes of cochlear bands: what is left of a waveform behind a bank of filters, each as wide as an ear's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nst_nd import nd
from nst_nd.borders import window, window_adjoint
from nst_nd.boxes import whole
from nst_nd.features.layer import AutogradLayer
from nst_nd.features.window import Cut, needed

EXPONENT = 0.3
# below this power (model units squared; a waveform's root mean square is about 64 of them) there is silence
QUIET = 1e-4
# numbers that a cache holds
CACHED = 2**20


@dataclass(frozen=True)
class BandGroup:
    """Bands of like bandwidth: kernels [2 bands, length], cosines then sines; `steps` frames make one frame."""

    kernels: Tensor
    steps: int

    def waves(self, x: Float[Tensor, "row time"], hop: int, halo: int) -> Float[Tensor, "row part both"]:
        """Cosines, then sines, of every band in every part of a frame; frame i is centred on i hop .. (i+1) hop."""
        length, own = self.kernels.shape[1], hop // self.steps
        skip = halo - (length - own) // 2
        cut = x[:, skip : x.shape[1] - skip].unfold(-1, length, own)
        # a product copies what overlaps: piece by piece, or it would take many times the signal's memory
        return torch.cat([piece @ self.kernels.T for piece in torch.split(cut, max(1, CACHED // length), dim=1)], dim=1)

    def waves_vjp(self, grad: Float[Tensor, "row part both"], hop: int, into: Float[Tensor, "row time"]) -> None:
        """Adds the transpose of `waves` to `into`, as long as what they were cut from: a product, not added frames.

        A stretch of `own` samples is seen by the `shifts` parts up to its own place.
        """
        length, own = self.kernels.shape[1], hop // self.steps
        shifts = -(-length // own)
        kernels = F.pad(self.kernels, (0, shifts * own - length)).view(-1, shifts, own)
        backward = kernels.flip(1).transpose(0, 1).reshape(-1, own)
        around = F.pad(grad, (0, 0, shifts - 1, shifts - 1))
        rows, parts, both = around.shape
        seen = around.as_strided((rows, parts - shifts + 1, shifts * both), (parts * both, both, 1))
        # as above; in a cache it takes half the time
        pieces = [piece @ backward for piece in torch.split(seen, max(1, CACHED // (shifts * both)), dim=1)]
        stretch = torch.cat(pieces, dim=1).flatten(1)[:, : (grad.shape[1] - 1) * own + length]
        skip = (into.shape[1] - stretch.shape[1]) // 2
        into[:, skip : into.shape[1] - skip] += stretch

    def levels(self, waves: Float[Tensor, "row part both"]) -> Float[Tensor, "row part band"]:
        """Compressed magnitudes."""
        cosine, sine = waves.chunk(2, dim=-1)
        return (cosine.square() + sine.square() + QUIET).pow(0.5 * EXPONENT)

    def levels_vjp(self, waves: Tensor, levels: Tensor, grad: Tensor) -> Float[Tensor, "row part both"]:
        """The transpose of `levels` at these waves, of a gradient [row, part, band]."""
        cosine, sine = waves.chunk(2, dim=-1)
        slope = grad * levels * EXPONENT / (cosine.square() + sine.square() + QUIET)
        return torch.cat([cosine * slope, sine * slope], dim=-1)

    def frames(self, levels: Float[Tensor, "row part band"]) -> Float[Tensor, "row band frame"]:
        """Means of `steps` parts."""
        rows, parts, bands = levels.shape
        return levels.view(rows, parts // self.steps, self.steps, bands).mean(2).transpose(1, 2)

    def frames_vjp(self, grad: Float[Tensor, "row band frame"]) -> Float[Tensor, "row part band"]:
        """The transpose of `frames`."""
        return (grad / self.steps).transpose(1, 2).repeat_interleave(self.steps, dim=1)


@dataclass(frozen=True)
class CochlearEnvelopes(AutogradLayer):
    """[B, C, time] -> [B, rows x bands, time / hop]: envelope ** 0.3 of every band, of every channel and of their mean.

    rows: the channels, and their mean where there are two or more. Silence lies beyond the ends.
    """

    name: str
    groups: tuple[BandGroup, ...]
    hop: int

    @property
    def halo(self) -> tuple[int, ...]:
        """What the longest kernel sees beyond its own frame."""
        return (max((g.kernels.shape[1] - self.hop // g.steps) // 2 for g in self.groups),)

    @property
    def stride(self) -> tuple[int, ...]:
        """The hop."""
        return (self.hop,)

    @property
    def extent(self) -> tuple[int, ...]:
        """A frame and its halo on both sides."""
        return (self.hop + 2 * self.halo[0],)

    @property
    def border(self) -> nd.Padding:
        """Silence."""
        return "zeros"

    @property
    def bands(self) -> int:
        """Of one row."""
        return sum(len(g.kernels) // 2 for g in self.groups)

    def channels(self, nc: int) -> int:
        """All bands of every row."""
        return self.bands * _rows(nc)

    def kept(self, *, lean: bool) -> float:  # noqa: ARG002
        """Cosine, sine and level of every part of a frame per number that comes out, and what its way back takes."""
        return 1.0 + sum(g.steps * 3.5 * len(g.kernels) for g in self.groups) / self.bands

    def __call__(
        self, x: Float[Tensor, "batch channel time"], cut: Cut | None = None
    ) -> Float[Tensor, "batch band frame"]:
        """See the class."""
        rows = self._rows(x, cut)
        made = [g.frames(g.levels(g.waves(rows, self.hop, self.halo[0]))) for g in self.groups]
        return _joined(made, len(x))

    def run(self, x: Tensor, cut: Cut | None = None, *, lean: bool = False) -> tuple[Tensor, Any]:  # noqa: ARG002
        """See Layer.run."""
        rows = self._rows(x, cut)
        saved, made = [], []
        for group in self.groups:
            waves = group.waves(rows, self.hop, self.halo[0])
            levels = group.levels(waves)
            made.append(group.frames(levels))
            saved.append((waves, levels))
        return _joined(made, len(x)), (saved, tuple(x.shape), tuple(rows.shape), cut)

    def vjp(self, saved: Any, grad: Tensor) -> Tensor:
        """See Layer.vjp."""
        kept, shape, rows, cut = saved
        at_rows = grad.new_zeros(rows)
        bands = torch.split(grad.reshape(rows[0], self.bands, -1), [len(g.kernels) // 2 for g in self.groups], 1)
        for group, (waves, levels), band in zip(self.groups, kept, bands, strict=True):
            group.waves_vjp(group.levels_vjp(waves, levels, group.frames_vjp(band)), self.hop, at_rows)
        at_rows = at_rows.view(shape[0], -1, rows[1])
        own = at_rows[:, : shape[1]]
        if shape[1] > 1:
            own += at_rows[:, -1:] / shape[1]
        count = (rows[1] - self.extent[0]) // self.hop + 1
        have, want, size = (whole(shape[2:]), whole((count,)), shape[2:]) if cut is None else cut
        return window_adjoint(own, have, needed(self, want), size, "zeros")

    def _rows(self, x: Tensor, cut: Cut | None) -> Float[Tensor, "row time"]:
        """The channels, and their mean where there are several, with silence around."""
        if cut is None:
            # what is left of a last frame is not looked at
            x = nd.pad(x, self.halo, "zeros")
            x = x[..., : (x.shape[-1] - self.extent[0]) // self.hop * self.hop + self.extent[0]]
        else:
            x = window(x, cut.have, needed(self, cut.want), cut.size, "zeros")
        if x.shape[1] > 1:
            x = torch.cat([x, x.mean(1, keepdim=True)], dim=1)
        return x.flatten(0, 1)

    def carry(self, weight: Tensor) -> Tensor:
        """See Layer.carry."""
        return nd.pool(weight, self.stride, "average")

    def to(self, device: torch.device, dtype: torch.dtype) -> CochlearEnvelopes:
        """See Layer.to."""
        return replace(self, groups=tuple(replace(g, kernels=g.kernels.to(device, dtype)) for g in self.groups))


def _joined(bands: list[Tensor], batch: int) -> Tensor:
    """Bands [B rows, bands, frame] of each group -> [B, rows x bands, frame]."""
    made = torch.cat(bands, dim=1)
    return made.reshape(batch, -1, made.shape[-1])


def _rows(nc: int) -> int:
    return nc + (nc > 1)
