"""What a metric says, whether that is good, and what to do where it is not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

from nst_nd.report.record import Sidecar, number

Verdict = Literal["bad", "fair", "good", "fact", "unmeasured"]
# bad first
ORDER: tuple[Verdict, ...] = ("bad", "fair", "good", "fact", "unmeasured")
WORDS = {"bad": "bad", "fair": "so-so", "good": "good", "fact": "no judgement", "unmeasured": "not measured"}
# a distance that has fallen to this share of what it was is good; above this one hardly anything changed
HALVED, HARDLY = 0.5, 0.95
_WHENS = ("_before", "_after", "_style")


@dataclass(frozen=True)
class Judged:
    """A metric, with what it was before and what the style has where that is known. why: what the verdict rests on."""

    name: str
    value: float
    before: float | None
    style: float | None
    unit: str
    means: str
    verdict: Verdict
    why: str
    advice: str

    @property
    def word(self) -> str:
        """The verdict in words."""
        return WORDS[self.verdict]


@cache
def explanations() -> Mapping[str, Mapping[str, Any]]:
    """metrics.yaml, by the name of a metric."""
    text = resources.files("nst_nd.report").joinpath("metrics.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def judged(record: Sidecar) -> list[Judged]:
    """Every metric of a sidecar, what is bad first; in the order of the sidecar otherwise."""
    values = {name: number(value) for name, value in record.metrics.items()}
    found = [_judge(name, values, record.limits) for name in dict.fromkeys(map(base_of, values))]
    return sorted(found, key=lambda one: ORDER.index(one.verdict))


def base_of(name: str) -> str:
    """nps_distance_after -> nps_distance; hu_drift stays."""
    return next((name.removesuffix(when) for when in _WHENS if name.endswith(when)), name)


def _judge(name: str, values: Mapping[str, float], limits: Mapping[str, float]) -> Judged:
    known = explanations().get(name, {})
    value = values.get(f"{name}_after", values.get(name, math.nan))
    before, style = values.get(f"{name}_before"), values.get(f"{name}_style")
    limit = limits.get(name, limits.get(f"{name}_after"))
    verdict, why = _verdict(known, value, before, style, limit)
    advice = str(known.get("advice", "")) if verdict in ("bad", "fair") else ""
    means = str(known.get("means", "A metric that this version does not know."))
    return Judged(name, value, before, style, str(known.get("unit", "")), means, verdict, why, advice)


def _verdict(
    known: Mapping[str, Any], value: float, before: float | None, style: float | None, limit: float | None
) -> tuple[Verdict, str]:
    if math.isnan(value):
        return "unmeasured", "there was nothing to measure it on"
    if limit is not None:
        return ("bad" if abs(value) > limit else "good"), f"limit of the config: at most {limit:g}"
    better = known.get("better", "fact")
    if better == "style" and style is not None and before is not None:
        return _nearer(abs(value - style), abs(before - style), "to the style's value")
    if better in ("lower", "higher") and "good" in known:
        return _thumb(value, float(known["good"]), float(known["bad"]), better)
    if better == "lower" and before is not None:
        return _nearer(value, before, "")
    return "fact", ""


def _nearer(after: float, before: float, what: str) -> tuple[Verdict, str]:
    if math.isnan(after) or math.isnan(before):
        return "fact", ""
    if before == 0:
        return ("good", "nothing to change, and nothing changed") if after == 0 else ("bad", "0 before")
    share = after / before
    words = f"the distance {what} is {share:.0%} of what it was".replace("  ", " ")
    if share > 1:
        return "bad", words
    return ("good" if share <= HALVED else "fair"), words + ("; hardly closer" if share > HARDLY else "")


def _thumb(value: float, good: float, bad: float, better: str) -> tuple[Verdict, str]:
    sign = 1.0 if better == "lower" else -1.0
    words = f"rule of thumb: good {'up to' if better == 'lower' else 'from'} {good:g}"
    if sign * value <= sign * good:
        return "good", words
    return ("bad" if sign * value >= sign * bad else "fair"), words
