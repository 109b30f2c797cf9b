"""Where nothing was recorded: codecs bridge such gaps, so that what computes sees numbers, and mark them again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nst_nd.errors import InputError
from nst_nd.sample import Data


def bridged(data: Data, gaps: NDArray[np.bool_]) -> tuple[Data, NDArray[np.bool_] | None, list[str]]:
    """Data [lead, time] with a straight line over every gap, the gaps (None without any), and a note that says so.

    Raises InputError for a lead that is nothing but a gap.
    """
    if not gaps.any():
        return data, None, []
    empty = np.flatnonzero(gaps.all(axis=1))
    if len(empty):
        raise InputError(f"lead {int(empty[0]) + 1} holds no sample at all, only gaps; leave it out")
    data = data.copy()
    time = np.arange(data.shape[1])
    for lead, gap in zip(data, gaps, strict=True):
        if gap.any():
            lead[gap] = np.interp(time[gap], time[~gap], lead[~gap])
    starts = np.diff(gaps.astype(np.int8), axis=1, prepend=0) == 1
    said = f"{int(starts.sum())} gaps of {int(gaps.sum())} samples: they stay, and nothing is made of them"
    return data, gaps, [said]
