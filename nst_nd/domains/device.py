"""The device by its name."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nst_nd.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """The device of this name; auto takes CUDA, then MPS, then the CPU. ConfigError where it does not exist."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind, _, index = name.partition(":")
    if not available[kind] or (index and int(index) >= torch.cuda.device_count()):
        raise ConfigError(f"device {name} is not available here; allowed: auto, cpu{_others(available)}")
    return torch.device(name)


def _others(available: Mapping[str, bool]) -> str:
    return "".join(f", {name}" for name, there in available.items() if there and name != "cpu")
