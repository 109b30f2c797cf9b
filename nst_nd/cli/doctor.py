"""doctor: whether everything that nst-nd needs is here."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nst_nd.cli import options as o
from nst_nd.errors import ExitStatus

_GIB = 2.0**30


def doctor(as_json: o.Json = False, debug: o.Debug = False) -> int:
    """Check what nst-nd needs; exit code 0 if all is usable.

    Versions, devices, kernels, threads, weights, codecs, free memory and disk, kept targets.

    \b
    nst-nd doctor
    nst-nd doctor --json
    """
    del debug
    checks = {name: _tried(check) for name, check in _CHECKS.items()}
    usable = all("error" not in found for found in checks.values())
    if as_json:
        print(json.dumps({"usable": usable, **checks}))
    else:
        for name, found in checks.items():
            mark = "FAIL" if "error" in found else "ok"
            print(f"{mark:<5}{name:<9}{', '.join(f'{key} {_words(value)}' for key, value in found.items())}")
        print("all usable" if usable else "something is missing: see FAIL above")
    return ExitStatus.DONE if usable else ExitStatus.INPUT


def _tried(check: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a check found; where it fails, however it does, that is the finding."""
    try:
        return check()
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        return {"error": lines[0]}


def _versions() -> dict[str, Any]:
    from nst_nd.sidecar import versions

    found = versions()
    missing = [name for name, version in found.items() if version is None]
    return {**found, "error": f"not installed: {', '.join(missing)}"} if missing else dict(found)


def _devices() -> dict[str, Any]:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return {"available": ["cpu", *(f"cuda:{i} ({name})" for i, name in enumerate(gpus)), *mps]}


def _kernels() -> dict[str, Any]:
    import torch

    from nst_nd.kernels.moments import implementation

    devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return {"moments": [f"{device}: {implementation(torch.device(device))}" for device in devices]}


def _threads() -> dict[str, Any]:
    import torch

    return {"torch": torch.get_num_threads(), "cpus": os.cpu_count()}


def _weights() -> dict[str, Any]:
    from nst_nd.features.weights import VGG19_SHA256, vgg19_weights

    return {"vgg19": f"{len(vgg19_weights())} convolutions", "sha256": VGG19_SHA256}


def _codecs() -> dict[str, Any]:
    from nst_nd.io.codec import registry

    return {codec.name: list(codec.suffixes) for codec in registry()}


def _memory() -> dict[str, Any]:
    lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else []
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)
    return {"free GiB": None if free is None else round(free / _GIB, 1)}


def _disk() -> dict[str, Any]:
    return {"free GiB here": round(shutil.disk_usage(Path.cwd()).free / _GIB, 1)}


def _cache() -> dict[str, Any]:
    from nst_nd.domains.target_cache import VARIABLE, cache_folder, size_of

    folder = cache_folder()
    if folder is None:
        return {"targets": f"not kept ({VARIABLE} is empty, or there is no home)"}
    here = next(place for place in (folder, *folder.parents) if place.exists())
    if not (here.is_dir() and os.access(here, os.W_OK)):
        return {"targets": f"not kept: {here} may not be written to; {VARIABLE} names another folder, or none"}
    number, size = size_of(folder)
    return {"targets": str(folder), "files": number, "MiB": round(size / 2**20, 1)}


_CHECKS: dict[str, Callable[[], dict[str, Any]]] = {
    "versions": _versions,
    "devices": _devices,
    "kernels": _kernels,
    "threads": _threads,
    "weights": _weights,
    "codecs": _codecs,
    "memory": _memory,
    "disk": _disk,
    "cache": _cache,
}


def _words(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    return "unknown" if value is None else str(value)
