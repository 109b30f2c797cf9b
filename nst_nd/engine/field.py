"""Full-size arrays that tiles are read from and written to: in memory or in a mapped file, whole or a slab."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from nst_nd import nd, scratch
from nst_nd.boxes import Box, Span, size_of, slices, unwrapped, whole
from nst_nd.engine.team import ALONE, Split, Team

# device: beside the computation; host: pinned memory of the machine; file: a mapped scratch file
Place = Literal["device", "host", "file"]


class Field:
    """An array [1, C, *size] of which this process has the box `held`: its own part and perhaps a margin.

    Boxes are positions of the whole array; one that wraps around its ends is put together.
    """

    def __init__(
        self, data: Tensor, size: Sequence[int], held: Box, *, team: Team = ALONE, split: Split | None = None
    ) -> None:
        self.data, self.size, self.held = data, tuple(size), held
        self.team, self.split = team, split
        self.reach: tuple[Span, ...] = ()
        self.device = data.device

    @classmethod
    def of(cls, data: Tensor) -> Field:
        """All of it is here."""
        return cls(data, data.shape[2:], whole(data.shape[2:]))

    @classmethod
    def slab(cls, data: Tensor, size: Sequence[int], team: Team, split: Split | None) -> Field:
        """This process's own part, without a margin."""
        held = whole(size) if split is None else split.owned(team.rank, size)
        return cls(data, size, held, team=team, split=split)

    @classmethod
    def empty(
        cls,
        nc: int,
        size: Sequence[int],
        like: Tensor,
        place: Place,
        team: Team,
        split: Split | None,
        reach: Sequence[Span] = (),
    ) -> Field:
        """Room for this process's part and its margin; reach: what each process holds along the split axis."""
        held = list(whole(size))
        if split is not None:
            held[split.axis] = reach[team.rank] if reach else split.spans[team.rank]
        box = tuple(held)
        field = cls(_room((1, nc, *size_of(box)), like, place), size, box, team=team, split=split)
        field.reach, field.device = tuple(reach), like.device
        return field

    def read(self, box: Box, *, copy: bool = False) -> Tensor:
        """[1, C, *box] on the device; a view where that is possible, unless `copy`."""
        if all(h.holds(b) for h, b in zip(self.held, box, strict=True)):
            view = self.data[slices(box, self.held)]
            if box == self.held and self.data.device == self.device and not copy and not scratch.is_mapped(self.data):
                return view
            here = nd.empty(view.shape, self.data).copy_(view)
        else:
            here = nd.empty((*self.data.shape[:2], *size_of(box)), self.data)
            for source, at in unwrapped(box, self.held, self.size):
                here[slices(at, box)] = self.data[slices(source, self.held)]
        scratch.release(self.data)
        return here.to(self.device, non_blocking=True)

    def write(self, box: Box, values: Tensor) -> None:
        """Set a box that is held."""
        self.data[slices(box, self.held)] = values.to(self.data.device)
        scratch.release(self.data)

    def add(self, box: Box, values: Tensor) -> None:
        """Add to a box, which may wrap around."""
        values = values.to(self.data.device)
        if all(h.holds(b) for h, b in zip(self.held, box, strict=True)):
            self.data[slices(box, self.held)] += values
        else:
            for source, at in unwrapped(box, self.held, self.size):
                self.data[slices(source, self.held)] += values[slices(at, box)]
        scratch.release(self.data)

    def zero(self) -> None:
        """0 everywhere."""
        for at in range(0, self.data.shape[2], self._rows()):
            self.data.narrow(2, at, min(self._rows(), self.data.shape[2] - at)).zero_()
            scratch.release(self.data)

    def _rows(self) -> int:
        """Positions along the first axis at a time: all of an array in memory, a piece of a mapped one."""
        rows = self.data.shape[2]
        if not scratch.is_mapped(self.data):
            return rows
        return max(1, rows * scratch.PIECE // (self.data.numel() * self.data.element_size()))

    def exchange(self) -> None:
        """Fill the margins with what their owners have."""
        self._transfer(back=False)

    def fold(self) -> None:
        """Add what has come together in the margins to their owners' own."""
        self._transfer(back=True)

    def _transfer(self, *, back: bool) -> None:
        if self.split is None or self.team.count == 1 or not self.reach:
            return
        rank, axis = self.team.rank, self.split.axis
        sends: list[tuple[int, Tensor]] = []
        receives: list[tuple[int, Tensor]] = []
        places: list[Tensor] = []
        for t in self.split.transfers(self.reach, self.size[axis]):
            giver, taker = (t.receiver, t.sender) if back else (t.sender, t.receiver)
            given, taken = (t.at, t.own) if back else (t.own, t.at)
            if giver == taker == rank:
                self._put(self._part(taken, axis), self._part(given, axis).clone(), back)
            elif giver == rank:
                sends.append((taker, self._part(given, axis).contiguous().to(self.device)))
            elif taker == rank:
                places.append(self._part(taken, axis))
                receives.append((giver, torch.empty(places[-1].shape, dtype=self.data.dtype, device=self.device)))
        self.team.swap(sends, receives)
        for place, (_, values) in zip(places, receives, strict=True):
            self._put(place, values.to(self.data.device), back)
        scratch.release(self.data)

    def _part(self, span: Span, axis: int) -> Tensor:
        return self.data.narrow(2 + axis, span.start - self.held[axis].start, span.length)

    @staticmethod
    def _put(place: Tensor, values: Tensor, add: bool) -> None:
        if add:
            place.add_(values)
        else:
            place.copy_(values)


def _room(shape: Sequence[int], like: Tensor, place: Place) -> Tensor:
    """An array with the channels innermost; its content is undefined."""
    if place == "device":
        return nd.empty(shape, like)
    last = (1, *shape[2:], shape[1])
    if place == "file":
        make: Callable[..., Tensor] = lambda s: scratch.mapped_tensor(s, like.dtype)  # noqa: E731
    else:
        make = lambda s: torch.empty(s, dtype=like.dtype, pin_memory=like.device.type == "cuda")  # noqa: E731
    return make(last).movedim(-1, 1)
