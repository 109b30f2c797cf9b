"""Limits on metrics: what a result may not do to its content without somebody being told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Breach:
    """A metric whose absolute value is above its limit."""

    metric: str
    value: float
    limit: float

    @property
    def words(self) -> str:
        """One line."""
        return f"{self.metric} is {self.value:.3g}; allowed: at most {self.limit:g} (limits.{self.metric})"


def breaches(metrics: Mapping[str, float], limits: Mapping[str, float | None]) -> list[Breach]:
    """Those of the metrics that are beyond their limits, in the order of the limits.

    A limit of None is none. What could not be measured (NaN, no such tissue) breaks no limit.
    """
    found = []
    for metric, limit in limits.items():
        value = metrics.get(metric, math.nan)
        if limit is not None and abs(value) > limit:
            found.append(Breach(metric, value, limit))
    return found
