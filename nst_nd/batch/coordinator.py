"""Holds a batch together: which jobs are to be done, in what order, and what the manifest says of them."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from nst_nd.batch import group, records
from nst_nd.batch.executors import Event, Executor, Task
from nst_nd.batch.expand import Planned
from nst_nd.batch.manifest import Ledger, Manifest
from nst_nd.batch.records import Record, signature
from nst_nd.batch.worker import in_record, signatures
from nst_nd.checkpoint import checkpoint_of, request_of
from nst_nd.errors import ComputationError, ExitStatus, InputError, NstError, OutputError
from nst_nd.io.atomic import private_prefix
from nst_nd.job import roles_of
from nst_nd.sidecar import companions, described, digest_of, sidecar_of

# a job whose worker dies is tried so often in a run
TRIES = 2
# a file that makes room for the manifest on a full disk, and its bytes
RESERVE, RESERVED = "reserve", 1 << 18
LOST = "{words}; tried {tries} times"


@dataclass
class Tally:
    """Of a run: how many jobs there were, were done before, done, failed and interrupted now, and warned of.

    warned: done with a metric beyond its limit, now or before.
    """

    total: int
    kept: int = 0
    done: int = 0
    failed: int = 0
    interrupted: int = 0
    warned: int = 0
    seconds: float = 0.0

    @property
    def left(self) -> int:
        """Jobs that nothing has become of yet."""
        return self.total - self.kept - self.done - self.failed - self.interrupted


@runtime_checkable
class Listener(Protocol):
    """Who is told of a run."""

    def on_look(self, number: int, tally: Tally) -> None:
        """So many jobs have been looked at before anything is started, which takes long where inputs are hashed."""

    def on_job(self, record: Record, tally: Tally) -> None:
        """A job started or ended."""

    def on_step(self, name: str, iteration: int, total: int) -> None:
        """Now and then, of a job at work."""


class Coordinator:
    """One run of a batch. planned: the jobs, of which only those that are missing or changed are done.

    whole: whether these are all jobs of the batch; then others that failed or were not begun are forgotten.
    errors: of jobs that cannot be done. retry_failed: whether jobs whose inputs could not be used
    are tried again, though nothing has changed; others that failed are in any case.
    """

    def __init__(
        self,
        planned: Sequence[Planned],
        manifest: Ledger,
        errors: Mapping[str, NstError],
        *,
        overwrite: bool = False,
        retry_failed: bool = False,
        whole: bool = False,
        listener: Listener,
    ) -> None:
        self.planned, self.manifest, self.errors = planned, manifest, dict(errors)
        self.by_name = {one.name: one for one in planned}
        self.overwrite, self.retry_failed, self.whole = overwrite, retry_failed, whole
        self.listener = listener
        self.tally = Tally(len(planned))
        self.tries: dict[str, int] = {}
        self.todo: deque[tuple[Planned, Record]] = deque()
        self.unwritten: dict[str, Record] = {}
        self.ours: dict[str, bool] = {}

    def sort(self) -> None:
        """Find out what is to be done, from the manifest, records and sidecars; nothing is started."""
        if shutil.disk_usage(self.manifest.home).free > 2 * RESERVED:
            with contextlib.suppress(OSError):  # a quota may be nearer than the end of the disk
                (self.manifest.home / RESERVE).write_bytes(bytes(RESERVED))
        self.manifest.take_in()
        if isinstance(self.manifest, Manifest):  # then nobody else is at work
            records.sweep(self.manifest.home)
            group.sweep(self.manifest.home)
            if self.whole:
                with contextlib.suppress(ComputationError):  # a full disk: next time
                    self.manifest.keep_only(self.by_name)
        digests, fresh = Digests(self.manifest), []
        for number, one in enumerate(self.planned):
            self.listener.on_look(number, self.tally)
            before = self.manifest.get(one.name)
            try:
                request = digests.request(one)
            except OSError as lost:
                self.errors.setdefault(one.name, InputError(f"an input cannot be read: {lost.strerror or lost}"))
                request = ""
            found = self._known(one, before, request)
            self.ours[one.name] = is_ours(before, Path(one.job.output))
            if found.state == "done":
                self.tally.kept += 1
                self.tally.warned += bool(found.warnings)
            elif one.name in self.errors:
                error = self.errors[one.name]
                found = found.failed(in_record(str(error), one.job), int(error.exit_status))
                self._count(found)
            elif found.state == "failed" and not self.retry_failed:
                self._count(found)
            else:
                self.todo.append((one, found))
            if found != before:
                fresh.append(found)
        # those that want the whole machine come last, see Executor.takes
        self.todo = deque(sorted(self.todo, key=lambda one: one[0].job.processes > 1))
        digests.keep()
        self._put(fresh)

    def run(self, executor: Executor, should_stop: Callable[[], bool]) -> Tally:
        """Do what is to be done; Ctrl-C ends it after the steps that are at work."""
        started, asked, running = time.monotonic(), False, 0
        while self.todo or running:
            if should_stop() and not asked:
                asked = True
                self._put([replace(r, state="interrupted") for _, r in self.todo if r.state == "running"])
                self.todo.clear()
                executor.stop()
            while self.todo and executor.takes(self.todo[0][0].job):
                self._start(*self.todo.popleft(), executor)
                running += 1
            for event in executor.events(0.2):
                running -= self._happened(event, asked)
        self.tally.seconds = time.monotonic() - started
        (self.manifest.home / RESERVE).unlink(missing_ok=True)
        if self.unwritten:
            raise ComputationError(
                f"disk full: what became of {len(self.unwritten)} jobs could not be written down\n"
                "make room and run again; results that are complete are kept"
            )
        return self.tally

    def _start(self, one: Planned, record: Record, executor: Executor) -> None:
        overwrite = self.overwrite or self.ours[one.name]
        self.ours[one.name] = True  # what lies there from now on
        begun = record.begun()
        sweep_output(Path(one.job.output))
        self._put([begun])
        self.tries[one.name] = self.tries.get(one.name, 0) + 1
        self.listener.on_job(begun, self.tally)
        executor.submit(Task(one.job, begun, overwrite))

    def _happened(self, event: Event, asked: bool) -> int:
        """1 where a task is no longer at work."""
        task = event.task
        if event.what == "step":
            self.listener.on_step(task.record.name, *event.step)
            return 0
        record = event.record or self.manifest.ended(task.record.name)
        if record is None:
            one = self.by_name[task.record.name]
            record = self._known(one, task.record, task.record.request)  # it may have died with its work done
            if record.state != "done" and not asked and self.tries[one.name] < TRIES:
                self.todo.appendleft((one, task.record))
                return 1
        if record.state in ("pending", "running") and asked:
            record = replace(task.record, state="interrupted", ended=time.time())
        if record.state in ("pending", "running"):
            words = LOST.format(words=event.words or "its record is missing", tries=self.tries[record.name])
            record = task.record.failed(words, int(ComputationError.exit_status))
        self._count(record)
        self._put([record])
        self.listener.on_job(record, self.tally)
        return 1

    def _put(self, found: Sequence[Record]) -> None:
        """Into the manifest; on a full disk into what was set aside for that, and if need be later."""
        self.unwritten = {**self.unwritten, **{record.name: record for record in found}}
        for _ in range(2):
            try:
                self.manifest.put(self.unwritten.values())
            except (ComputationError, OutputError):
                (self.manifest.home / RESERVE).unlink(missing_ok=True)
            else:
                self.unwritten = {}
                return

    def _count(self, record: Record) -> None:
        if record.state == "done":
            self.tally.done += 1
            self.tally.warned += bool(record.warnings)
        elif record.state == "interrupted":
            self.tally.interrupted += 1
        else:
            self.tally.failed += 1

    def _known(self, one: Planned, before: Record | None, request: str) -> Record:
        """What is known of a job: done where its files are there and as asked for."""
        output = Path(one.job.output)
        fits = before is not None and before.state == "done" and before.request == request
        if fits and before is not None and before.output == signatures(output):
            return before
        if lies_there(output, request):
            done = before or Record(one.name, "done")
            return replace(done, state="done", request=request, error="", exit_status=0, output=signatures(output))
        if before is None:
            return Record(one.name, "pending", request)
        # what the machine was to blame for is tried again
        if before.state == "failed" and before.request == request and before.exit_status == ExitStatus.INPUT:
            return before
        # what was at work may have left an output without its sidecar, which must not be forgotten
        return replace(before, state="running" if before.state == "running" else "pending", request=request)


class Digests:
    """sha256 of inputs, each file hashed once, and not again until it changes."""

    def __init__(self, manifest: Ledger) -> None:
        self.manifest = manifest
        self.known: dict[Path, dict[str, Any]] = {}
        self.fresh: dict[tuple[Path, str], str] = {}

    def request(self, one: Planned) -> str:
        """What a job asks for, see checkpoint.request_of."""
        roles = [(role, path) for role, path in roles_of(one.job) if path.is_file() or path.is_dir()]
        files = [{"role": role, **self._file(path)} for role, path in roles]
        return request_of(one.job, files)

    def keep(self) -> None:
        """In the manifest, for the next run."""
        with contextlib.suppress(ComputationError):  # a full disk: hashed again next time
            self.manifest.put_digests(self.fresh)
        self.fresh = {}

    def _file(self, path: Path) -> dict[str, Any]:
        if path not in self.known:
            now = " ".join(map(signature, companions(path)))
            digest = self.manifest.digest(path, now)
            if digest is None:
                digest = digest_of(described(path))
                self.fresh[path, now] = digest
            self.known[path] = {"sha256": digest, "companions": []}
        return self.known[path]


def is_ours(record: Record | None, output: Path) -> bool:
    """Whether what lies at an output was made by nst_nd: begun, recorded, or with a sidecar, which need not fit."""
    if record is not None:
        if record.state in ("running", "interrupted"):
            return True
        if record.output and record.output == signatures(output):
            return True
    try:
        return "request" in json.loads(sidecar_of(output).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def lies_there(output: Path, request: str) -> bool:
    """Whether a complete result of this request is there, with its sidecar, byte for byte as it was written."""
    try:
        told = json.loads(sidecar_of(output).read_text(encoding="utf-8"))
        if told["request"] != request or told["status"] != "done":
            return False
        now, then = described(output), told["output"]
        return [now["sha256"], now["companions"]] == [then["sha256"], then["companions"]]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def sweep_output(output: Path) -> None:
    """Remove what a killed process left half-written of this output, its sidecar and its checkpoint."""
    for target in (output, sidecar_of(output), checkpoint_of(output)):
        for folder in target.parent.glob(f"{private_prefix(target)}*.part"):
            shutil.rmtree(folder, ignore_errors=True)
