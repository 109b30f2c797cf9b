"""What an ear hears of a sound: envelopes of cochlear bands, their powers, and their modulations.

McDermott & Simoncelli 2011, Neuron 71: textures that agree in the moments of such envelopes, in how these go together
and in how fast they vary sound alike. Every layer is differentiable and sees a bounded stretch of time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.fft import next_fast_len
from torch import Tensor

from nst_nd import nd
from nst_nd.borders import window, window_adjoint
from nst_nd.boxes import whole
from nst_nd.errors import ConfigError
from nst_nd.features.bands import BandGroup, CochlearEnvelopes
from nst_nd.features.extractor import ChainStage, Extractor
from nst_nd.features.layer import AutogradLayer
from nst_nd.features.window import Cut, needed

LOWEST_HZ, HIGHEST_HZ = 50.0, 18000.0
# of half the sampling rate: the highest band ends here
SHARE_OF_NYQUIST = 0.95
FRAME_HZ = 400.0
OCTAVES_HZ = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
# of the rhythm: from a fast roll to a slow bar
OFFSETS_S = tuple(0.03 * 2.0 ** (i / 2.0) for i in range(11))
LEAST_RATE_HZ = 2000.0
MOST_STEPS = 16


class _FrameLayer(AutogradLayer):
    """A layer of frames, one output position for each."""

    @property
    def stride(self) -> tuple[int, ...]:
        """One."""
        return (1,)

    def carry(self, weight: Tensor) -> Tensor:
        """See Layer.carry: as it is."""
        return weight


@dataclass(frozen=True)
class Powers(_FrameLayer):
    """[B, C, frame] -> [B, 2 C, frame]: the channels, then their squares, so that second moments hold third ones."""

    name: str

    @property
    def halo(self) -> tuple[int, ...]:
        """None."""
        return (0,)

    @property
    def extent(self) -> tuple[int, ...]:
        """One."""
        return (1,)

    @property
    def border(self) -> None:
        """None is needed."""
        return

    def channels(self, nc: int) -> int:
        """Twice as many."""
        return 2 * nc

    def __call__(self, x: Float[Tensor, "batch c frame"], cut: Cut | None = None) -> Float[Tensor, "batch c2 out"]:
        """See the class."""
        if cut is not None:
            x = window(x, cut.have, needed(self, cut.want), cut.size, "zeros")
        return torch.cat([x, x.square()], dim=1)

    def to(self, device: torch.device, dtype: torch.dtype) -> Powers:  # noqa: ARG002
        """Nothing to move."""
        return self


@dataclass(frozen=True)
class Modulations(_FrameLayer):
    """[B, 2 C, frame] of Powers -> [B, C octaves, frame]: every envelope, band-passed in octaves of modulation.

    kernels: [octave, odd length], without a mean. The ends are held.
    """

    name: str
    kernels: Tensor

    @property
    def halo(self) -> tuple[int, ...]:
        """Half a kernel."""
        return (self.kernels.shape[1] // 2,)

    @property
    def extent(self) -> tuple[int, ...]:
        """The kernel."""
        return (self.kernels.shape[1],)

    @property
    def border(self) -> nd.Padding:
        """See the class."""
        return "replicate"

    def channels(self, nc: int) -> int:
        """Every octave of each envelope."""
        return nc // 2 * len(self.kernels)

    def kept(self, *, lean: bool) -> float:  # noqa: ARG002
        """The output; its way back needs nothing."""
        return 1.0

    def __call__(self, x: Float[Tensor, "batch c2 frame"], cut: Cut | None = None) -> Float[Tensor, "batch m out"]:
        """See the class."""
        if cut is None:
            x = nd.pad(x, self.halo, self.border)
        else:
            x = window(x, cut.have, needed(self, cut.want), cut.size, self.border)
        count = x.shape[-1]
        envelopes = torch.fft.rfft(x[:, : x.shape[1] // 2], n=_fast(count))
        bands: Tensor = torch.fft.irfft(envelopes[:, :, None] * self._filters(count), n=_fast(count))
        return bands[..., self.extent[0] - 1 : count].flatten(1, 2)

    def run(self, x: Tensor, cut: Cut | None = None, *, lean: bool = False) -> tuple[Tensor, Any]:  # noqa: ARG002
        """See Layer.run."""
        return self(x, cut), (tuple(x.shape), cut)

    def vjp(self, saved: Any, grad: Tensor) -> Tensor:
        """See Layer.vjp: kernels are symmetric, so what is convolved is convolved again; squares were not looked at."""
        shape, cut = saved
        count = grad.shape[-1] + self.extent[0] - 1
        late = F.pad(grad, (self.extent[0] - 1, 0)).view(len(grad), shape[1] // 2, -1, count)
        bands = torch.fft.rfft(late, n=_fast(count))
        back: Tensor = torch.fft.irfft((bands * self._filters(count).conj()).sum(2), n=_fast(count))[..., :count]
        size, want = (shape[2:], whole(shape[2:])) if cut is None else (cut.size, cut.want)
        have = whole(size) if cut is None else cut.have
        at_envelopes = window_adjoint(back, have, needed(self, want), size, self.border)
        return torch.cat([at_envelopes, torch.zeros_like(at_envelopes)], dim=1)

    def _filters(self, count: int) -> Tensor:
        """[octave, bin], complex: convolution and correlation with symmetric kernels are one."""
        filters: Tensor = torch.fft.rfft(self.kernels, n=_fast(count))
        return filters

    def to(self, device: torch.device, dtype: torch.dtype) -> Modulations:
        """See Layer.to."""
        return replace(self, kernels=self.kernels.to(device, dtype))


@dataclass(frozen=True)
class Rhythm(_FrameLayer):
    """[B, C octaves, frame] of Modulations -> [B, octaves (1 + 2 offsets), frame]: the bands' mean, now, before, after.

    Its correlation matrix holds the autocorrelation of loudness at the offsets, their doubles and their differences
    (Antognini et al. 2018).
    """

    name: str
    octaves: int
    offsets: tuple[int, ...]

    @property
    def halo(self) -> tuple[int, ...]:
        """The largest offset."""
        return (max(self.offsets),)

    @property
    def extent(self) -> tuple[int, ...]:
        """From the largest offset before to the largest after."""
        return (2 * max(self.offsets) + 1,)

    @property
    def border(self) -> nd.Padding:
        """Silence: modulations have no mean."""
        return "zeros"

    def channels(self, nc: int) -> int:  # noqa: ARG002
        """Every octave now, and at each offset on both sides."""
        return self.octaves * (1 + 2 * len(self.offsets))

    def __call__(self, x: Float[Tensor, "batch m frame"], cut: Cut | None = None) -> Float[Tensor, "batch r out"]:
        """See the class."""
        if cut is None:
            x = nd.pad(x, self.halo, self.border)
        else:
            x = window(x, cut.have, needed(self, cut.want), cut.size, self.border)
        mean = x.reshape(len(x), -1, self.octaves, x.shape[-1]).mean(1)
        middle, count = max(self.offsets), x.shape[-1] - 2 * max(self.offsets)
        starts = [middle, *(middle + sign * offset for offset in self.offsets for sign in (-1, 1))]
        return torch.cat([mean[..., start : start + count] for start in starts], dim=1)

    def to(self, device: torch.device, dtype: torch.dtype) -> Rhythm:  # noqa: ARG002
        """Nothing to move."""
        return self


def cochlea(nc: int, rate: float, bands: int, least_rate: float | None = None) -> Extractor:
    """Taps envelope, powers, modulation and rhythm of a waveform [1, nc, time] at `rate` Hz.

    bands: equally spaced in ERB-rate (Glasberg & Moore 1990) from 50 Hz to 18 kHz, or to 95 % of half the rate; about
    as wide as they are apart. least_rate: of all that is to be heard, where something was sampled more coarsely and
    holds nothing above. Frames come at about 400 Hz. Raises ConfigError for a rate below 2 kHz or no bands.
    """
    least = min(rate, least_rate or rate)
    if least < LEAST_RATE_HZ or bands < 1:
        raise ConfigError(f"cochlea got {least:g} Hz and {bands} bands; allowed: at least {LEAST_RATE_HZ:g} Hz and 1")
    low, high = (_erb_rate(f) for f in (LOWEST_HZ, min(HIGHEST_HZ, SHARE_OF_NYQUIST * least / 2.0)))
    apart = (high - low) / bands
    centres = [_hertz(low + (i + 0.5) * apart) for i in range(bands)]
    widths = [_hertz(low + (i + 1) * apart) - _hertz(low + i * apart) for i in range(bands)]
    # a band's envelope varies as fast as the band is wide: that many frames are averaged, or it would be aliased
    steps = [min(MOST_STEPS, 2 ** max(0, math.ceil(math.log2(2.0 * w / FRAME_HZ)))) for w in widths]
    hop = max(1, round(rate / FRAME_HZ / max(steps))) * max(steps)
    groups = []
    for count, members in groupby(range(bands), key=lambda i: steps[i]):
        own = list(members)
        groups.append(_group([centres[i] for i in own], [widths[i] for i in own], rate, hop // count, count))
    layers = (
        CochlearEnvelopes("envelope", tuple(groups), hop),
        Powers("powers"),
        Modulations("modulation", modulation_kernels(rate / hop)),
        Rhythm("rhythm", len(OCTAVES_HZ), tuple(max(1, round(t * rate / hop)) for t in OFFSETS_S)),
    )
    name = f"cochlea(nc={nc}, rate={rate:g}, bands={bands}, least_rate={least:g})"
    return Extractor(name, nc, 1, tuple(ChainStage((layer,)) for layer in layers))


def modulation_kernels(frame_rate: float) -> Tensor:
    """[octave, odd length]: Hann-windowed cosines an octave wide, 1 Hz to 128 Hz; a unit wave at the centre passes."""
    longest = _odd(2.0 / OCTAVES_HZ[0] * frame_rate)
    found = torch.zeros(len(OCTAVES_HZ), longest, dtype=torch.float64)
    for row, lowest in zip(found, OCTAVES_HZ, strict=True):
        length = _odd(2.0 / lowest * frame_rate)
        time = torch.arange(length, dtype=torch.float64) - length // 2
        hann = torch.cos(math.pi * time / (length + 1)).square()
        kernel = hann * torch.cos(2.0 * math.pi * math.sqrt(2.0) * lowest / frame_rate * time)
        kernel = kernel - hann * (kernel.sum() / hann.sum())
        start = (longest - length) // 2
        row[start : start + length] = kernel * (2.0 / hann.sum())
    return found.float()


def _group(centres: Sequence[float], widths: Sequence[float], rate: float, hop: int, steps: int) -> BandGroup:
    """Hann-windowed complex waves as long as 2 / width seconds; a sine of amplitude a at its centre gives a."""
    lengths = [max(hop, _like(hop, 2.0 / w * rate)) for w in widths]
    longest = max(lengths)
    kernels = torch.zeros(2, len(centres), longest, dtype=torch.float64)
    for i, (centre, length) in enumerate(zip(centres, lengths, strict=True)):
        time = torch.arange(length, dtype=torch.float64) - (length - 1) / 2.0
        hann = torch.cos(math.pi * time / (length + 1)).square()
        phase = 2.0 * math.pi * centre / rate * time
        start = (longest - length) // 2
        kernels[0, i, start : start + length] = hann * torch.cos(phase) * (2.0 / hann.sum())
        kernels[1, i, start : start + length] = hann * torch.sin(phase) * (2.0 / hann.sum())
    return BandGroup(kernels.flatten(0, 1).float(), steps)


def _fast(count: int) -> int:
    """The least length of count or more whose transform is fast: a prime takes three times as long."""
    return int(next_fast_len(count, real=True))


def _odd(length: float) -> int:
    return 2 * round(length / 2.0) + 1


def _like(hop: int, length: float) -> int:
    """About this length, even or odd as the hop is, so that a frame is centred."""
    return round((length - hop) / 2.0) * 2 + hop


def _erb_rate(hertz: float) -> float:
    return 21.4 * math.log10(1.0 + 0.00437 * hertz)


def _hertz(erb: float) -> float:
    return float((10.0 ** (erb / 21.4) - 1.0) / 0.00437)
