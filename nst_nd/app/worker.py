"""The process that does one job of the app; nst_nd/cli/app_worker.py starts it. It does what `nst-nd run` does.

Standard output has lines of JSON: {"plan": words}, {"step": {...}} and {"view": number} now and then, and as the last
one {"ended": {...}} or {"error": words, "status": exit code}. When its input ends, the app is gone, and it leaves at
once. SIGINT ends it after its step, with the best so far.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from nst_nd.app import pictures
from nst_nd.batch.worker import in_record, own_answers
from nst_nd.config import Job
from nst_nd.draft import Draft, read_yaml
from nst_nd.engine.memory import free_memory, is_out_of_memory
from nst_nd.engine.optimise import Step
from nst_nd.errors import ExitStatus, NstError
from nst_nd.io import load, outline
from nst_nd.job import RATELESS, Done, run_job
from nst_nd.sample import Sample
from nst_nd.sidecar import shown

# seconds from one word on steps to the next, and from one picture to the next; share of the time for pictures
EVERY, LOOK_EVERY, SHARE = 0.2, 0.7, 0.1
# bytes per value that making a result of the iterate, and a picture of that, take at most
WORKING = 64


def do(config: Path, views: Path, window: pictures.Window | None, should_stop: Callable[[], bool]) -> int:
    """The job of a YAML file, its output under the folder that `nst-nd run` puts it in; the exit code.

    views: where pictures go. window: of a volume, see pictures.view_of.
    """
    answers = own_answers()
    threading.Thread(target=_leave_with_the_app, daemon=True).start()

    def tell(**said: Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(said), file=answers, flush=True)

    job = _placed(config)
    try:
        done = _done(job, views, window, should_stop, tell)
    except Exception as error:
        status, words = _explained(error, job)
        tell(error=words, status=int(status))
        return int(status)
    tell(ended=_summary(done))
    return int(ExitStatus.INTERRUPTED if done.interrupted else ExitStatus.DONE)


def _placed(config: Path) -> Job:
    """As `nst-nd run` has it."""
    marked = read_yaml(config)
    job = Draft.of_values(config.parent, marked.value, marked.where).job()
    return job.model_copy(update={"output": str(config.with_suffix("") / job.output)})


def _done(
    job: Job,
    views: Path,
    window: pictures.Window | None,
    should_stop: Callable[[], bool],
    tell: Callable[..., None],
) -> Done:
    viewer = Looking(views, window, tell, _size(job))
    done = run_job(
        job,
        make_folder=True,
        on_step=_teller(tell),
        should_stop=should_stop,
        on_plan=lambda words: tell(plan=words),
        viewer=viewer,
    )
    assert done is not None  # there is one process
    if viewer.wanted:
        viewer.show(lambda: _read(job, done.output))
    return done


def _size(job: Job) -> int:
    assert job.content is not None  # see orders
    rate = job.rate if Path(job.content).suffix.lower() in RATELESS else None
    return outline(job.content, kind=job.kind, rate=rate).data.size


def _read(job: Job, path: Path) -> Sample:
    return load(path, kind=job.kind, rate=job.rate if path.suffix.lower() in RATELESS else None)


class Looking:
    """Puts a picture of the result into a folder now and then; see Viewer. values: of the signal."""

    def __init__(self, folder: Path, window: pictures.Window | None, tell: Callable[..., None], values: int) -> None:
        self.folder, self.window, self.tell, self.values = folder, window, tell, values
        self.next, self.count, self.wanted = 0.0, 0, True
        if values > pictures.MOST_VALUES:
            self._no_more("it is too large to be shown")

    def due(self) -> bool:
        """See Viewer. Never where memory is short: no plan has counted what a look takes."""
        if not self.wanted or time.monotonic() < self.next:
            return False
        if free_memory() < WORKING * self.values:
            self._no_more("memory is short")
        return self.wanted

    def show(self, make: Callable[[], Sample]) -> None:
        """See Viewer; where a picture cannot be made the job goes on without, and says so."""
        began = time.monotonic()
        try:
            pictures.put(pictures.view_of(make(), self.window), self.folder, "result")
        except Exception as error:  # torch says in many ways that memory was short
            self._no_more((str(error).splitlines() or [""])[0][:200])
            return
        self.count += 1
        self.tell(view=self.count)
        took = time.monotonic() - began
        self.next = time.monotonic() + max(LOOK_EVERY, took / SHARE)

    def _no_more(self, why: str) -> None:
        self.wanted = False
        self.tell(note=f"no pictures while it runs: {why}")


def _teller(tell: Callable[..., None]) -> Callable[[Step], None]:
    last = 0.0

    def on_step(step: Step) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < EVERY and step.iteration < step.total:
            return
        last = now
        loss = step.loss  # on an accelerator it waits for the device
        where = {"iteration": step.iteration, "total": step.total, "scale": step.scale + 1, "scales": step.scales}
        known = {"seconds": round(step.seconds, 2), "loss": loss if math.isfinite(loss) else None}
        tell(step={**where, "size": list(step.size), **known})

    return on_step


def _summary(done: Done) -> dict[str, Any]:
    kept = ("status", "seconds", "metrics", "warnings", "notes")
    return {"output": shown(done.output), **{key: done.record[key] for key in kept}}


def _explained(error: Exception, job: Job) -> tuple[ExitStatus, str]:
    if isinstance(error, NstError):
        return ExitStatus(error.exit_status), in_record(str(error), job)
    if is_out_of_memory(error):
        return ExitStatus.COMPUTATION, "out of memory"
    first = (str(error).strip().splitlines() or [""])[0]
    return ExitStatus.BUG, in_record(f"unexpected {type(error).__name__}: {first}", job)


def _leave_with_the_app(lines: TextIO | None = None) -> None:
    for _ in lines or sys.stdin:
        pass
    os._exit(ExitStatus.INTERRUPTED)
