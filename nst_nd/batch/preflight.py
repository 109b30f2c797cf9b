"""What can be known to be wrong with jobs before anything is computed, from headers alone."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nst_nd.batch.expand import Planned
from nst_nd.batch.forecast import Forecasts
from nst_nd.config import Job
from nst_nd.domains.device import pick_device
from nst_nd.domains.domain import refuse_channels
from nst_nd.domains.resolve import resolve
from nst_nd.engine.launch import check_gpus
from nst_nd.engine.memory import in_words
from nst_nd.errors import ConfigError, InputError, NstError, OutputError
from nst_nd.io import check_source, codec_for, outline
from nst_nd.job import check_folder, check_options, check_target, texture_size
from nst_nd.sample import Sample

# bytes that a value of an output may take, by kind
BYTES_PER_VALUE = {"image": 2}
MOST_BYTES_PER_VALUE = 4


@dataclass
class Findings:
    """errors: of jobs that cannot be done, by name. plans: memory plans of the others, in words, by name. size: bytes
    that their outputs may take, by name."""

    errors: dict[str, NstError] = field(default_factory=dict)
    plans: dict[str, str] = field(default_factory=dict)
    size: dict[str, int] = field(default_factory=dict)


def preflight(
    planned: Sequence[Planned],
    folder: Path,
    ours: Callable[[Planned], bool],
    *,
    overwrite: bool = False,
    plans: bool = False,
    here: bool = True,
) -> Findings:
    """Look at every job's files and output.

    ours: whether what lies at its output was made by an earlier run of a batch, and may be replaced. plans: memory
    plans too. here: whether they are done on this machine, whose devices count then.
    """
    headers, folders, found, forecasts = Headers(), Folders(folder), Findings(), Forecasts(here=here)
    for one in planned:
        try:
            if here:
                _check_device(one.job)
            content, styles = _checked(one, folders, headers, overwrite or ours(one))
            first = styles[0] if content is None else content
            shape = texture_size(one.job, styles[0]) or first.shape if content is None else first.shape
            found.size[one.name] = first.nc * math.prod(shape) * BYTES_PER_VALUE.get(first.kind, MOST_BYTES_PER_VALUE)
            if plans:
                found.plans[one.name] = forecasts.words(one.job, first, shape, styles)
        except NstError as error:
            found.errors[one.name] = error
        except OSError as error:  # a name that is too long, a disk that does not answer
            found.errors[one.name] = InputError(f"a file of it cannot be looked at: {error.strerror or error}")
    return found


def check_disk(folder: Path, need: int) -> None:
    """OutputError where fewer bytes are free than outputs may take."""
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < need:
        raise OutputError(
            f"{folder}: the outputs may take {in_words(need)}, {in_words(free)} are free\n"
            "make room, or give another --out"
        )


class Headers:
    """Outlines of files, each read once; an error comes again."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Sample | NstError] = {}

    def get(self, path: str, job: Job) -> Sample:
        """See io.outline, with the job's options."""
        from nst_nd.io import suffix_of
        from nst_nd.job import RATELESS

        rate = job.rate if suffix_of(Path(path)) in RATELESS else None
        key = (path, f"{job.kind} {rate} {job.channels}")
        if key not in self.known:
            try:
                self.known[key] = outline(path, kind=job.kind, rate=rate, channels=job.channels)
            except NstError as error:
                self.known[key] = error
        found = self.known[key]
        if isinstance(found, NstError):
            raise found
        return found


class Folders:
    """Folders of outputs below that of the batch, each looked at once; an error comes again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.known: dict[Path, str] = {}

    def check(self, output: Path) -> None:
        """OutputError where a link leads elsewhere, or the folder cannot be written."""
        if output.parent not in self.known:
            self.known[output.parent] = self._wrong(output)
        if self.known[output.parent]:
            raise OutputError(self.known[output.parent])

    def _wrong(self, output: Path) -> str:
        root = self.root.resolve()
        if os.path.commonpath([root, output.parent.resolve()]) != str(root):
            return f"{output}: a link leads out of {self.root}; remove it"
        try:
            check_folder(output, make_folder=True)
        except OutputError as error:
            return str(error)
        return ""


def _checked(one: Planned, folders: Folders, headers: Headers, overwrite: bool) -> tuple[Sample | None, list[Sample]]:
    job, output = one.job, Path(one.job.output)
    folders.check(output)
    check_target(output, overwrite=overwrite)
    check_options(job)
    content = None if job.content is None else headers.get(job.content, job)
    styles = [headers.get(style.path, job) for style in job.style]
    first = styles[0] if content is None else content
    resolve(job.settings_given(), first.kind, texture=job.content is None)  # says what is wrong with them
    for style in styles:
        if style.kind != first.kind:
            raise InputError(f"the style is of kind {style.kind}, the content of kind {first.kind}; choose one kind")
        gray = first.kind == "image" and {style.nc, first.nc} == {1, 3}
        if style.nc != first.nc and first.kind != "audio" and not gray:
            raise refuse_channels(first, style, "choose files with as many")
    for file, style in zip(job.style, styles, strict=True):
        if file.mask is not None and headers.get(file.mask, job).shape != style.shape:
            raise InputError(f"the style mask has shape {headers.get(file.mask, job).shape}, the style {style.shape}")
    for key in ("mask", "labels"):
        path = getattr(job, key)
        if path is not None and content is not None and headers.get(path, job).shape != content.shape:
            raise InputError(f"the {key} has shape {headers.get(path, job).shape}, the content {content.shape}")
    codec = codec_for(output, reading=False)
    if first.kind not in codec.kinds:
        raise ConfigError(f"{one.where}: output: {codec.name} holds {', '.join(codec.kinds)}, not {first.kind}")
    if codec.name != "DICOM":  # what it derives from is in the files' headers, which an outline has not
        check_source(content, output)
    return content, styles


def _check_device(job: Job) -> None:
    """ConfigError where the job's device is not here, or not as often as it has processes."""
    if pick_device(job.device).type == "cuda" and job.processes > 1:
        check_gpus(job.processes, job.device)
