"""One job of a batch by several processes together, for a volume that is too large for one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

from nst_nd.batch.worker import do, hear, own_answers, teller
from nst_nd.engine.launch import joined

# where the processes find their task, see executors.Task.words
TASK = "NST_ND_TASK"
# above this layer, since it sets up a process as the command line does
WORKER = "nst_nd.cli.worker"
LOOKED_EVERY = 1.0


def start(
    home: Path, words: str, count: int, *, cores: int, stdout: int | None = None, stderr: int | None = None
) -> subprocess.Popen[bytes]:
    """The processes, under torchrun; they speak as a worker does, and leave when the pipe to them is closed.

    words: of the task. cores: that they share. stdout, stderr: as Popen takes them.
    """
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores // count)))
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m", WORKER, str(home)]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", *launcher],
        stdin=subprocess.PIPE,
        # safe path: nothing is imported from the working directory, which holds data
        env={**os.environ, TASK: words, "OMP_NUM_THREADS": threads, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # Ctrl-C is the coordinator's to answer
        stdout=stdout,
        stderr=stderr,
    )


def serve_together(home: Path) -> None:
    """This process's part of the job that TASK holds. The first one listens, answers and leaves the record."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    task = json.loads(os.environ[TASK])
    answers, stopping = own_answers(), threading.Event()
    with joined(task["job"].get("device", "auto")) as team:
        if team.rank:
            do(task, home, lambda step: None, lambda: False, team)  # noqa: ARG005
            return
        threading.Thread(target=hear, args=(sys.stdin, lambda task: None, stopping), daemon=True).start()  # noqa: ARG005
        record = do(task, home, teller(answers), stopping.is_set, team)
        print(json.dumps({"ended": asdict(record)}), file=answers, flush=True)


def _leave_with(parent: int) -> None:
    """End when torchrun is gone (1: before this began): the others may be waited for without an end then."""
    while os.getppid() == parent != 1:
        time.sleep(LOOKED_EVERY)
    os._exit(1)
