"""What the jobs of a process share: networks, and what styles look like to them. Off unless `share` is called."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from nst_nd.domains.target_cache import digest
from nst_nd.features.convolution import by_winograd
from nst_nd.features.extractor import Extractor
from nst_nd.features.precision import Precision, in_precision
from nst_nd.features.statistics import Moments

# of each kind, the latest
MOST_NETWORKS, MOST_TARGETS = 16, 128

T = TypeVar("T")


class Shared:
    """Networks by how they were made, the same on a device, and moments of styles; what is made once is used again."""

    def __init__(self) -> None:
        self.built: OrderedDict[Any, Extractor] = OrderedDict()
        self.moved: OrderedDict[Any, tuple[Extractor, Extractor]] = OrderedDict()
        self.seen: OrderedDict[Any, tuple[Extractor, dict[str, Moments]]] = OrderedDict()

    def network(self, key: str, make: Callable[[], Extractor]) -> Extractor:
        """One made with these arguments."""
        return _kept(self.built, key, make, MOST_NETWORKS)

    def on(self, extractor: Extractor, device: torch.device, precision: Precision, *, fast: bool) -> Extractor:
        """The same in these numbers on a device."""
        # the network is kept beside what came of it, so that its id is not given to another one
        key = id(extractor), str(device), precision, fast
        made = _kept(self.moved, key, lambda: (extractor, _on(extractor, device, precision, fast)), MOST_NETWORKS)
        return made[1]

    def moments(
        self,
        extractor: Extractor,
        how: tuple[Any, ...],
        x: Tensor,
        mask: Tensor | None,
        make: Callable[[], dict[str, Moments]],
    ) -> dict[str, Moments]:
        """Of a style [1, C, *space] with its mask, by a network. how: everything else that they depend on."""
        key = id(extractor), how, digest(x), digest(mask)
        return _kept(self.seen, key, lambda: (extractor, make()), MOST_TARGETS)[1]


_shared: Shared | None = None


def share() -> None:
    """From now on, this process keeps networks and targets for its next jobs."""
    global _shared  # of the process, as its memory is
    _shared = Shared()


def shared() -> Shared | None:
    """What is shared; None where nothing is."""
    return _shared


def on_device(
    extractor: Extractor, device: torch.device, precision: Precision = "float32", *, fast: bool = False
) -> Extractor:
    """The same in these numbers on a device, kept where networks are shared; fast: see by_winograd."""
    if _shared is None:
        return _on(extractor, device, precision, fast)
    return _shared.on(extractor, device, precision, fast=fast)


def _on(extractor: Extractor, device: torch.device, precision: Precision, fast: bool) -> Extractor:
    placed = in_precision(extractor, device, precision)
    return by_winograd(placed) if fast else placed


def _kept(known: OrderedDict[Any, T], key: Any, make: Callable[[], T], most: int) -> T:
    if key not in known:
        known[key] = make()
        if len(known) > most:
            known.popitem(last=False)
    known.move_to_end(key)
    return known[key]
