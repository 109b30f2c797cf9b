"""One job of a batch by several processes together, for a volume that is too large for one of them.

Their task lies in a file, since only one of them can read from the coordinator's pipe. What keeps another one than the
first from going on lies beside it: the first one, which answers for all, learns no more than that somebody is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from nst_nd.batch import records
from nst_nd.batch.records import Record
from nst_nd.batch.worker import STOP, do, failed, hear, own_answers, teller
from nst_nd.config import Job
from nst_nd.engine.launch import joined
from nst_nd.errors import NstError, PeerLostError
from nst_nd.io.atomic import publishing

# where the processes find the file of their task
TASK = "NST_ND_TASK"
# below the home of a batch: what such files are called; they name inputs, and do not outlive the job
PREFIX, FAILURE = "task-", ".failure"
# above this layer, since it sets up a process as the command line does
WORKER = "nst_nd.cli.worker"
LOOKED_EVERY = 1.0


@dataclass(frozen=True)
class Group:
    """The processes of a job, under torchrun. task: the file of their task, see executors.Task.words."""

    process: subprocess.Popen[bytes]
    task: Path

    @classmethod
    def started(
        cls, home: Path, words: str, count: int, *, cores: int, stdout: int | None = None, stderr: int | None = None
    ) -> Group:
        """They speak as a worker does, and leave when the pipe to them is closed.

        words: of the task. cores: that they share. stdout, stderr: as Popen takes them.
        Raises OSError where no file can be written or no process be started.
        """
        handle, name = tempfile.mkstemp(prefix=PREFIX, dir=home)  # readable by this user alone
        task = Path(name).absolute()
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(words)
            threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores // count)))
            # safe path: nothing is imported from the working directory, which holds data
            own = {TASK: str(task), "OMP_NUM_THREADS": threads, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
            launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m", WORKER, str(home)]
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", *launcher],
                stdin=subprocess.PIPE,
                env={**os.environ, **own},
                start_new_session=True,  # Ctrl-C is the coordinator's to answer
                stdout=stdout,
                stderr=stderr,
            )
        except OSError:
            task.unlink(missing_ok=True)
            raise
        return cls(process, task)

    def stop(self) -> None:
        """Ask them to end after the step at work."""
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(STOP)
                self.process.stdin.flush()

    def failure(self) -> Record | None:
        """What became of the job in a process other than the first, once they are gone."""
        return records.read(_failure_of(self.task))

    def clear(self) -> None:
        """Remove the files."""
        for path in (self.task, _failure_of(self.task)):
            path.unlink(missing_ok=True)


def sweep(home: Path) -> None:
    """Remove the files of groups whose coordinator was killed."""
    for path in home.glob(f"{PREFIX}*"):
        path.unlink(missing_ok=True)


def serve_together(home: Path) -> None:
    """This process's part of the job that TASK holds. The first one listens, answers and leaves the record."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    path = Path(os.environ[TASK])
    task = json.loads(path.read_text(encoding="utf-8"))
    answers, stopping = own_answers(), threading.Event()
    try:
        with joined(task["job"].get("device", "auto")) as team:
            if team.rank:
                ended = do(task, home, lambda step: None, lambda: False, team)  # noqa: ARG005
                if ended.state == "failed":
                    _leave_failure(ended, path)
                    sys.exit(1)
                return
            listen = threading.Thread(target=hear, args=(sys.stdin, lambda task: None, stopping), daemon=True)  # noqa: ARG005
            listen.start()
            record = do(task, home, teller(answers), stopping.is_set, team)
            print(json.dumps({"ended": asdict(record)}), file=answers, flush=True)
    except PeerLostError as error:
        sys.exit(f"error: {error}")
    except NstError as error:  # they could not come together
        _leave_failure(failed(error, Job.model_validate(task["job"]), records.of_values(task["record"])), path)
        sys.exit(f"error: {error}")


def _failure_of(task: Path) -> Path:
    return task.with_name(f"{task.name}{FAILURE}")


def _leave_failure(record: Record, task: Path) -> None:
    with contextlib.suppress(NstError), publishing(_failure_of(task), overwrite=True) as private:
        private.write_text(json.dumps(asdict(record), allow_nan=False), encoding="utf-8")


def _leave_with(parent: int) -> None:
    """End when torchrun is gone (1: before this began): the others may be waited for without an end then."""
    while os.getppid() == parent != 1:
        time.sleep(LOOKED_EVERY)
    os._exit(1)
