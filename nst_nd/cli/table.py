"""Metrics as a few aligned lines."""

from __future__ import annotations

from collections.abc import Mapping

_BEFORE, _AFTER = "_before", "_after"


def metric_lines(metrics: Mapping[str, float | str | None]) -> list[str]:
    """One line a metric; "name_before" and "name_after" share one, as before -> after."""
    rows: dict[str, str] = {}
    for key, value in metrics.items():
        name = key.removesuffix(_BEFORE)
        if name != key and f"{name}{_AFTER}" in metrics:
            rows[name] = f"{_words(value)} -> {_words(metrics[f'{name}{_AFTER}'])}"
        elif not (key.endswith(_AFTER) and f"{key.removesuffix(_AFTER)}{_BEFORE}" in metrics):
            rows[key] = _words(value)
    width = max(map(len, rows), default=0)
    return [f"  {name:<{width}}  {words}" for name, words in rows.items()]


def _words(value: float | str | None) -> str:
    """A number, a word that stands for one ("inf"), or None."""
    return "cannot be measured" if value is None else value if isinstance(value, str) else f"{value:.4g}"
