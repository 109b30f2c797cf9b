"""Whether a volume can be in HU at all: asked before a photo, an MR or unrescaled numbers are taken for a CT."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nst_nd import scratch
from nst_nd.errors import InputError
from nst_nd.sample import Data, Sample

# further out there is neither metal (30 000 on extended scales) nor padding (-32768 and what a rescale makes of it)
FURTHEST = 100_000.0
# air with its noise reaches hardly further down; below is padding: -1200, -2000, -3024, -32768
LOWEST_AIR = -1100.0
# what counts as cut at 0, see check_hounsfield
WIDE = 100.0
SHARE = 0.05
MANY, FEW = 100, 10
NEAR, FLAT = 10.0, 15
_HINT = "choose another preset (volume), or rescale it to HU first (air -1000, water 0)"


def check_hounsfield(sample: Sample, what: str) -> list[str]:
    """Notes on a volume [channel, i, j, k] that may be in HU: on what lies below air, padding or its noise.

    what: "content" or "style", for the words. Raises InputError only for values that no scan and no crop of one has:

    - beyond +-FURTHEST;
    - all within -1..1 and not constant: a scan has noise of several HU, these are normalised;
    - cut at 0, that is none below it and a heap at exactly 0. The noise of a scan has tails on both sides: a crop of
      soft tissue (20..80) does not reach 0, and one that does goes on below. Photos, windowed 8-bit CT, MR with its
      background, label maps and CT stored without its intercept are cut. A heap is MANY zeros, or FEW where the values
      up to NEAR are at most FLAT times as many (the tail of a noise that is too weak to reach below 0 climbs faster);
      in a volume that does not reach WIDE, which may be one tissue with hardly any noise, SHARE of all voxels.

    A sample whose file itself says HU (DICOM) is asked for its bounds only. What slips through, small or noisy MR
    without enough zeros, is refused later where no voxel lies within the region of the settings.
    """
    lows, highs = scratch.extremes(sample.data)
    low, high = float(lows.min()), float(highs.max())
    got = f"the {what} cannot be CT in HU: its values are {low:g} to {high:g}"
    if max(-low, high) > FURTHEST:
        raise InputError(f"{got}; allowed: {-FURTHEST:g} to {FURTHEST:g}\n{_HINT}")
    if sample.units != "HU" and low < high:
        if low >= -1.0 and high <= 1.0:
            raise InputError(f"{got}, as of a normalised image\n{_HINT}")
        if low == 0.0 and (zeros := _heap(sample.data, high)):
            raise InputError(f"{got}, none below 0 but {zeros} of {sample.data.size} at exactly 0: cut there\n{_HINT}")
    if low >= LOWEST_AIR:
        return []
    padding = _count(lambda piece: piece < LOWEST_AIR, sample.data)
    return [f"{padding} voxels of the {what} lie below {LOWEST_AIR:g} HU (down to {low:g}): padding or noise of air"]


def _heap(data: Data, high: float) -> int:
    """The number of zeros in values of 0 to `high` where it is a heap, else 0."""
    zeros = _count(lambda piece: piece == 0.0, data)
    if high < WIDE:
        return zeros if zeros >= max(FEW, SHARE * data.size) else 0
    if FEW <= zeros < MANY:
        near = _count(lambda piece: (piece > 0.0) & (piece <= NEAR), data)
        return zeros if near <= FLAT * zeros else 0
    return zeros if zeros >= MANY else 0


def _count(which: Callable[[Data], NDArray[np.bool_]], data: Data) -> int:
    """Voxels for which this holds, a piece at a time."""
    found = 0
    for piece in scratch.chunks(data, 1):
        found += int(np.count_nonzero(which(data[:, piece])))
        scratch.release(data)
    return found
