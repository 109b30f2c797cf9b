"""Jobs of the app: queued, at work in processes of their own, done; whatever browsers come and go."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nst_nd.app.orders import Order
from nst_nd.app.pictures import Window
from nst_nd.app.refused import RefusedError
from nst_nd.app.uploads import without_folder
from nst_nd.sidecar import companions, sidecar_of

State = Literal["queued", "running", "stopping", "done", "stopped", "failed"]
ENDED = ("done", "stopped", "failed")
# jobs that are remembered at a time, and points of a curve
MOST_JOBS, MOST_POINTS = 100, 200
# seconds that a job is given to end its step and to write, when the app ends or it is told to stop for the second time
PATIENCE, GRACE = 60.0, 10.0
WORKER = "nst_nd.cli.app_worker"


@dataclass
class AppJob:
    """A job and how far it is. step: the last one that was told. losses: [iteration, loss]. views: pictures so far."""

    name: str
    folder: Path
    order: Order
    window: Window | None
    state: State = "queued"
    created: float = field(default_factory=time.time)
    step: dict[str, Any] | None = None
    losses: list[list[float]] = field(default_factory=list)
    views: int = 0
    plan: str = ""
    said: list[str] = field(default_factory=list)
    error: str = ""
    ended: dict[str, Any] | None = None
    keep: bool = False
    kept: str = ""
    process: subprocess.Popen[bytes] | None = None
    thread: threading.Thread | None = None

    @property
    def view_folder(self) -> Path:
        """Where pictures of content, style and result lie."""
        return self.folder / "views"

    def files(self) -> dict[str, Path]:
        """What can be fetched, by what it is."""
        found = {"yaml": self.order.config}
        if self.state in ENDED:
            main, *others = companions(self.order.output)
            named = {"result": main, **dict(zip(("companion",), others, strict=False)), "sidecar": sidecar_of(main)}
            found |= {what: path for what, path in named.items() if path.is_file()}
        return found

    def seen(self) -> dict[str, Any]:
        """For the page."""
        plain = ("name", "state", "created", "step", "losses", "views", "plan", "error", "ended", "keep", "kept")
        files = {what: {"name": path.name, "bytes": path.stat().st_size} for what, path in self.files().items()}
        order = {key: getattr(self.order, key) for key in ("preset", "content", "style", "settings")}
        more = {"output": self.order.output.name, "notes": self.said, "files": files, "facts": self._facts()}
        return {**{key: getattr(self, key) for key in plain}, **order, **more}

    def take(self, said: dict[str, Any]) -> None:
        """What its process says of it."""
        if "step" in said:
            self.step = said["step"]
            if said["step"]["loss"] is not None:
                self.losses.append([said["step"]["iteration"], said["step"]["loss"]])
            if len(self.losses) > MOST_POINTS:  # the last one stays the last one
                self.losses = self.losses[-1::-2][::-1]
        self.plan = said.get("plan", self.plan)
        self.views = said.get("view", self.views)
        self.ended = said.get("ended", self.ended)
        self.error = said.get("error", self.error)
        self.said += [said["note"]] if "note" in said else []

    def _facts(self) -> dict[str, Any]:
        found = {}
        for file in sorted(self.view_folder.glob("*.json")):
            with contextlib.suppress(OSError, ValueError):
                found[file.stem] = json.loads(file.read_text())
        return found


class Jobs:
    """All jobs of an app. folder: theirs alone. kept: where those go that are to stay.

    at_once: how many are at work at a time.
    """

    def __init__(self, folder: Path, kept: Path, at_once: int = 1) -> None:
        self.folder, self.kept, self.at_once = folder, kept, at_once
        self.jobs: dict[str, AppJob] = {}
        self.lock, self.keeping = threading.RLock(), threading.Lock()
        self.threads: list[threading.Thread] = []
        self.closed = False
        folder.mkdir()

    def fresh(self) -> tuple[str, Path]:
        """A name for a job and the folder that it may have. Raises RefusedError where there are too many."""
        if len(self.jobs) >= MOST_JOBS:
            raise RefusedError(f"{MOST_JOBS} jobs are here, and no more are allowed; remove some", 409)
        name = secrets.token_hex(8)
        return name, self.folder / name

    def submit(self, job: AppJob) -> None:
        """Queue it; it starts when its turn comes."""
        with self.lock:
            if self.closed:
                raise RefusedError("the app is ending", 503)
            self.jobs[job.name] = job
            self._fill()

    def get(self, name: str) -> AppJob:
        """A job by its name. Raises RefusedError where there is none."""
        try:
            return self.jobs[name]
        except KeyError:
            raise RefusedError("there is no such job (any more)", 404) from None

    def seen(self) -> list[dict[str, Any]]:
        """All of them for the page, the newest first."""
        with self.lock:
            return [job.seen() for job in reversed(self.jobs.values())]

    def stop(self, name: str, *, at_once: bool = False) -> None:
        """End it after its step, with the best so far; at_once: one that is stopping already, without a result."""
        with self.lock:
            job = self.get(name)
            if job.state == "queued":
                job.state = "stopped"
            elif job.process is not None and (job.state == "running" or at_once):
                # the second signal ends it at once, so being asked twice must not send it
                job.process.send_signal(signal.SIGINT)
                job.state = "stopping"

    def remove(self, name: str) -> None:
        """With its files, but those that were kept. Raises RefusedError while it is at work."""
        with self.lock:
            job = self.get(name)
            if job.state in ("running", "stopping"):
                raise RefusedError("the job is at work; stop it first", 409)
            if job.keep and not job.kept and job.order.output.is_file():
                raise RefusedError("the job is being kept; wait until that is done", 409)
            del self.jobs[name]
        shutil.rmtree(job.folder, ignore_errors=True)

    def keep(self, name: str) -> None:
        """Let what it gives stay when the app is gone: a copy in the folder of those, at once or when it ends."""
        with self.lock:
            job = self.get(name)
            job.keep = True
            ended = job.state in ENDED
        if ended:
            self._keep(job)

    def close(self) -> None:
        """End what is at work, with the best so far of what is to be kept; nothing starts any more.

        Copies that are being made are made to their end.
        """
        with self.lock:
            self.closed = True
            at_work = [job for job in self.jobs.values() if job.process is not None]
            kept = [job for job in self.jobs.values() if job.keep and job.thread is not None]
            for job in at_work:
                if job.state == "running":
                    self.stop(job.name)
        until = time.monotonic() + PATIENCE
        try:
            for job in kept:
                if job.thread is not None:
                    job.thread.join()  # however long its step is, and its copy
            with self.keeping:
                pass  # one that the page asked for
            for thread in self.threads:
                thread.join(max(0.0, until - time.monotonic()))
        finally:  # also where Ctrl-C cuts the waiting short
            for job in at_work:
                if job.process is not None:
                    job.process.kill()
            for thread in self.threads:
                thread.join(GRACE)

    def _fill(self) -> None:
        at_work = sum(job.process is not None for job in self.jobs.values())
        for job in list(self.jobs.values()):
            if self.closed or at_work >= self.at_once:
                return
            if job.state == "queued":
                self._start(job)
                at_work += job.process is not None

    def _start(self, job: AppJob) -> None:
        window = [] if job.window is None else [repr(value) for value in job.window]
        try:
            with (job.folder / "log").open("wb") as log:
                job.process = subprocess.Popen(
                    # -P: nothing is imported from the working directory, which holds data
                    [sys.executable, "-P", "-m", WORKER, str(job.order.config), str(job.view_folder), *window],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                    start_new_session=True,  # Ctrl-C is the app's to answer
                )
        except OSError as error:
            job.state, job.error = "failed", f"no process could be started for it: {error.strerror or error}"
            return
        job.state = "running"
        thread = job.thread = threading.Thread(target=self._follow, args=(job, job.process), daemon=True)
        self.threads = [*(t for t in self.threads if t.is_alive()), thread]
        thread.start()

    def _follow(self, job: AppJob, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            for line in process.stdout:
                with self.lock:
                    job.take(_said(line))
        finally:
            status = process.wait()
            process.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            with self.lock:
                self._end(job, status)
                self._fill()
        if job.keep:
            self._keep(job)

    def _end(self, job: AppJob, status: int) -> None:
        asked, job.process = job.state == "stopping", None
        if job.ended is not None:
            job.state = "done" if job.ended["status"] == "done" else "stopped"
        elif asked:
            job.state, job.error = "stopped", job.error or "stopped before there was anything to keep"
        else:
            job.state, job.error = "failed", job.error or f"its process ended with status {status}{_tail(job)}"

    def _keep(self, job: AppJob) -> None:
        with self.keeping:  # not the other lock: large files take their time, and the page wants to hear of the rest
            if job.kept or not job.order.output.is_file():
                return
            try:
                job.kept = str(_copied(job.order.folder, self.kept, job.order.config.stem))
            except OSError as error:
                job.keep = self.closed  # the page may ask again, as long as there is one
                job.error = f"it could not be kept in {self.kept}: {error.strerror or error}"
                if self.closed:
                    self._rescue(job)

    def _rescue(self, job: AppJob) -> None:
        """The app ends and takes its folders along: a place of last resort for what was to be kept."""
        with contextlib.suppress(OSError):
            job.kept = str(
                _copied(job.order.folder, Path(tempfile.mkdtemp(prefix="nst-nd-kept-")), job.order.config.stem)
            )

    def lost(self) -> list[str]:
        """Of every job that was to be kept and is not where it should be, or not at all: its name and why."""
        return [
            f"{job.order.output.name}: {job.error or _why_not(job)}"
            for job in self.jobs.values()
            if job.keep and (not job.kept or not Path(job.kept).is_relative_to(self.kept))
        ]


def _why_not(job: AppJob) -> str:
    """Why there is no copy of a job where nothing was said."""
    return "its copy was cut short" if job.order.output.is_file() else "it had no result yet"


def _said(line: bytes) -> dict[str, Any]:
    """What a process says; nothing where a library printed the line, or it was cut off."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _copied(folder: Path, above: Path, stem: str) -> Path:
    """A copy of a folder under a name that is free, there as a whole or not at all."""
    above.mkdir(parents=True, exist_ok=True)
    private = above / f".{secrets.token_hex(8)}.part"
    try:
        shutil.copytree(folder, private)
        number = 1
        while True:
            target = above / (stem if number == 1 else f"{stem}-{number}")
            if not target.exists():
                return private.rename(target)
            number += 1
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _tail(job: AppJob) -> str:
    """The last line of what a process that died had to say."""
    with contextlib.suppress(OSError):
        lines = (job.folder / "log").read_text(errors="replace").strip().splitlines()
        return f": {without_folder(lines[-1], job.folder)}" if lines else ""
    return ""
