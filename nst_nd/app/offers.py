"""What the page lets people move: for each preset the two or three knobs that matter, with their defaults."""

from __future__ import annotations

from typing import Any, Literal

from nst_nd.domains import PRESETS
from nst_nd.domains.settings import Settings

# a slider of weights reaches this many times up and down from its default
REACH = 30.0
_ITERATIONS = "More steps come closer to the style and take longer."
_STYLE = "How much the style counts against the content."
_CONTENT = "How closely the content is kept."
_STYLE_SCALE = "Longer side of the style over that of the content."
_COLOURS = "Only the brightness is restyled."
_LOCK = "Structures coarser than this (sigma) stay the content's."
_RESOLUTION = "Edges get the style's sharpness as well, as far as noise tells it."
_METHOD = {
    "key": "method",
    "label": "Method",
    "choices": ["both", "spectral", "features"],
    "help": "spectral: filters and noise, quick; features: a network optimises; both: features go on from there.",
}
_HELP = {
    "image": "Photographs, paintings, micrographs",
    "audio": "Sounds: the texture that an ear hears",
    "ecg": "ECG: beats stay, the rest is restyled. For research, not for diagnosis",
    "volume": "Volumes of any intensities. For research, not for diagnosis",
    "ct": "CT in HU: noise and texture of the kernel. For research, not for diagnosis",
}


def offers() -> dict[str, dict[str, Any]]:
    """By preset: kind of signal, help, and knobs (sliders, switches, choices), as plain values for the page."""
    return {
        name: {"kind": domain.kind, "help": _HELP[name], "knobs": _knobs(name, default_of)}
        for name, domain in PRESETS.items()
        for default_of in [_Defaults(name)]
    }


def keys_of(preset: str) -> set[str]:
    """Settings that the page may give."""
    return {knob["key"] for knob in _knobs(preset, _Defaults(preset))} | {"seed"}


class _Defaults:
    def __init__(self, preset: str) -> None:
        self.values = PRESETS[preset].defaults

    def __call__(self, key: str) -> Any:
        return self.values.get(key, Settings.model_fields[key].default)


def _knobs(preset: str, default_of: _Defaults) -> list[dict[str, Any]]:
    knobs = [_weight("style_weight", "Style weight", _STYLE, default_of)]
    most = max(300, 4 * default_of("iterations"))
    knobs.append(_slider("iterations", "Iterations", _ITERATIONS, default_of, "linear", 1, most, 1))
    if preset == "image":
        knobs.append(_slider("style_scale", "Style scale", _STYLE_SCALE, default_of, "log", 0.25, 4))
        knobs.append(_switch("original_colors", "Keep the content's colours", _COLOURS, default_of))
    elif preset == "ct":
        knobs.append(_slider("lock_mm", "Lock, mm", _LOCK, default_of, "linear", 1, 8, 0.5))
        knobs.append(_switch("resolution", "Resolution too", _RESOLUTION, default_of))
        knobs.append({**_METHOD, "type": "choice", "default": default_of("method")})
    else:
        knobs.append(_weight("content_weight", "Content weight", _CONTENT, default_of))
        if default_of("method") != "features":
            knobs.append({**_METHOD, "type": "choice", "default": default_of("method")})
    return knobs


def _weight(key: str, label: str, words: str, default_of: _Defaults) -> dict[str, Any]:
    value = default_of(key)
    return _slider(key, label, words, default_of, "log", value / REACH, value * REACH)


def _slider(
    key: str,
    label: str,
    words: str,
    default_of: _Defaults,
    scale: Literal["linear", "log"],
    least: float,
    most: float,
    step: float | None = None,
) -> dict[str, Any]:
    told = {"type": "slider", "key": key, "label": label, "help": words, "default": default_of(key)}
    return {**told, "scale": scale, "min": least, "max": most, "step": step}


def _switch(key: str, label: str, words: str, default_of: _Defaults) -> dict[str, Any]:
    return {"type": "switch", "key": key, "label": label, "help": words, "default": default_of(key)}
