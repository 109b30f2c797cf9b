"""The highest activations of one signal that are not neighbours, and the best of many signals."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from torch import Tensor

from nst_nd import scratch
from nst_nd.boxes import Box

# what rounding makes of one value in different tiles is the same value, and the first position with it counts
ALIKE = 1e-5
_DIGITS = 5
Item = TypeVar("Item")


class Peak(NamedTuple):
    """A high activation. position: of the tap, one number per axis."""

    activation: float
    position: tuple[int, ...]


class ActivationMap:
    """Activations of some units over one whole signal, [unit, *size], in memory or a scratch file.

    It takes them tile by tile in any order, so that what is then found in it does not depend on tiles.
    """

    def __init__(self, units: Sequence[int], size: Sequence[int]) -> None:
        self.units = list(units)
        self.values = scratch.empty((len(self.units), *size), np.float32)

    def take(self, box: Box, activations: Tensor) -> None:
        """Those of a box of positions, [1, C, *box]."""
        inside = (slice(None), *(slice(span.start, span.stop) for span in box))
        self.values[inside] = activations[0, self.units].float().cpu().numpy()
        scratch.release(self.values)

    @property
    def size(self) -> tuple[int, ...]:
        """Positions per axis."""
        return tuple(self.values.shape[1:])

    def keep(self, box: Box) -> None:
        """Leave out all positions but those of a box, which may be empty."""
        for axis, span in enumerate(box, start=1):
            for outside in (slice(0, max(0, span.start)), slice(max(0, span.stop), None)):
                self.values[(*(slice(None),) * axis, outside)] = -np.inf
        scratch.release(self.values)

    def leave_out(self, weight: Tensor) -> None:
        """Positions that do not count: where a weight [1, 1, *size] is 0."""
        nowhere = weight[0, 0].cpu().numpy() <= 0
        for rows in scratch.chunks(self.values, 1):
            self.values[:, rows][:, nowhere[rows]] = -np.inf
            scratch.release(self.values)

    def peaks(self, row: int, reach: Sequence[int]) -> Iterator[Peak]:
        """Of the unit in this row, from the highest down; none within `reach` of a higher one along every axis.

        Greedy suppression (Neubeck & Van Gool 2006). Activations of exactly 0 are no response and end it. What has been
        given is gone from the map.
        """
        values = self.values[row]
        parts = list(scratch.chunks(values, 0))
        highest = []
        for part in parts:
            highest.append(float(values[part].max()))
            scratch.release(self.values)
        while True:
            top = max(highest)
            if not np.isfinite(top) or top == 0.0:
                return
            least = top - ALIKE * abs(top)
            number = next(n for n, value in enumerate(highest) if value >= least)
            here = values[parts[number]]
            place = np.unravel_index(int(np.argmax(here >= least)), here.shape)
            position = (int(place[0]) + parts[number].start, *(int(p) for p in place[1:]))
            yield Peak(float(values[position]), position)
            near = tuple(slice(max(0, p - r), p + r + 1) for p, r in zip(position, reach, strict=True))
            values[near] = -np.inf
            for n, part in enumerate(parts):
                if part.start < near[0].stop and part.stop > near[0].start:
                    highest[n] = float(values[part].max())
            scratch.release(self.values)


def rank(activation: float) -> float:
    """What activations are ordered by: those that differ by rounding alone are equal."""
    return float(f"{activation:.{_DIGITS - 1}e}")


class Best(Generic[Item]):
    """The `count` items with the highest activations; of equal ones those that came first."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept: list[tuple[float, int, Any]] = []
        self._seen = 0

    def wants(self, activation: float) -> bool:
        """Whether an item with this activation would be kept."""
        return len(self._kept) < self.count or -rank(activation) < self._kept[-1][0]

    def add(self, activation: float, item: Item) -> None:
        """Keep it, if it is among the best."""
        if self.wants(activation):
            self._seen += 1
            insort(self._kept, (-rank(activation), self._seen, item), key=lambda kept: kept[:2])
            del self._kept[self.count :]

    @property
    def items(self) -> list[Item]:
        """From the highest down."""
        return [item for _, _, item in self._kept]
