"""Jobs of a batch as array tasks of a Slurm cluster, through submitit; the folder of the batch has to be shared.

A task is one job in a process of its own, which leaves a record (records.py) where the coordinator looks for it. Where
Slurm takes a node away or a time limit comes, submitit has it queued again, and it goes on from its checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nst_nd.batch import records
from nst_nd.batch.executors import Event, Task
from nst_nd.checkpoint import EVERY
from nst_nd.config import Job, SlurmSettings
from nst_nd.engine.memory import bytes_of
from nst_nd.errors import ComputationError, ConfigError

# below the home of a batch: submitit's own files, and which tasks were sent
FOLDER, SENT = "slurm", "slurm.json"
# Slurm's own default of the longest array
MOST_AT_ONCE = 1000
# seconds between questions to Slurm, and for which a record may be late on a network file system
ASKED_EVERY, LATE = 5.0, 10.0
# of checkpoints, unless somebody says otherwise: a task may end at any time
CHECKPOINT_SECONDS = "60"
# Slurm's signal comes 90 seconds before the end: so long a step may take, and there is time to queue the task again
LONGEST_STEP = 60.0
# a job is queued again as often as its time limit comes
MOST_TIMES = 1000
POLLED_EVERY = 0.2


# asked for by Slurm's signal, in the process of a task: end after the step at work
_ending = threading.Event()
# not empty once its work is over; no lock, which a signal's handler could find held by what it interrupts
_over: list[bool] = []


@dataclass(frozen=True)
class Work:
    """What a task runs. home, words: the batch's home and the line of the task, see executors.Task."""

    home: str
    words: str

    def __call__(self) -> str:
        """The job; its name.

        It runs in a thread of its own, so that it can end a step and write its checkpoint while the signal of a
        preemption or a time limit is answered, which Python does between two instructions of the first thread.
        """
        os.environ.setdefault(EVERY, CHECKPOINT_SECONDS)
        task = {**json.loads(self.words), "goes_on": True}
        threading.Thread(target=self._work, args=(task,), daemon=True).start()
        _wait()
        return str(task["record"]["name"])

    def checkpoint(self) -> Any:
        """What submitit queues again: the same, which goes on from the checkpoint beside the output."""
        from submitit.helpers import DelayedSubmission

        _ending.set()
        _wait(LONGEST_STEP)
        return DelayedSubmission(self)

    def _work(self, task: dict[str, Any]) -> None:
        try:
            (self._together if task["job"].get("processes", 1) > 1 else self._alone)(task)
        finally:
            _over.append(True)

    def _alone(self, task: dict[str, Any]) -> None:
        from nst_nd.batch.worker import do

        do(task, Path(self.home), lambda step: None, _ending.is_set)  # noqa: ARG005

    def _together(self, task: dict[str, Any]) -> None:
        from nst_nd.batch.executors import cores
        from nst_nd.batch.group import Group

        # what the task's script sets is for one process
        threads = int(os.environ.pop("OMP_NUM_THREADS", cores()))
        home = Path(self.home)
        group = Group.started(home, json.dumps(task), task["job"]["processes"], cores=threads)
        told = False
        while group.process.poll() is None:
            if _ending.is_set() and not told:
                told = True
                group.stop()
            time.sleep(POLLED_EVERY)
        failure = group.failure()
        if failure is not None and records.one(failure.name, home) is None:
            records.leave(failure, home)
        group.clear()


def _wait(seconds: float = math.inf) -> None:
    """For the work of this process."""
    until = time.monotonic() + seconds
    while not _over and time.monotonic() < until:
        time.sleep(POLLED_EVERY)


@dataclass
class _Sent:
    task: Task
    job: Any
    gone: float | None = None


class SlurmExecutor:
    """Tasks on a cluster. Raises ConfigError where submitit or Slurm is missing."""

    def __init__(self, home: Path, settings: SlurmSettings) -> None:
        try:
            import submitit
        except ImportError as error:
            raise ConfigError("executor slurm needs the package submitit: install nst_nd[slurm]") from error
        self.home = home.resolve()
        try:
            self.slurm = submitit.SlurmExecutor(self.home / FOLDER, max_num_timeout=MOST_TIMES)
        except RuntimeError as error:
            raise ConfigError(f"executor slurm: there is no Slurm here: {str(error).splitlines()[0]}") from error
        self.slurm.update_parameters(**_parameters(settings))
        self.waiting: list[Task] = []
        self.sent: dict[str, _Sent] = {}
        self.asked = 0.0
        self.stopped = False

    def takes(self, job: Job) -> bool:
        """See Executor; a task has the processes of its job."""
        del job
        return not self.stopped and len(self.sent) + len(self.waiting) < MOST_AT_ONCE

    def submit(self, task: Task) -> None:
        """See Executor: sent as part of an array when events are next asked for."""
        self.waiting.append(task)

    def events(self, seconds: float) -> Iterator[Event]:
        """See Executor."""
        self._send()
        if not self.sent:
            return
        time.sleep(seconds)
        queued = None
        if time.monotonic() - self.asked >= ASKED_EVERY:
            self.asked = time.monotonic()
            queued = _queued()
        for name, sent in list(self.sent.items()):
            record = records.one(name, self.home)
            if record is not None and record.attempts == sent.task.record.attempts and record.state != "running":
                del self.sent[name]
                yield Event("ended", sent.task, record=record)
            elif queued is not None and _gone(sent, queued):
                del self.sent[name]
                yield Event("lost", sent.task, words="Slurm has it no longer, and it left no record")

    def stop(self) -> None:
        """See Executor: tasks are cancelled; they go on from their checkpoints in the next run."""
        self.stopped = True
        self.waiting.clear()
        _cancel([sent.job.job_id for sent in self.sent.values()])

    def close(self) -> None:
        """See Executor."""
        self.stop()
        (self.home / SENT).unlink(missing_ok=True)

    def _send(self) -> None:
        if not self.waiting:
            return
        try:
            with self.slurm.batch():
                jobs = [self.slurm.submit(Work(str(self.home), _placed(task).words())) for task in self.waiting]
        except Exception as error:  # submitit raises what sbatch says as an exception of its own
            said = " ".join(str(error).split())[:300]
            raise ComputationError(f"Slurm did not take the jobs: {said}") from error
        for task, job in zip(self.waiting, jobs, strict=True):
            self.sent[task.record.name] = _Sent(task, job)
        self.waiting = []
        (self.home / SENT).write_text(json.dumps([sent.job.job_id for sent in self.sent.values()]))


def _gone(sent: _Sent, queued: set[str]) -> bool:
    """Whether Slurm has it no longer, for long enough for its record to be seen."""
    if sent.job.job_id in queued:
        sent.gone = None
        return False
    sent.gone = sent.gone or time.monotonic()
    return time.monotonic() - sent.gone >= LATE


def _queued() -> set[str] | None:
    """Tasks of this user that wait or run, also without accounting; None where Slurm does not answer."""
    words = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    return None if ran.returncode else set(ran.stdout.split())


def _cancel(numbers: list[str]) -> None:
    if numbers:
        subprocess.run(["scancel", *numbers], capture_output=True, check=False)


def cancel_left(home: Path, seconds: float = 60.0) -> None:
    """Cancel what an earlier run sent and did not wait for: it would write to the outputs of this one.

    Raises ComputationError where it does not end within so many seconds.
    """
    path = home / SENT
    if not path.is_file():
        return
    with contextlib.suppress(ValueError):
        numbers = [str(number) for number in json.loads(path.read_text())]
        _cancel(numbers)
        until = time.monotonic() + seconds
        while (queued := _queued()) is None or queued & set(numbers):
            if time.monotonic() > until:
                raise ComputationError("tasks of an earlier run do not end; cancel them, then run again")
            time.sleep(1.0)
    path.unlink()


def _placed(task: Task) -> Task:
    """With paths that hold on another machine, in another working directory."""
    job = task.job

    def whole(path: str | None) -> str | None:
        return None if path is None else str(Path(path).absolute())

    style = tuple(s.model_copy(update={"path": whole(s.path), "mask": whole(s.mask)}) for s in job.style)
    update: dict[str, Any] = {
        "content": whole(job.content),
        "style": style,
        "output": whole(job.output),
        "mask": whole(job.mask),
    }
    update["labels"] = whole(job.labels)
    extractor = tuple(e.model_copy(update={"weights": whole(e.weights)}) for e in job.extractor)
    if any(e.weights for e in extractor):
        update["extractor"] = extractor
    if "init" in job.model_fields_set and Path(job.init).exists():
        update["init"] = whole(job.init)
    given = {key: value for key, value in update.items() if key in job.model_fields_set or key == "output"}
    return Task(job.model_copy(update=given), task.record, task.overwrite)


def _parameters(settings: SlurmSettings) -> dict[str, Any]:
    found: dict[str, Any] = {
        "job_name": "nst-nd",
        "time": settings.minutes,
        "cpus_per_task": settings.cpus,
        "array_parallelism": settings.at_once,
        "additional_parameters": {"requeue": True, **settings.more},
        "setup": [f"export OMP_NUM_THREADS={settings.cpus} PYTHONSAFEPATH=1"],
        "stderr_to_stdout": True,
    }
    for name in ("partition", "account", "qos"):
        if getattr(settings, name) is not None:
            found[name] = getattr(settings, name)
    if settings.gpus:
        found["gpus_per_node"] = settings.gpus
    if settings.memory is not None:
        found["mem"] = f"{max(1, bytes_of(settings.memory) >> 20)}M"
    return found
