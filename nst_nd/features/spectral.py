"""The differentiable STFT front end: a waveform in, frequency bins as channels along frames out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from nst_nd import nd
from nst_nd.borders import window
from nst_nd.errors import ConfigError
from nst_nd.features.layer import AutogradLayer
from nst_nd.features.window import Cut, needed

# magnitudes are compressed as log(1 + |X| / floor); model units put a waveform's root mean square at about 64
FLOOR = 0.1
# keeps the magnitude's slope finite where a bin is empty: a share of the floor
EPSILON = 0.01


Scale = Literal["log", "mel", "complex"]
# of the mel scale (O'Shaughnessy 1987): mel = 2595 log10(1 + f / 700)
MEL, MEL_HZ = 2595.0, 700.0


@dataclass(frozen=True)
class Spectrogram(AutogradLayer):
    """[B, C, time] -> [B, C channels, time / hop], by the short-time Fourier transform X, bins as channels.

    log: log(1 + |X| / floor) of each of window / 2 + 1 bins. mel: log(1 + |X| / floor) of each mel band, |X|^2 summed
    over the band. complex: real parts of all bins, then imaginary parts.

    Frame i is centred on samples i hop .. (i + 1) hop - 1, anchored at the signal's origin; what lies outside is 0.
    The transform is divided by the window's sum, so that a sine of amplitude a gives |X| = a / 2 in its bin.
    bank: [mel, bin] weights of the mel bands.
    """

    name: str
    window: Tensor
    hop: int
    scale: Scale = "log"
    floor: float = FLOOR
    bank: Tensor | None = None

    @classmethod
    def hann(
        cls,
        name: str,
        length: int,
        hop: int,
        *,
        scale: Scale = "log",
        floor: float = FLOOR,
        mels: int = 80,
        rate: float | None = None,
    ) -> Spectrogram:
        """With a periodic Hann window. mels, rate: bands and the sampling rate in Hz, for the mel scale.

        Raises ConfigError unless length and hop are even and hop <= length, and for a mel scale without a rate.
        """
        if length < 2 or hop < 1 or length % 2 or (length - hop) % 2 or hop > length:
            raise ConfigError(f"spectrogram got window {length} and hop {hop}; allowed: even, hop at most the window")
        if scale == "mel" and (rate is None or mels < 1):
            raise ConfigError(
                f"a mel spectrogram got {mels} bands and a rate of {rate}; allowed: 1 or more, and a rate"
            )
        bank = mel_bank(length // 2 + 1, mels, rate) if scale == "mel" and rate is not None else None
        return cls(name, torch.hann_window(length, periodic=True), hop, scale, floor, bank)

    @property
    def halo(self) -> tuple[int, ...]:
        """What a frame sees beyond its own hop."""
        return ((self.window.numel() - self.hop) // 2,)

    @property
    def stride(self) -> tuple[int, ...]:
        """The hop."""
        return (self.hop,)

    @property
    def extent(self) -> tuple[int, ...]:
        """The window."""
        return (self.window.numel(),)

    @property
    def border(self) -> nd.Padding | None:
        """Silence, where a frame reaches beyond its hop."""
        return "zeros" if any(self.halo) else None

    def kept(self, *, lean: bool) -> float:  # noqa: ARG002
        """Frames, complex spectrum, its parts, power and magnitude."""
        return 8.0 * (self.window.numel() // 2 + 1) / self.channels(1)

    def channels(self, nc: int) -> int:
        """A bin each, or a band, or two parts of each bin."""
        bins = self.window.numel() // 2 + 1
        return nc * (2 * bins if self.scale == "complex" else bins if self.bank is None else len(self.bank))

    def __call__(
        self, x: Float[Tensor, "batch channel time"], cut: Cut | None = None
    ) -> Float[Tensor, "batch bins frame"]:
        """See the class."""
        if cut is None:
            x = nd.pad(x, self.halo, "zeros")
        else:
            x = window(x, cut.have, needed(self, cut.want), cut.size, "zeros")
        frames = x.unfold(-1, self.window.numel(), self.hop)
        spectrum = torch.fft.rfft(frames * self.window) / self.window.sum()
        if self.scale == "complex":
            parts = torch.cat([spectrum.real, spectrum.imag], dim=-1)
        else:
            power = spectrum.real.square() + spectrum.imag.square()
            power = power if self.bank is None else power @ self.bank.T
            parts = torch.log1p((power + (EPSILON * self.floor) ** 2).sqrt() / self.floor)
        return parts.transpose(-1, -2).flatten(1, 2)

    def carry(self, weight: Tensor) -> Tensor:
        """See Layer.carry."""
        return nd.pool(weight, self.stride, "average")

    def to(self, device: torch.device, dtype: torch.dtype) -> Spectrogram:
        """See Layer.to."""
        bank = None if self.bank is None else self.bank.to(device, dtype)
        return replace(self, window=self.window.to(device, dtype), bank=bank)


def mel_bank(bins: int, mels: int, rate: float) -> Float[Tensor, "mel bin"]:
    """Triangles of height 1, equally spaced in mel from 0 to half the rate, each between its neighbours' tops.

    Where they are narrower than a bin, a band holds its nearest bin.
    """
    hertz = torch.linspace(0.0, rate / 2.0, bins, dtype=torch.float64)
    places = MEL * torch.log10(1.0 + hertz / MEL_HZ)
    tops = torch.linspace(0.0, float(places[-1]), mels + 2, dtype=torch.float64)
    step = tops[1] - tops[0]
    bank = (1.0 - (places - tops[1:-1, None]).abs() / step).clamp_min(0.0)
    nearest = (places - tops[1:-1, None]).abs().argmin(dim=1)
    empty = bank.sum(dim=1) == 0
    bank[empty, nearest[empty]] = 1.0
    return bank.float()
