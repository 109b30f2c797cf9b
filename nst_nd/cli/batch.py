"""What `run` does with a batch."""

from __future__ import annotations

import fnmatch
import json
import re
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nst_nd.errors import ConfigError, ExitStatus, NstError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nst_nd.batch.executors import Executor
    from nst_nd.batch.expand import Planned
    from nst_nd.batch.manifest import Ledger
    from nst_nd.batch.preflight import Findings
    from nst_nd.config import Batch, Job
    from nst_nd.marked_yaml import Marked

# problems that are shown at once
MOST_SHOWN = 20
# seconds that a part waits for the others to take records in
PATIENCE = 60.0
_PART = re.compile(r"([1-9]\d*)/([1-9]\d*)")


@dataclass(frozen=True)
class Wanted:
    """What the command line says of a run, see the options of `run`."""

    only: list[str]
    part: str | None
    retry_failed: bool
    overwrite: bool
    dry_run: bool
    workers: int | None
    executor: str | None
    strict: bool
    quiet: bool
    as_json: bool

    def of(self, batch: Batch) -> str:
        """The executor of a batch."""
        return self.executor or batch.executor

    def chosen(self, planned: list[Planned]) -> list[Planned]:
        """The jobs that --only and --part leave. Raises ConfigError where that is none."""
        found = planned
        if self.only:
            found = [one for one in found if any(fnmatch.fnmatchcase(one.name, name) for name in self.only)]
            if not found:
                raise ConfigError(f"--only {' '.join(self.only)}: fits none of {len(planned)} jobs; see --dry-run")
        if self.part is not None:
            match = _PART.fullmatch(self.part)
            if match is None or int(match[1]) > int(match[2]):
                raise ConfigError(f"--part: got {self.part!r}; allowed: I/N with I from 1 to N, such as 2/5")
            found = found[int(match[1]) - 1 :: int(match[2])]
        return found


def perform(
    path: Path,
    marked: Marked,
    folder: Path,
    sets: Sequence[str],
    options: dict[str, Any],
    wanted: Wanted,
) -> int:
    """Expand, look at everything, and do what is missing; the exit code."""
    from nst_nd.batch.clashes import refuse_clashes
    from nst_nd.batch.expand import expand
    from nst_nd.config import Batch

    batch = Batch.of(marked)
    everything = expand(path, marked, folder, sets, options)
    refuse_clashes(everything)
    planned = wanted.chosen(everything)
    if wanted.dry_run:
        here = wanted.of(batch) == "local"
        return _look(planned, folder, overwrite=wanted.overwrite, quiet=wanted.quiet, as_json=wanted.as_json, here=here)
    return _run(planned, folder, batch, wanted)


def look(job: Job, folder: Path, *, overwrite: bool, quiet: bool, as_json: bool) -> int:
    """--dry-run of a single job."""
    from nst_nd.batch.expand import Planned
    from nst_nd.job import check_output, files_of

    check_output(Path(job.output), files_of(job), overwrite=True, make_folder=True)  # a batch asks this of all its jobs
    planned = [Planned(Path(job.output).name, job, "")]
    return _look(planned, folder, overwrite=overwrite, quiet=quiet, as_json=as_json)


def _look(
    planned: list[Planned], folder: Path, *, overwrite: bool, quiet: bool, as_json: bool, here: bool = True
) -> int:
    from nst_nd.batch.preflight import check_disk, preflight

    found = preflight(planned, folder, _ours(folder), overwrite=overwrite, plans=True, here=here)
    need = sum(found.size.get(one.name, 0) for one in planned if not Path(one.job.output).exists())
    if as_json:
        jobs = [_described(one, found) for one in planned]
        print(json.dumps({"jobs": jobs, "errors": len(found.errors), "output_bytes": need}))
    elif not quiet:
        for one in planned:
            if one.name in found.plans:
                print(f"{one.job.output}\n    {_inputs(one)}\n    memory: {found.plans[one.name]}")
    _complain(planned, found.errors)
    print(f"{len(planned)} jobs, {len(found.errors)} of them cannot be done", file=sys.stderr)
    check_disk(folder, need)
    first = next(iter(found.errors.values()), None)
    return ExitStatus.DONE if first is None else int(first.exit_status)


def _described(one: Planned, found: Findings) -> dict[str, Any]:
    error = found.errors.get(one.name)
    about = {"output": one.job.output, "content": one.job.content, "style": [style.path for style in one.job.style]}
    return {**about, "memory": found.plans.get(one.name), "error": None if error is None else str(error)}


def _inputs(one: Planned) -> str:
    styles = ", ".join(style.path for style in one.job.style)
    return f"{one.job.content or 'a texture'} by {styles}"


def _complain(planned: Sequence[Planned], errors: dict[str, NstError]) -> None:
    wrong = [one for one in planned if one.name in errors]
    for one in wrong[:MOST_SHOWN]:
        first = str(errors[one.name]).splitlines()[0]
        print(f"error: {one.name} ({one.where}): {first}", file=sys.stderr)
    if len(wrong) > MOST_SHOWN:
        print(f"(and {len(wrong) - MOST_SHOWN} more)", file=sys.stderr)


def _ours(folder: Path) -> Callable[[Planned], bool]:
    """Whether what lies at a job's output was made by an earlier run."""
    from nst_nd.batch.coordinator import is_ours
    from nst_nd.batch.manifest import FILE, Part
    from nst_nd.batch.records import HOME

    home = folder / HOME
    part = Part(home) if (home / FILE).is_file() else None

    def ours(one: Planned) -> bool:
        output = Path(one.job.output)
        return is_ours(None if part is None else part.get(one.name), output)

    return ours


def _run(planned: list[Planned], folder: Path, batch: Batch, wanted: Wanted) -> int:
    from nst_nd.batch.coordinator import Coordinator
    from nst_nd.batch.lock import locked
    from nst_nd.batch.manifest import Part, opened
    from nst_nd.batch.preflight import preflight
    from nst_nd.batch.slurm import cancel_left
    from nst_nd.cli.batch_progress import Told
    from nst_nd.cli.process import stopping

    with ExitStack() as stack:
        shared = wanted.part is not None
        # parts share a folder with each other and with nothing else
        home = stack.enter_context(locked(folder, "lock-parts", shared=shared))
        _refuse_other_parts(folder, wanted.part)
        stack.enter_context(locked(folder, f"lock-{wanted.part}".replace("/", "-of-") if shared else "lock"))
        ledger: Ledger = Part(home) if shared else stack.enter_context(opened(home))
        if shared:
            merge(folder)
        cancel_left(home)
        here = wanted.of(batch) == "local"
        found = preflight(planned, folder, _ours(folder), overwrite=wanted.overwrite, here=here)
        _complain(planned, found.errors)
        told = stack.enter_context(Told(home, quiet=wanted.quiet or wanted.as_json))
        coordinator = Coordinator(
            planned,
            ledger,
            found.errors,
            overwrite=wanted.overwrite,
            retry_failed=wanted.retry_failed,
            whole=not shared and not wanted.only,
            listener=told,
        )
        coordinator.sort()
        _warn_of_disk(folder, sum(found.size.get(one.name, 0) for one, _ in coordinator.todo))
        executor = _executor(home, batch, wanted)
        stack.callback(executor.close)
        with stopping() as should_stop:
            tally = coordinator.run(executor, should_stop)
            stopped = should_stop()
        if shared:
            merge(folder)
    return told.ended(tally, folder, stopped=stopped, as_json=wanted.as_json, strict=wanted.strict)


def _warn_of_disk(folder: Path, need: int) -> None:
    """Outputs may turn out smaller, so that a run is begun all the same."""
    from nst_nd.batch.preflight import check_disk
    from nst_nd.errors import OutputError

    try:
        check_disk(folder, need)
    except OutputError as error:
        print(f"warning: {error}", file=sys.stderr)


def _refuse_other_parts(folder: Path, part: str | None) -> None:
    """OutputError where parts of another number are at work: they cut the batch elsewhere."""
    from nst_nd.batch.lock import at_work
    from nst_nd.batch.records import HOME
    from nst_nd.errors import OutputError

    count = None if part is None else part.partition("/")[2]
    for path in (folder / HOME).glob("lock-*-of-*"):
        if not path.name.endswith(f"-of-{count}") and at_work(folder, path.name):
            raise OutputError(f"{folder}: {path.name.removeprefix('lock-')} is at work; give the same number of parts")


def merge(folder: Path) -> None:
    """Take the records of parts into the manifest, when nobody else does."""
    from nst_nd.batch.lock import locked
    from nst_nd.batch.manifest import opened

    with locked(folder, wait=PATIENCE) as home, opened(home) as manifest:
        manifest.take_in()


def _executor(home: Path, batch: Batch, wanted: Wanted) -> Executor:
    """Processes on this machine: one per GPU, or one for four cores, each with its share of the memory; or Slurm."""
    import torch

    from nst_nd.batch.executors import LocalExecutor, cores
    from nst_nd.batch.slurm import SlurmExecutor
    from nst_nd.engine.memory import SHARE_OF_FREE, whole_memory

    if wanted.of(batch) == "slurm":
        return SlurmExecutor(home, batch.slurm)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    count = wanted.workers or batch.workers or gpus or max(1, cores() // 4)
    memory = None if gpus else int(SHARE_OF_FREE * whole_memory())
    return LocalExecutor(home, count, gpus=gpus, memory=memory)
