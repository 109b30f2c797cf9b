"""The job file and the command that ask for the same result again."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from nst_nd.report.record import Asked, RecordedFile, Sidecar

JOB_FILE = "repeat.yaml"
_INIT_WORDS = ("content", "noise", "style")


def job_of(record: Sidecar) -> dict[str, Any]:
    """The keys of a job file with every setting as it was used; names of files stand for the files."""
    names = _names(record.inputs)
    asked = record.asked or Asked()
    job: dict[str, Any] = {"content": next(iter(names.get("content", [])), None)}
    masks = iter(names.get("style mask", []))
    styles = []
    for place, path in enumerate(names.get("style", [])):
        own = asked.style[place] if place < len(asked.style) else None
        style: dict[str, Any] = {"path": path}
        if own is not None:
            style |= {"weight": own.weight, "labels": list(own.labels), "mask": next(masks, None) if own.mask else None}
        styles.append({key: value for key, value in style.items() if value not in (None, [])})
    job |= {"style": styles, "output": record.output.name}
    job |= {role: next(iter(names.get(role, [])), None) for role in ("mask", "labels")}
    size = list(asked.size) if asked.size is not None else None
    job |= {"size": size, "duration": asked.duration, "kind": asked.kind, "rate": asked.rate}
    job |= {"channels": True} if asked.channels else {}
    job = {key: value for key, value in job.items() if value is not None}
    settings = dict(record.settings)
    # the order of sums, and with it the last bits, depends on how many there were
    settings["threads"] = settings.get("threads") or record.threads
    if record.memory.processes > 1:
        job["processes"] = record.memory.processes
    init = settings.get("init")
    if names.get("init") and init not in _INIT_WORDS:
        settings["init"] = names["init"][0]
    return job | settings


def job_text(record: Sidecar) -> str:
    """As YAML, in ASCII, so that no character of a name can hide."""
    text = yaml.safe_dump(job_of(record), sort_keys=False, allow_unicode=False, width=110)
    if record.asked is None and len(_names(record.inputs).get("style", [])) > 1:
        text = "# the sidecar is of an older version: weights, masks and labels of the styles are not in it\n" + text
    return text


def command(record: Sidecar) -> str:
    """To be run where the inputs lie, once the job file lies there too."""
    count = record.memory.processes
    words = ["nst-nd"] if count == 1 else ["torchrun", "--nproc-per-node", str(count), "-m", "nst_nd"]
    return shlex.join([*words, "run", JOB_FILE])


def _names(files: tuple[RecordedFile, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(file.role, []).append(file.name)
    return found
