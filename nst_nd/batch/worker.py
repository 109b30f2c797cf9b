"""A process that does jobs one after the other, spoken to in lines of JSON; nst_nd/cli/worker.py starts it.

In: {"job": keys of Job, "record": keys of Record, "overwrite": bool} (and "goes_on": true where the job is queued again
when it is interrupted, so that this is not its end), or {"stop": true}: the job at work ends after its
step. Out: {"step": [iteration, total]} now and then, and {"ended": record} once the job's record lies in HOME, if
there was room for it. When its input ends, whoever started it is gone, and it leaves at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

from nst_nd.batch import records
from nst_nd.batch.records import Record, signature
from nst_nd.config import Job
from nst_nd.domains.shared import share
from nst_nd.engine.memory import forget_peak, is_out_of_memory, peak_resident
from nst_nd.engine.optimise import Step
from nst_nd.engine.team import ALONE, Team
from nst_nd.errors import ExitStatus, Interrupted, NstError, PeerLostError
from nst_nd.job import files_of, run_job
from nst_nd.sidecar import companions, shown, sidecar_of

# seconds from one word on a job's steps to the next
EVERY = 0.5
LONGEST_ERROR = 500
# what a worker is told to end after its step
STOP = b'{"stop": true}\n'


def serve(home: Path) -> None:
    """Until the input ends. home: where records go."""
    # whoever started this one decides about Ctrl-C
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    share()
    answers = own_answers()
    tasks: queue.Queue[dict[str, Any]] = queue.Queue()
    stopping = threading.Event()
    threading.Thread(target=hear, args=(sys.stdin, tasks.put, stopping), daemon=True).start()
    while True:
        task = tasks.get()
        record = do(task, home, teller(answers), stopping.is_set)
        print(json.dumps({"ended": asdict(record)}), file=answers, flush=True)


def own_answers() -> TextIO:
    """Standard output, for answers alone: what libraries print goes to standard error, not between the lines."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return answers


def do(
    task: dict[str, Any],
    home: Path,
    on_step: Callable[[Step], None],
    should_stop: Callable[[], bool],
    team: Team = ALONE,
) -> Record:
    """One job; what became of it also lies in `home` when this returns, unless the disk is full.

    team: the processes that do it together; the first one leaves the record.
    Raises PeerLostError where another one of them ended.
    """
    job, record = Job.model_validate(task["job"]), records.of_values(task["record"])
    forget_peak()  # that of the jobs before
    try:
        ended = _done(job, record, task["overwrite"], on_step, should_stop, team)
    except PeerLostError:
        raise
    except Interrupted:
        ended = replace(record, state="interrupted", ended=time.time(), exit_status=ExitStatus.INTERRUPTED)
    except Exception as error:
        ended = failed(error, job, record)
    if team.rank == 0 and not (ended.state == "interrupted" and task.get("goes_on")):
        with contextlib.suppress(NstError):
            records.leave(ended, home)
    return ended


def failed(error: Exception, job: Job, record: Record) -> Record:
    """The record of a job that ended with this error."""
    return record.failed(*_explained(error, job))


def _explained(error: Exception, job: Job) -> tuple[str, int]:
    """What a failed job's record says, and the exit code that it alone would have had."""
    if isinstance(error, NstError):
        return in_record(str(error), job), int(error.exit_status)
    if is_out_of_memory(error):
        return "out of memory", int(ExitStatus.COMPUTATION)
    first = (str(error).strip().splitlines() or [""])[0]
    return in_record(f"unexpected {type(error).__name__}: {first}", job), int(ExitStatus.BUG)


def in_record(message: str, job: Job) -> str:
    """A message without the folders of the job's files, whose names may be a patient's."""
    files = [file for path in (*files_of(job), Path(job.output)) for file in companions(path)]
    for file in sorted({*files, *(file.absolute() for file in files)}, key=lambda file: -len(str(file))):
        message = message.replace(str(file), shown(file))
        if str(file.parent) not in (".", "/"):
            message = message.replace(f"{file.parent}/", "")
    return message[:LONGEST_ERROR]


def signatures(output: Path) -> dict[str, str]:
    """Of everything that a job leaves beside each other, by name."""
    files = [*companions(output), sidecar_of(output)]
    return {file.name: signature(file) for file in files if file.exists()}


def _done(
    job: Job,
    record: Record,
    overwrite: bool,
    on_step: Callable[[Step], None],
    should_stop: Callable[[], bool],
    team: Team,
) -> Record:
    done = run_job(
        job,
        overwrite=overwrite,
        make_folder=True,
        on_step=on_step,
        should_stop=should_stop,
        resume=True,
        whole=True,
        team=team,
    )
    if done is None:  # the first process has the result
        return record
    found = done.record
    return replace(
        record,
        state="done",
        ended=time.time(),
        request=found["request"],
        peak_memory=peak_resident(),
        metrics=found["metrics"],
        warnings=tuple(found["warnings"]),
        output=signatures(done.output),
    )


def hear(lines: TextIO, take: Callable[[dict[str, Any]], None], stopping: threading.Event) -> None:
    """What the coordinator says, until it is gone; then this process ends at once."""
    for line in lines:
        said = json.loads(line)
        if "stop" in said:
            stopping.set()
        else:
            take(said)
    os._exit(0)


def teller(answers: TextIO) -> Callable[[Step], None]:
    """Says how far a job is, now and then."""
    last = 0.0

    def tell(step: Step) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            print(json.dumps({"step": [step.iteration, step.total]}), file=answers, flush=True)

    return tell
