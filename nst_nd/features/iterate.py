"""How the generated signal is made from what is optimised: G = base + H(z), with H linear.

z = 0 is the base bit for bit, whatever H is. H may leave out low frequencies (then they stay the content's) and
positions (then they stay the content's, bit for bit).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nst_nd import nd

# K(m) is at least a fraction of one sample's weight wherever m is 1
LEAST_REACH = 1e-6


@dataclass(frozen=True)
class Iterate:
    """G = base + H(H(z)) with H(z) = m (z - K(m z) / K(m)), m where it may change and K a Gaussian low-pass.

    The low-pass is the mean over what is free nearby (normalised convolution, Knutsson & Westin 1993): nothing from
    outside leaks in. H is applied twice because once still lets through a fifth of a wave that K halves.

    base: [1, nc, *space].
    lock: sigma of K in samples per axis; None: only m applies.
    free: [1, 1, *space], m: 1 where the signal may change and 0 where it must not; None: everywhere.
    """

    base: Tensor
    lock: tuple[float, ...] | None = None
    free: Tensor | None = None

    def signal(self, z: Float[Tensor, "1 channel *space"]) -> Float[Tensor, "1 channel *space"]:
        """The generated signal, in the shape of base."""
        return self.base + self.change(z)

    def change(self, z: Float[Tensor, "1 channel *space"]) -> Float[Tensor, "1 channel *space"]:
        """What the generated signal differs from the base by."""
        if self.lock is None:
            return z if self.free is None else z * self.free
        return self._high(self._high(z, self.lock), self.lock)

    def vjp(self, grad: Float[Tensor, "1 channel *space"]) -> Float[Tensor, "1 channel *space"]:
        """The gradient at z from that at the signal: the adjoint of `change`."""
        if self.lock is None:
            return grad if self.free is None else grad * self.free
        return self._high_adjoint(self._high_adjoint(grad, self.lock), self.lock)

    def _high(self, z: Tensor, lock: tuple[float, ...]) -> Tensor:
        if self.free is None:
            return z - nd.smooth(z, lock)
        z = z * self.free
        return z - self.free * nd.smooth(z, lock) / self._reach(lock)

    def _high_adjoint(self, grad: Tensor, lock: tuple[float, ...]) -> Tensor:
        seen = grad if self.free is None else grad * self.free / self._reach(lock)
        with torch.enable_grad():
            leaf = torch.zeros_like(grad).requires_grad_()
            low = nd.smooth(leaf, lock)
        grad = grad - torch.autograd.grad(low, leaf, seen)[0]
        return grad if self.free is None else grad * self.free

    def _reach(self, lock: tuple[float, ...]) -> Tensor:
        """K(m), kept away from 0 where nothing free is near (there m is 0 as well)."""
        assert self.free is not None
        return nd.smooth(self.free, lock).clamp_min(LEAST_REACH)
