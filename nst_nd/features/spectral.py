"""The differentiable STFT front end: a waveform in, frequency bins as channels along frames out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from nst_nd import nd
from nst_nd.borders import window, window_adjoint
from nst_nd.boxes import whole
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
        """The complex spectrum and the magnitudes; at work, frames and another spectrum."""
        return 1.0 + 7.0 * (self.window.numel() // 2 + 1) / self.channels(1)

    def channels(self, nc: int) -> int:
        """A bin each, or a band, or two parts of each bin."""
        bins = self.window.numel() // 2 + 1
        return nc * (2 * bins if self.scale == "complex" else bins if self.bank is None else len(self.bank))

    def __call__(
        self, x: Float[Tensor, "batch channel time"], cut: Cut | None = None
    ) -> Float[Tensor, "batch bins frame"]:
        """See the class."""
        return self._read(self._spectrum(x, cut))[0]

    def run(self, x: Tensor, cut: Cut | None = None, *, lean: bool = False) -> tuple[Tensor, Any]:  # noqa: ARG002
        """See Layer.run."""
        spectrum = self._spectrum(x, cut)
        out, magnitude = self._read(spectrum)
        return out, (spectrum, magnitude, tuple(x.shape), cut)

    def vjp(self, saved: Any, grad: Tensor) -> Tensor:
        """See Layer.vjp: the gradient's spectrum back through the real transform, frames added where they overlap."""
        spectrum, magnitude, shape, cut = saved
        frames = self._spectrum_vjp(self._read_vjp(spectrum, magnitude, grad))
        size = shape[2:] if cut is None else cut.size
        need = needed(self, whole((frames.shape[-2],)) if cut is None else cut.want)
        have = whole(size) if cut is None else cut.have
        joined = overlap_added(frames, self.hop)
        return window_adjoint(joined, have, need, size, "zeros")

    def _spectrum(self, x: Tensor, cut: Cut | None) -> Tensor:
        """[B, C, frame, bin], complex."""
        if cut is None:
            x = nd.pad(x, self.halo, "zeros")
        else:
            x = window(x, cut.have, needed(self, cut.want), cut.size, "zeros")
        frames = x.unfold(-1, self.window.numel(), self.hop)
        spectrum: Tensor = torch.fft.rfft(frames * (self.window / self.window.sum()))
        return spectrum

    def _spectrum_vjp(self, grad: Tensor) -> Tensor:
        """[B, C, frame, time] from what J says of both parts; irfft counts the bins between the ends twice."""
        grad[..., 1:-1] *= 0.5
        frames: Tensor = torch.fft.irfft(grad, norm="forward")
        return frames.mul_(self.window / self.window.sum())

    def _read(self, spectrum: Tensor) -> tuple[Tensor, Tensor | None]:
        """[B, C channels, frame], and the magnitudes [B, C, frame, band] that they were made from."""
        if self.scale == "complex":
            return torch.cat([spectrum.real, spectrum.imag], dim=-1).transpose(-1, -2).flatten(1, 2), None
        power = spectrum.real.square() + spectrum.imag.square()
        power = power if self.bank is None else power @ self.bank.T
        magnitude = (power + (EPSILON * self.floor) ** 2).sqrt()
        return torch.log1p(magnitude / self.floor).transpose(-1, -2).flatten(1, 2), magnitude

    def _read_vjp(self, spectrum: Tensor, magnitude: Tensor | None, grad: Tensor) -> Tensor:
        """[B, C, frame, bin], complex: d J / d real parts, and i times d J / d imaginary parts."""
        grad = grad.reshape(*spectrum.shape[:2], -1, grad.shape[-1]).transpose(-1, -2)
        if magnitude is None:
            return torch.complex(*(part.contiguous() for part in grad.chunk(2, dim=-1)))
        # of the logarithm, then of the root, whose 1/2 and the square's 2 cancel
        slope = grad / (magnitude + self.floor).mul_(magnitude)
        return spectrum * (slope if self.bank is None else slope @ self.bank)

    def carry(self, weight: Tensor) -> Tensor:
        """See Layer.carry."""
        return nd.pool(weight, self.stride, "average")

    def to(self, device: torch.device, dtype: torch.dtype) -> Spectrogram:
        """See Layer.to."""
        bank = None if self.bank is None else self.bank.to(device, dtype)
        return replace(self, window=self.window.to(device, dtype), bank=bank)


def overlap_added(frames: Float[Tensor, "*rows frame length"], hop: int) -> Float[Tensor, "*rows time"]:
    """The transpose of cutting a signal into frames a hop apart: [(frames - 1) hop + length], added up."""
    count, length = frames.shape[-2:]
    shifts = -(-length // hop)
    out = frames.new_zeros(*frames.shape[:-2], count + shifts - 1, hop)
    for shift in range(shifts):
        part = frames[..., shift * hop : (shift + 1) * hop]
        out[..., shift : shift + count, : part.shape[-1]] += part
    return out.flatten(-2)[..., : (count - 1) * hop + length]


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
