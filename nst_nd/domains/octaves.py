"""Extractor settings that weigh all octaves of a signal equally: a small random network for each."""

from __future__ import annotations

from collections.abc import Sequence


def octaves(count: int, widths: Sequence[int]) -> tuple[dict[str, object], ...]:
    """Extractor settings: one small random network per octave (labels o0, o1, ...), blind to the level.

    A signal's power lies mostly in a few low octaves. One network over all of them hears little else, and fills the
    others with what should not be there; a network per octave, each with its own relative cost, weighs them equally.
    """
    return tuple(
        {
            "name": "random",
            "label": f"o{k}",
            "octave": k,
            "zero_mean": True,
            "widths": tuple(widths),
            "channels": (24, 32),
            "seed": k,
        }
        for k in range(count)
    )


def octave_layers(count: int) -> tuple[str, ...]:
    """Both rectified layers of every octave's network."""
    return tuple(f"o{k}.relu{i}" for k in range(count) for i in (1, 2))
