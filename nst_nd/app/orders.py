"""From what the page asks for to a folder in which `nst-nd run` would do it: the inputs, and the YAML beside them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from nst_nd.app.names import output_stem
from nst_nd.app.offers import keys_of, offers
from nst_nd.app.refused import RefusedError
from nst_nd.app.uploads import Slot
from nst_nd.draft import Draft
from nst_nd.engine.memory import whole_memory
from nst_nd.errors import ConfigError
from nst_nd.io import codec_for, suffix_of
from nst_nd.job import check_options

# of the machine's memory: what is free at the moment would plan another way each time
SHARE = 0.5
# of a request
KEYS = {"content", "style", "preset", "settings"}


@dataclass(frozen=True)
class Order:
    """A job to be done. folder: of inputs and YAML. config: the YAML. output: where the result will be.

    content, style: their files as the YAML names them, seen from the folder. settings: what the page asked for.
    """

    folder: Path
    config: Path
    output: Path
    preset: str
    content: str
    style: str
    settings: dict[str, Any]


def check_request(wanted: Any) -> tuple[str, str, str, dict[str, Any]]:
    """Slots of content and style, preset and settings of a request. Raises RefusedError where it is no such."""
    if not isinstance(wanted, dict) or set(wanted) - KEYS:
        raise RefusedError(f"a job has the keys {', '.join(sorted(KEYS))} and no others")
    content, style, preset = (wanted.get(key) for key in ("content", "style", "preset"))
    settings = wanted.get("settings", {})
    if not (isinstance(content, str) and isinstance(style, str) and isinstance(settings, dict)):
        raise RefusedError("content and style name what was uploaded, settings are keys and values")
    if not isinstance(preset, str) or preset not in offers():
        raise RefusedError(f"preset is {str(preset)[:40]!r}; allowed: {', '.join(offers())}")
    strange = sorted(map(str, set(settings) - keys_of(preset)))
    if strange:
        raise RefusedError(f"{strange[0][:40]!r} is not set from here; allowed: {', '.join(sorted(keys_of(preset)))}")
    return content, style, preset, settings


def make_order(
    folder: Path, content: Slot, style: Slot, preset: str, settings: Mapping[str, Any], at_once: int = 1
) -> Order:
    """Put inputs and YAML into a fresh folder, of a job that shares the machine with at_once - 1 others.

    Raises RefusedError (files that are not ready) and ConfigError.
    """
    for what, slot in (("content", content), ("style", style)):
        if slot.kind is None:
            raise RefusedError(f"the {what} cannot be used: {slot.error or 'nothing has been uploaded there yet'}", 409)
    kind = offers()[preset]["kind"]
    if content.kind != kind or style.kind != kind:
        raise RefusedError(f"preset {preset} takes {kind}; the content is {content.kind}, the style {style.kind}")
    stem = output_stem(content.main, style.main)
    output = f"{stem}{suffix_of(Path(content.main))}"
    codec_for(Path(output), reading=False)
    # a style of the same name as the content lies in a folder of its own
    inside = "style/" if content is not style and set(content.files) & set(style.files) else ""
    names = {"content": content.main, "style": f"{inside}{style.main}", "output": output}
    values = {**names, "preset": preset, **settings, **_said(content, style, preset, at_once)}
    folder.mkdir(parents=True)
    try:
        _check(folder, values)
        _lay(content, folder)
        _lay(style, folder / inside)
        config = folder / f"{stem}.yaml"
        config.write_text(_text(values, stem), encoding="utf-8")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Order(folder, config, folder / stem / output, preset, names["content"], names["style"], dict(settings))


def _said(content: Slot, style: Slot, preset: str, at_once: int) -> dict[str, Any]:
    """What had to be said of files that do not; threads and memory, whose numbers decide about the last bits."""
    rates = {slot.options["rate"] for slot in (content, style) if slot.options.get("rate")}
    if len(rates) > 1:
        raise ConfigError(f"rate: content and style are said to have {' and '.join(f'{r:g}' for r in rates)} Hz")
    said: dict[str, Any] = {"rate": rates.pop()} if rates else {}
    if any(slot.options.get("kind") for slot in (content, style)):
        said["kind"] = offers()[preset]["kind"]
    memory = int(SHARE * whole_memory()) // at_once
    return {**said, "threads": max(1, torch.get_num_threads() // at_once), "max_memory": f"{memory >> 20}MiB"}


def _check(folder: Path, values: Mapping[str, Any]) -> None:
    job = Draft.of_values(folder, dict(values), {}).job()
    check_options(job)


def _lay(slot: Slot, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in slot.files:
        source, target = slot.folder / name, folder / name
        if target.exists():
            continue  # content and style are one
        try:
            os.link(source, target)
        except OSError:  # no links there
            shutil.copyfile(source, target)


def _text(values: Mapping[str, Any], stem: str) -> str:
    head = (
        f"# Made by `nst-nd app`. With the input files beside it, `nst-nd run {stem}.yaml` gives the same bytes again\n"
        "# on the same machine with the same versions; the result's sidecar has the sha256 of the inputs.\n"
    )
    return head + yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=120)
