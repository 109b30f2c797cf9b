"""How the generated signal is made from what is optimised: G = base + H(z), with H linear.

z = 0 is the base bit for bit, whatever H is. H may leave out low frequencies (then they stay the content's) and
positions (then they stay the content's, bit for bit), and may weigh frequencies, so that steps suit all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from nst_nd import nd

# K(m) is at least a fraction of one sample's weight wherever m is 1
LEAST_REACH = 1e-6


@runtime_checkable
class LowPass(Protocol):
    """A linear low-pass of signals [1, C, *space], sigma in samples per axis, and its transpose.

    out: where the result goes, which may be x; None: wherever it likes. See nd.smooth, which is one.
    """

    def __call__(self, x: Tensor, sigma: tuple[float, ...], *, out: Tensor | None = None) -> Tensor:
        """x smoothed."""
        ...

    def adjoint(self, x: Tensor, sigma: tuple[float, ...], *, out: Tensor | None = None) -> Tensor:
        """The transpose of smoothing, of x."""
        ...


class _Whole:
    """All of the signal is here."""

    def __call__(self, x: Tensor, sigma: tuple[float, ...], *, out: Tensor | None = None) -> Tensor:
        return nd.smooth(x, sigma, out=out)

    def adjoint(self, x: Tensor, sigma: tuple[float, ...], *, out: Tensor | None = None) -> Tensor:
        return nd.smooth_adjoint(x, sigma, out=out)


@dataclass(frozen=True)
class Iterate:
    """G = base + H(H(z)) with H(z) = m (z - K(m z) / K(m)), m where it may change and K a Gaussian low-pass.

    The low-pass is the mean over what is free nearby (normalised convolution, Knutsson & Westin 1993): nothing from
    outside leaks in. H is applied twice because once still lets through a fifth of a wave that K halves.

    base: [1, nc, *space].
    lock: sigma of K in samples per axis; None: only m applies.
    free: [1, 1, *space], m: 1 where the signal may change and 0 where it must not; None: everywhere. It is not
        changed once there is an Iterate of it: K(m) is computed once.
    low_pass: K, where base, free and z are only one process's part of them; None: they are whole.
    shaping: a filter that is its own transpose, see Shaping: z goes through it first.

    Beside what comes in and goes out, one array of its size is held at a time.
    """

    base: Tensor
    lock: tuple[float, ...] | None = None
    free: Tensor | None = None
    low_pass: LowPass | None = None
    shaping: Callable[[Tensor], Tensor] | None = None
    # K(m), once it is known; not a cached_property, which lets one thread at a time compute (Python 3.11), while the
    # processes of a team, which may be threads, wait for each other in the low-pass
    _reached: list[Tensor] = field(default_factory=list, init=False, repr=False, compare=False)

    def signal(self, z: Float[Tensor, "1 channel *space"]) -> Float[Tensor, "1 channel *space"]:
        """The generated signal, in the shape of base."""
        change = self.change(z)
        return self.base + change if change is z else change.add_(self.base)

    def change(self, z: Float[Tensor, "1 channel *space"]) -> Float[Tensor, "1 channel *space"]:
        """What the generated signal differs from the base by; z itself where all of it is let through."""
        shaped = z if self.shaping is None else self.shaping(z)
        if self.lock is None:
            return shaped if self.free is None else shaped * self.free
        x = shaped.clone() if shaped is z else shaped
        return self._high_(self._high_(x, self.lock), self.lock)

    def vjp(self, grad: Float[Tensor, "1 channel *space"]) -> Float[Tensor, "1 channel *space"]:
        """The gradient at z from that at the signal: the adjoint of `change`."""
        if self.lock is None:
            at_change = grad if self.free is None else grad * self.free
        else:
            x = grad.clone()
            at_change = self._high_adjoint_(self._high_adjoint_(x, self.lock), self.lock)
        return at_change if self.shaping is None else self.shaping(at_change)

    def _high_(self, x: Tensor, lock: tuple[float, ...]) -> Tensor:
        """H(x), in the memory of x."""
        if self.free is None:
            return x.sub_(self._k(x, lock))
        low = self._k(x.mul_(self.free), lock)
        # a low-pass that does nothing may answer with x itself
        low = low.clone() if low is x else low
        return x.sub_(low.mul_(self.free).div_(self._reach(self.free, lock)))

    def _high_adjoint_(self, x: Tensor, lock: tuple[float, ...]) -> Tensor:
        """The adjoint of H at x, in the memory of x."""
        if self.free is None:
            return x.sub_(self._k.adjoint(x, lock))
        seen = x * self.free
        seen.div_(self._reach(self.free, lock))
        return x.sub_(self._k.adjoint(seen, lock, out=seen)).mul_(self.free)

    @property
    def _k(self) -> LowPass:
        return _Whole() if self.low_pass is None else self.low_pass

    def _reach(self, free: Tensor, lock: tuple[float, ...]) -> Tensor:
        """K(m), kept away from 0 where nothing free is near (there m is 0 as well)."""
        if not self._reached:
            self._reached.append(self._k(free, lock).clamp_min(LEAST_REACH))
        return self._reached[0]
