"""Steps that suit every frequency: what is optimised goes through a filter that falls with frequency first.

The costs of a deep network curve little along slow waves, so that plain steps move them least; with G = base + F z they
get longer ones. F preconditions descent (Nocedal & Wright 2006, section 5.1); images were scaled by their own spectrum
in this way by Olah, Mordvintsev & Schubert 2017 (doi 10.23915/distill.00007).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from nst_nd import nd
from nst_nd.errors import ConfigError

# cycles per sample that stay as they are: what white noise has on average in two dimensions
UNCHANGED = 0.25


@dataclass(frozen=True)
class PowerLaw:
    """Multiplies each frequency f of a signal [1, C, *space] by (f / UNCHANGED) ** -exponent; its own transpose.

    f is in cycles per sample over all axes together, in samples of a signal of which this one is a `share` along each
    axis. The mean is treated as the slowest wave. The signal goes around: what that lets through its borders is a
    direction to step in, and not part of any result.

    Raises ConfigError for an exponent outside of 0..1.
    """

    exponent: float
    share: float = 1.0
    # for the last size: [*bins], which are the same at every step
    _gains: list[Tensor] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0.0 <= self.exponent <= 1.0:
            raise ConfigError(f"steps by frequency ** -{self.exponent:g}; allowed: 0 to 1")

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "1 channel *space"]) -> Float[Tensor, "1 channel *space"]:
        """x filtered, in the same shape, channels innermost. Two arrays of its size are held beside it."""
        axes = tuple(range(2, x.dim()))
        spectrum = torch.fft.rfftn(x, dim=axes)
        gains = self._gains[0] if self._gains else None
        if gains is None or (gains.shape, gains.dtype, gains.device) != (spectrum.shape[2:], x.dtype, x.device):
            self._gains[:] = [self._of(x)]
        spectrum *= self._gains[0]
        made = torch.fft.irfftn(spectrum, s=x.shape[2:], dim=axes)
        del spectrum
        return nd.channels_last(made)

    @property
    def reach(self) -> int:
        """Samples on either side that it sees: all of them."""
        return sys.maxsize

    def at(self, share: float) -> PowerLaw:
        """The same for a signal with this share of the samples along each axis."""
        return replace(self, share=share)

    def to(self, device: torch.device) -> PowerLaw:  # noqa: ARG002
        """Itself: what it holds is made where it is used."""
        return self

    def _of(self, x: Tensor) -> Tensor:
        """[*bins]: of the real transform, the last axis halved."""
        *others, last = x.shape[2:]
        squares = [torch.fft.fftfreq(n, device=x.device, dtype=torch.float32).square() for n in others]
        squares.append(torch.fft.rfftfreq(last, device=x.device, dtype=torch.float32).square())
        total = squares[-1]
        for square in reversed(squares[:-1]):
            total = square.reshape(-1, *(1,) * total.dim()) + total
        slowest = 1.0 / max(x.shape[2:])
        # in units of UNCHANGED, squared
        relative: Tensor = total.clamp_min(slowest**2) * (self.share / UNCHANGED) ** 2
        return relative.pow(-0.5 * self.exponent).to(x.dtype)
