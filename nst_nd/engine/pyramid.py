"""Coarse to fine: the sizes of the scales, and how many steps each one gets."""

from __future__ import annotations

from collections.abc import Sequence

from nst_nd.errors import InputError


def scale_sizes(
    shape: Sequence[int], shares: Sequence[float], least: Sequence[int], what: str = "the signal"
) -> list[tuple[tuple[int, ...], float]]:
    """(size, share) from coarse to fine; scales on which an axis would be smaller than `least` are left out.

    Raises InputError if the full size itself is too small.
    """
    if any(n < m for n, m in zip(shape, least, strict=True)):
        got, need = ("x".join(str(n) for n in s) for s in (shape, least))
        raise InputError(f"{what} has size {got}; these layers need at least {need}\nuse layers less deep")
    sizes = [(tuple(max(1, round(n * share)) for n in shape), share) for share in shares]
    return [(size, s) for size, s in sizes if all(n >= m for n, m in zip(size, least, strict=True))]


def share_iterations(total: int, shares: Sequence[float], ndim: int) -> list[int]:
    """`total` steps over the scales, each in proportion to the inverse square root of its positions.

    Coarse steps are cheap and move the most; what a fine scale adds to a good start takes fewer. What rounding leaves
    over goes to the coarsest.
    """
    weights = [share ** (-ndim / 2.0) for share in shares]
    steps = [int(total * w / sum(weights)) for w in weights]
    return [steps[0] + total - sum(steps), *steps[1:]]
