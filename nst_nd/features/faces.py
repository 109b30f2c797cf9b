"""The way back of a convolution over a signal that is continued beyond its ends.

A gradient at the continued signal is larger than the signal, and what is cut out of it has gaps in memory, so that all
that follows takes two to three times as long (measured: 64 channels, 128^3). Inside it is what it is with zeros beyond
the ends. What lies outside is as thin as the kernel's halo: it is made face by face, and added where the border took
it from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from nst_nd import nd
from nst_nd.borders import add_ends, folded

# (signal, kernel, zeros around it) -> their cross-correlation with stride 1
Correlate = Callable[[Tensor, Tensor, Sequence[int]], Tensor]


def add_faces(
    inside: Float[Tensor, "1 channel *space"],
    grad: Float[Tensor, "1 out *space"],
    kernel: Float[Tensor, "channel out *taps"],
    mode: nd.Padding,
    correlate: Correlate,
) -> None:
    """Adds to `inside` what a border of this mode sends back of a gradient at a convolution's output.

    kernel: as the way back has it, see Convolution; odd along each axis, and no signal is shorter than half of it.
    """
    halo = [k // 2 for k in kernel.shape[2:]]
    for axis, h in enumerate(halo, start=2):
        n = grad.shape[axis]
        if not h:
            continue
        # axes before this one are inside, those after it are folded here: every corner is made once
        amount = [*halo[: axis - 2], h - 1, *(2 * other for other in halo[axis - 1 :])]
        before, after = (
            correlate(nd.channels_last(grad.narrow(axis, start, h)), kernel.narrow(axis, tap, h), amount)
            for start, tap in ((0, h + 1), (n - h, 0))
        )
        before, after = before.narrow(axis, 0, h), after.narrow(axis, after.shape[axis] - h, h)
        for other in range(axis + 1, grad.dim()):
            reach = halo[other - 2]
            before, after = (folded(part, other, reach, reach, mode) for part in (before, after))
        add_ends(inside, axis, before, after, mode)
