"""How the generated signal is made from what is optimised: G = C + H(z), with H linear.

z = 0 is the content bit for bit, whatever H is. H may leave out low frequencies (then they stay the content's) and
positions (then they stay the content's, bit for bit).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nst_nd import nd


@dataclass(frozen=True)
class Iterate:
    """G = base + free * (z - lowpass(z)).

    base: [1, nc, *space], the content (zeros where there is none).
    lock: Gaussian sigma in samples per axis of the low-pass that z goes without; None: z passes whole.
    free: [1, 1, *space], 1 where the signal may change and 0 where it must not; None: everywhere.
    """

    base: Tensor
    lock: tuple[float, ...] | None = None
    free: Tensor | None = None

    def signal(self, z: Float[Tensor, "1 channel *space"]) -> Float[Tensor, "1 channel *space"]:
        """The generated signal, in the shape of base."""
        return self.base + self.change(z)

    def vjp(self, grad: Float[Tensor, "1 channel *space"]) -> Float[Tensor, "1 channel *space"]:
        """The gradient at z from that at the signal: the adjoint of H."""
        if self.free is not None:
            grad = grad * self.free
        if self.lock is None:
            return grad
        with torch.enable_grad():
            leaf = torch.zeros_like(grad).requires_grad_()
            low = nd.smooth(leaf, self.lock)
        return grad - torch.autograd.grad(low, leaf, grad)[0]

    def change(self, z: Float[Tensor, "1 channel *space"]) -> Float[Tensor, "1 channel *space"]:
        """H(z), what the generated signal differs from the base by."""
        if self.lock is not None:
            z = z - nd.smooth(z, self.lock)
        return z if self.free is None else z * self.free
