"""The differentiable STFT front end: a waveform in, frequency bins as channels along frames out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from nst_nd import nd
from nst_nd.borders import window
from nst_nd.errors import ConfigError
from nst_nd.features.layer import AutogradLayer
from nst_nd.features.window import Cut, needed

# magnitudes are compressed as log(1 + |X| / FLOOR); model units put a waveform's root mean square at about 64
FLOOR = 0.1
# keeps the magnitude's slope finite where a bin is empty
EPSILON = 1e-6


@dataclass(frozen=True)
class LogSpectrogram(AutogradLayer):
    """[B, C, time] -> [B, C (window / 2 + 1), time / hop]: log(1 + |STFT| / FLOOR), bins as channels.

    Frame i is centred on samples i hop .. (i + 1) hop - 1, anchored at the signal's origin; what lies outside is 0.
    The magnitude is divided by the window's sum, so that a sine of amplitude a gives a / 2 in its bin.
    """

    name: str
    window: Tensor
    hop: int

    @classmethod
    def hann(cls, name: str, length: int, hop: int) -> LogSpectrogram:
        """With a periodic Hann window. Raises ConfigError unless length and hop are even and hop <= length."""
        if length < 2 or hop < 1 or length % 2 or (length - hop) % 2 or hop > length:
            raise ConfigError(f"spectrogram got window {length} and hop {hop}; allowed: even, hop at most the window")
        return cls(name, torch.hann_window(length, periodic=True), hop)

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
        return 8.0

    def channels(self, nc: int) -> int:
        """A bin each."""
        return nc * (self.window.numel() // 2 + 1)

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
        power = spectrum.real.square() + spectrum.imag.square()
        level = torch.log1p((power + EPSILON).sqrt() / FLOOR)
        return level.transpose(-1, -2).flatten(1, 2)

    def carry(self, weight: Tensor) -> Tensor:
        """See Layer.carry."""
        return nd.pool(weight, self.stride, "average")

    def to(self, device: torch.device, dtype: torch.dtype) -> LogSpectrogram:
        """See Layer.to."""
        return replace(self, window=self.window.to(device, dtype))
