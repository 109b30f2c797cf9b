"""Settings as they will be used: a preset's defaults under what was given, and what does not go together refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from nst_nd.domains import PRESETS, metrics
from nst_nd.domains.ct import RESOLUTION_LIMITS
from nst_nd.domains.domain import Starter
from nst_nd.domains.networks import check_precision
from nst_nd.domains.settings import Settings
from nst_nd.errors import ConfigError

# settings that only some presets know: given for another they are an error, not a wish that is lost
ONLY = {
    "original_colors": ("image",),
    "style_scale": ("image",),
    "range_weight": ("image", "audio"),
    "step_exponent": ("image", "ecg", "volume", "ct"),
    **dict.fromkeys(("window", "lock_mm", "protect", "region"), ("volume", "ct")),
    "tissues": ("ct",),
}


def resolve(settings: Mapping[str, Any], kind: str, *, texture: bool = False) -> Settings:
    """Settings with the preset's defaults under what was given; texture: there is no content.

    The preset is the kind's own unless named. Raises ConfigError for unknown keys and values out of range.
    """
    preset = settings.get("preset") or kind
    if preset not in PRESETS:
        raise ConfigError(f"preset is {preset!r}; allowed: {', '.join(PRESETS)}")
    defaults = dict(PRESETS[preset].defaults)
    defaults |= PRESETS[preset].unshaped if texture or _unshaped(settings) else {}
    for layers in ("content_layers", "style_layers"):
        if layers in settings:  # the preset's weights belong to the preset's layers
            defaults.pop(f"{layers.removesuffix('s')}_weights", None)
    given = dict(settings)
    if given.get("resolution") and preset == "ct":
        defaults["limits"] = {**defaults.get("limits", {}), **RESOLUTION_LIMITS}
    if isinstance(given.get("limits"), Mapping):  # one limit changed leaves the others as they are
        given["limits"] = {**defaults.get("limits", {}), **given["limits"]}
    try:
        resolved = Settings.model_validate({**defaults, **given, "preset": preset})
    except ValidationError as error:
        raise ConfigError(explain(error)) from error
    known = metrics.names(preset)
    unknown = [name for name in resolved.limits if name not in known]
    if unknown:
        raise ConfigError(f"limits: {preset} has no metric {', '.join(unknown)}\nallowed: {', '.join(known)}")
    strange = [layer for layer in settings.get("statistics") or () if layer not in resolved.style_layers]
    if strange:
        raise ConfigError(
            f"statistics: no style layer {', '.join(strange)}\nallowed: {', '.join(resolved.style_layers)}"
        )
    idle = [key for key, presets in ONLY.items() if settings.get(key) and preset not in presets]
    if resolved.method != "features" and not isinstance(PRESETS[preset], Starter):
        others = " and ".join(name for name, domain in PRESETS.items() if isinstance(domain, Starter))
        raise ConfigError(
            f"method is {resolved.method!r}; allowed: features (the preset is {preset}; others are of {others})"
        )
    check_precision(resolved)
    if resolved.resolution and (resolved.method == "features" or preset != "ct"):
        raise ConfigError("resolution: is part of the spectral method; use preset ct with method both or spectral")
    if idle:
        presets = " and ".join(ONLY[idle[0]])
        raise ConfigError(f"{', '.join(idle)}: works on {presets} only; the preset is {preset}\nleave it out")
    if settings.get("tissues") and resolved.method != "both":
        raise ConfigError(f"tissues: are for method both, which goes on from measured noise; got {resolved.method}")
    return resolved


def _unshaped(settings: Mapping[str, Any]) -> bool:
    scales = settings.get("scales")
    several = isinstance(scales, list | tuple) and len(scales) > 1
    return several or settings.get("init") in ("noise", "style") or settings.get("optimizer") == "adam"


def explain(error: ValidationError) -> str:
    """The first of pydantic's complaints, in one line, with the number of the others."""
    first, *others = error.errors()
    where = ".".join(str(part) for part in first["loc"]) or "settings"
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {len(others)} more)" if others else ""
    return f"{where}: {message}; got {first['input']!r}{more}" if first["loc"] else f"{message}{more}"
