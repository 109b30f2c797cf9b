"""Who does the jobs: the interface, and processes on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Protocol, runtime_checkable

from nst_nd.batch.group import WORKER, Group
from nst_nd.batch.records import Record, of_values
from nst_nd.batch.worker import STOP
from nst_nd.config import Job

# how long workers are given to end the step that they are at, when asked to stop; afterwards they are killed
PATIENCE = 60.0
# seconds in which processes that did a job together leave
GRACE = 15.0


@dataclass(frozen=True)
class Task:
    """A job to be done. record: begun. overwrite: whether what lies at its output may be replaced."""

    job: Job = field(repr=False)
    record: Record
    overwrite: bool

    def words(self) -> str:
        """As a line for a worker."""
        job = self.job.model_dump(mode="json", exclude_unset=True)
        return json.dumps({"job": job, "record": asdict(self.record), "overwrite": self.overwrite})


@dataclass(frozen=True)
class Event:
    """Of a task: a step (iteration of total), its end with what became of it, or the end of its worker, in words."""

    what: Literal["step", "ended", "lost"]
    task: Task
    step: tuple[int, int] = (0, 0)
    record: Record | None = None
    words: str = ""


@runtime_checkable
class Executor(Protocol):
    """Does tasks somewhere, several at a time."""

    def takes(self, job: Job) -> bool:
        """Whether it would start this job now."""

    def submit(self, task: Task) -> None:
        """Start one; only where `takes` says so."""

    def events(self, seconds: float) -> Iterator[Event]:
        """What happened, after waiting for at most so long."""

    def stop(self) -> None:
        """Ask what is at work to end after the step that it is at."""

    def close(self) -> None:
        """End everything, at once."""


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    number: int
    task: Task | None = None
    group: Group | None = None  # where they are several, for one job
    heard: bytes = b""


class LocalExecutor:
    """Processes on this machine, each with its share of the cores or a GPU, and of the memory; they live for many jobs.

    home: where records go. workers: how many. gpus: of them each gets one, in turn. memory: bytes of all workers
    together; None: as the jobs say. A worker that dies is replaced by the next task. A job that several processes do
    together has the machine for itself.
    """

    def __init__(self, home: Path, workers: int, *, gpus: int = 0, memory: int | None = None) -> None:
        self.home, self.count, self.gpus, self.memory = home, workers, gpus, memory
        self.selector = selectors.DefaultSelector()
        self.workers: dict[int, _Worker] = {}
        self.stopped: float | None = None
        self.unborn: list[Event] = []

    def takes(self, job: Job) -> bool:
        """See Executor."""
        busy = [worker for worker in self.workers.values() if worker.task is not None or worker.group is not None]
        if self.stopped is not None or any(worker.group is not None for worker in busy):
            return False
        return not busy if job.processes > 1 else len(busy) < self.count

    def submit(self, task: Task) -> None:
        """See Executor."""
        sharing = self.count if task.job.processes == 1 else task.job.processes
        if self.memory is not None and task.job.max_memory is None and sharing > 1:
            limit = str(self.memory // sharing)
            task = Task(task.job.model_copy(update={"max_memory": limit}), task.record, task.overwrite)
        try:
            if task.job.processes > 1:
                self._start_together(task)
                return
            worker = next((w for w in self.workers.values() if w.task is None), None) or self._started()
        except OSError as error:  # no memory, too many processes, a full disk: it is this job's mishap alone
            words = f"no process could be started for it: {error.strerror or error}"
            self.unborn.append(Event("lost", task, words=words))
            return
        worker.task = task
        try:
            _pipe(worker.process.stdin).write(f"{task.words()}\n".encode())
            _pipe(worker.process.stdin).flush()
        except BrokenPipeError:
            pass  # it has died meanwhile, which `events` tells

    def events(self, seconds: float) -> Iterator[Event]:
        """See Executor."""
        if self.stopped is not None and time.monotonic() - self.stopped > PATIENCE:
            for worker in self.workers.values():
                worker.process.kill()
        unborn, self.unborn = self.unborn, []
        yield from unborn
        ready = self.selector.select(0.0 if unborn else seconds)
        for worker in () if ready else list(self.workers.values()):
            # torchrun is gone, and others hold the pipe
            if worker.group is not None and worker.process.poll() is not None:
                yield from self._lost(worker)
        for key, _ in ready:
            heard: _Worker = key.data
            said = os.read(key.fd, 1 << 16)
            if not said:
                yield from self._lost(heard)
                continue
            *lines, heard.heard = (heard.heard + said).split(b"\n")
            for line in lines:
                yield from self._heard(heard, json.loads(line))

    def stop(self) -> None:
        """See Executor."""
        self.stopped = time.monotonic()
        for worker in self.workers.values():
            try:
                _pipe(worker.process.stdin).write(STOP)
                _pipe(worker.process.stdin).flush()
            except BrokenPipeError:
                continue

    def close(self) -> None:
        """See Executor."""
        self._end_all()
        self.selector.close()

    def _end_all(self) -> None:
        for worker in self.workers.values():
            if worker.group is not None:
                # they end when nobody speaks to them any more; torchrun, killed, would leave them behind
                _closed(worker.process.stdin)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(GRACE)
            worker.process.kill()
        for worker in list(self.workers.values()):
            self._gone(worker)

    def _gone(self, worker: _Worker) -> int:
        """Wait for its end, and let go of it; the status."""
        status = worker.process.wait()
        self.selector.unregister(_pipe(worker.process.stdout))
        _closed(worker.process.stdin)
        _closed(worker.process.stdout)
        if worker.group is not None:
            worker.group.clear()
        del self.workers[worker.number]
        return status

    def _start_together(self, task: Task) -> None:
        self._end_all()  # idle ones, which hold memory
        with (self.home / "workers.log").open("ab") as log:
            streams = {"stdout": subprocess.PIPE, "stderr": log.fileno()}
            group = Group.started(self.home, task.words(), task.job.processes, cores=cores(), **streams)
        self._watched(_Worker(group.process, 0, task, group))

    def _heard(self, worker: _Worker, said: dict[str, Any]) -> Iterator[Event]:
        task = worker.task
        if task is None:
            return
        if "step" in said:
            yield Event("step", task, tuple(said["step"]))
        elif "ended" in said:
            worker.task = None
            yield Event("ended", task, record=of_values(said["ended"]))

    def _lost(self, worker: _Worker) -> Iterator[Event]:
        _closed(worker.process.stdin)  # what is left of a group leaves
        failure = None
        if worker.group is not None:
            worker.process.wait()
            failure = worker.group.failure()
        status = self._gone(worker)
        if worker.task is None:
            return
        if failure is not None:
            yield Event("ended", worker.task, record=failure)
        elif worker.group is not None:
            yield Event("lost", worker.task, words="one of its processes was killed from outside (for memory, perhaps)")
        else:
            yield Event("lost", worker.task, words=_ended(status))

    def _started(self) -> _Worker:
        number = next(n for n in range(self.count) if n not in self.workers)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = _visible(number % self.gpus)
        else:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // self.count)))
        with (self.home / "workers.log").open("ab") as log:
            process = subprocess.Popen(
                # -P: nothing is imported from the working directory, which holds data
                [sys.executable, "-P", "-m", WORKER, str(self.home)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C is the coordinator's to answer
            )
        return self._watched(_Worker(process, number))

    def _watched(self, worker: _Worker) -> _Worker:
        self.workers[worker.number] = worker
        self.selector.register(_pipe(worker.process.stdout), selectors.EVENT_READ, worker)
        return worker


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _visible(number: int) -> str:
    named: Sequence[str] = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[number] if number < len(named) else str(number)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # see Popen
    return pipe


def _ended(status: int) -> str:
    if status == -signal.SIGKILL:
        return "its worker was killed from outside (for memory, perhaps)"
    if status < 0:
        return f"its worker died of signal {-status}"
    return f"its worker ended with status {status}"


def _closed(pipe: IO[bytes] | None) -> None:
    with contextlib.suppress(BrokenPipeError):
        _pipe(pipe).close()
