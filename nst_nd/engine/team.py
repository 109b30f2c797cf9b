"""Several processes on one signal: who has which slab, and what they tell each other. Alone, all of it does nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from nst_nd.boxes import Box, Span, around, overlap, whole
from nst_nd.errors import InputError, PeerLostError


class Transfer(NamedTuple):
    """Positions along the axis that one process has and another one needs; `at` is where the other one counts them."""

    sender: int
    receiver: int
    own: Span
    at: Span


@dataclass(frozen=True)
class Split:
    """A signal in slabs along one axis, one for each process, at one resolution."""

    axis: int
    spans: tuple[Span, ...]

    @classmethod
    def along_longest(cls, size: Sequence[int], count: int, cell: Sequence[int], allowed: Sequence[int]) -> Split:
        """Nearly equal slabs, cut on multiples of `cell` along the longest of the allowed axes.

        Raises InputError where that axis has fewer cells than there are processes.
        """
        if not allowed:
            raise InputError("no axis of this signal can be shared out over processes; run it in one")
        axis = max(allowed, key=lambda a: size[a])
        cells = size[axis] // cell[axis]
        if count > max(1, cells):
            raise InputError(
                f"{count} processes for {size[axis]} positions in cells of {cell[axis]} (the network's pooling)\n"
                f"allowed: at most {max(1, cells)} processes"
            )
        edges = [(i * cells // count) * cell[axis] for i in range(count)] + [size[axis]]
        return cls(axis, tuple(Span(a, b) for a, b in pairwise(edges)))

    def coarser(self, stride: Sequence[int], size: Sequence[int]) -> Split:
        """The same slabs of the output, of `size`, of a stage with this stride."""
        s = stride[self.axis]
        last = len(self.spans) - 1
        spans = (Span(a // s, size[self.axis] if i == last else b // s) for i, (a, b) in enumerate(self.spans))
        return Split(self.axis, tuple(spans))

    def owned(self, rank: int, size: Sequence[int]) -> Box:
        """The slab of one process."""
        box = list(whole(size))
        box[self.axis] = self.spans[rank]
        return tuple(box)

    def transfers(self, reach: Sequence[Span], length: int) -> list[Transfer]:
        """What has to change hands so that each process has its `reach`, which may wrap around `length` positions."""
        found = []
        for receiver, (wide, own) in enumerate(zip(reach, self.spans, strict=True)):
            for margin in (Span(wide.start, own.start), Span(own.stop, wide.stop)):
                found += [
                    Transfer(sender, receiver, source, at)
                    for start, at in around(margin, length)
                    for sender, has in enumerate(self.spans)
                    for source, at in _shared(start, at, has)
                ]
        return found


def _shared(source: Span, at: Span, has: Span) -> list[tuple[Span, Span]]:
    both = overlap(source, has)
    shift = at.start - source.start
    return [(both, Span(both.start + shift, both.stop + shift))] if both.length else []


class Team:
    """The processes of one job; this one is number `rank` of `count`."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, the same bits in each; values themselves where there is only one."""
        if self.count > 1:
            with _explained():
                torch.distributed.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is True in any process."""
        if self.count == 1:
            return flag
        return bool(self.total(torch.tensor(float(flag), dtype=torch.float64)) > 0)

    def swap(self, sends: Sequence[tuple[int, Tensor]], receives: Sequence[tuple[int, Tensor]]) -> None:
        """Send contiguous tensors to processes and fill others from them; pairs of processes agree on the order."""
        if not sends and not receives:
            return
        dist = torch.distributed
        operations = [dist.P2POp(dist.isend, tensor, to) for to, tensor in sends]
        operations += [dist.P2POp(dist.irecv, tensor, source) for source, tensor in receives]
        with _explained():
            for work in dist.batch_isend_irecv(operations):
                work.wait()

    def gather_words(self, words: str) -> list[str] | None:
        """Every process's text, in order, at process 0; None at the others."""
        encoded = torch.frombuffer(bytearray(words.encode()), dtype=torch.uint8)
        lengths = torch.zeros(self.count, dtype=torch.float64)
        lengths[self.rank] = encoded.numel()
        self.total(lengths)
        if self.rank:
            self.swap([(0, encoded)], [])
            return None
        others = [torch.empty(int(n), dtype=torch.uint8) for n in lengths[1:].tolist()]
        self.swap([], list(enumerate(others, start=1)))
        return [words, *(bytes(other.numpy()).decode() for other in others)]


ALONE = Team()


class _explained:  # noqa: N801
    """A lost peer as an error that says so."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RuntimeError):
            raise PeerLostError(
                "another process of this job has stopped, so this one stops too\n"
                f"({str(error).splitlines()[0][:160]})\nsee its own message; --resume goes on from the last checkpoint"
            ) from error
