"""A linear-phase filter of signals: equalises sound, and gives the iterate steps that suit every frequency.

What a sound has at one frequency may be a hundred thousand times less than at another, and a cost in logarithms asks
both to change by the same share. Steps in a filtered variable, G = base + F z, do: F then preconditions descent
(Nocedal & Wright 2006, section 5.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from nst_nd import nd
from nst_nd.errors import InputError

# of the kernel, at most: 11 Hz apart at 44.1 kHz
LONGEST = 4095
# a block of the fast convolution is at least so many times the kernel: the kernel's share of it is lost
BLOCKS = 16
# and so many are transformed at a time, by all threads
AT_ONCE = 8


@dataclass(frozen=True)
class Shaping:
    """Convolution with a symmetric kernel [odd length] along the last axis; silence lies beyond the ends.

    It is its own transpose. response: [bins] from 0 to half the sampling rate, what it multiplies each frequency by.
    """

    response: Float[Tensor, " bin"]
    kernel: Float[Tensor, " tap"]

    @classmethod
    def of(cls, response: Float[Tensor, " bin"], longest: int = LONGEST) -> Shaping:
        """With about this real response of 0 or more, evenly spaced; the kernel is tapered, which smooths it a little.

        Raises InputError for fewer than two bins, and values that are negative or not finite.
        """
        if response.numel() < 2 or not torch.isfinite(response).all() or (response < 0).any():
            raise InputError("a filter needs two or more values of its response, finite and 0 or more")
        response = response.double()
        whole = torch.fft.irfft(response)
        length = min(longest, whole.numel() // 2 * 2 - 1)
        half = length // 2
        kernel = torch.cat([whole[-half:] if half else whole[:0], whole[: half + 1]])
        taper = torch.hann_window(length + 2, periodic=False, dtype=torch.float64)[1:-1]
        return cls(response, (kernel * taper).float())

    @property
    def reach(self) -> int:
        """Samples on either side that it sees."""
        return self.kernel.numel() // 2

    def __call__(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch channel time"]:
        """x filtered, in the same shape; block by block (overlap-save), so that memory is bounded."""
        length, taps = x.shape[-1], self.kernel.numel()
        block = 1 << (BLOCKS * taps - 1).bit_length()
        block = min(block, 1 << (length + taps - 2).bit_length())
        step = block - taps + 1
        spectrum = torch.fft.rfft(self.kernel.to(x), n=block)
        out = torch.empty_like(x)
        for start in range(0, length, AT_ONCE * step):
            count = min(AT_ONCE, -(-(length - start) // step))
            low, stop = start - self.reach, min(length, start + count * step)
            first, last = max(0, low), min(length, low + count * step + taps - 1)
            piece = x.new_zeros(*x.shape[:-1], count * step + taps - 1)
            piece[..., first - low : last - low] = x[..., first:last]
            filtered = torch.fft.irfft(torch.fft.rfft(piece.unfold(-1, block, step)) * spectrum, n=block)
            out[..., start:stop] = filtered[..., taps - 1 :].flatten(-2)[..., : stop - start]
        return out

    def mirrored(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch channel time"]:
        """x filtered as if it went on mirrored: where it is cut off, silence would make a click of the cut."""
        reach = min(self.reach, x.shape[-1] - 1)
        return self(nd.pad(x, (reach,), "reflect"))[..., reach : reach + x.shape[-1]]

    def at(self, share: float) -> Shaping:
        """The same for a signal with this share of the samples: what lies above its half rate is left out."""
        if share == 1.0:
            return self
        bins = max(2, round(share * self.response.numel()))
        return Shaping.of(self.response[:bins], self.kernel.numel())

    def to(self, device: torch.device) -> Shaping:
        """The same filter with its kernel there."""
        return replace(self, kernel=self.kernel.to(device))
