"""Which jobs are not like the others, metric by metric."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

# modified z-score above which a value is marked, and the fewest values that it is worked out of
FAR, FEWEST = 3.5, 8
# of a normal distribution: sd over median absolute deviation, and over mean absolute deviation
_OF_MEDIAN, _OF_MEAN = 1.4826, 1.2533
# what stands for something infinitely far away
MOST = 999.0


def robust_z(values: Mapping[str, float]) -> dict[str, float]:
    """Of each value by name: how many robust standard deviations it is from the median, within plus or minus MOST.

    Modified z-scores (Iglewicz & Hoaglin 1993): the median absolute deviation stands for the spread; where half of the
    values are the same, the mean one. Values that are missing (NaN) have none; nor has anything among fewer than FEWEST
    or where all are the same. Infinite values are infinitely far.
    """
    present = {name: value for name, value in values.items() if not math.isnan(value)}
    finite = np.array([value for value in present.values() if math.isfinite(value)])
    if finite.size < FEWEST:
        return {}
    middle = float(np.median(finite))
    away = np.abs(finite - middle)
    spread = _OF_MEDIAN * float(np.median(away)) or _OF_MEAN * float(away.mean())
    if spread == 0:
        return {name: math.copysign(MOST, value) for name, value in present.items() if math.isinf(value)}
    return {name: float(np.clip((value - middle) / spread, -MOST, MOST)) for name, value in present.items()}


def far(values: Mapping[str, float]) -> dict[str, float]:
    """Those whose score is beyond FAR."""
    return {name: z for name, z in robust_z(values).items() if abs(z) > FAR}
