"""The app from its start to its end: a folder, a port of this machine, the server, and what is cleared away."""

from __future__ import annotations

import secrets
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from nst_nd.app.guard import Tickets
from nst_nd.app.jobs import Jobs
from nst_nd.app.server import Service, application
from nst_nd.app.uploads import Uploads
from nst_nd.app.workplace import workplace
from nst_nd.errors import ConfigError
from nst_nd.job import check_folder

HOST = "127.0.0.1"
# a terminal that is closed sends the last one
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# seconds that open requests are given when it ends
PATIENCE = 3


def serve(
    *, port: int, browser: bool, kept: Path, most: int, at_once: int, say: Callable[[str], None]
) -> tuple[list[str], list[str]]:
    """Serve until Ctrl-C, SIGTERM or SIGHUP; the folders of jobs that were kept, and what of them could not be.

    port: 0 for any that is free. kept: folder of what is to stay. most: bytes of an upload. at_once: jobs at work.
    say: told the address, once it answers. Raises ConfigError for a port that cannot be had, OutputError for a folder
    that cannot be written.
    """
    check_folder(kept / "job", make_folder=True)
    with _port(port) as listening, workplace() as folder:
        jobs = Jobs(folder / "jobs", kept, at_once)
        service = Service(Uploads(folder / "uploads", most), jobs, secrets.token_urlsafe(24), Tickets())
        server = uvicorn.Server(_config(application(service)))
        address = f"http://{HOST}:{listening.getsockname()[1]}"
        opening = threading.Thread(
            target=_when_it_answers,
            args=(server, lambda: _announce(address, service, say, browser=browser)),
            daemon=True,
        )
        try:
            with _ended_by_a_signal():
                try:
                    opening.start()
                    server.run(sockets=[listening])
                finally:
                    jobs.close()
        except KeyboardInterrupt:
            pass  # the way to end it
        return [job.kept for job in jobs.jobs.values() if job.kept], jobs.lost()


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_level="warning",
        access_log=False,  # it would have the token
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=PATIENCE,
    )


@contextmanager
def _port(number: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, number))
        except OSError as error:
            raise ConfigError(f"--port {number}: {error.strerror or error}; choose another, or leave it out") from error
        yield listening


@contextmanager
def _ended_by_a_signal() -> Iterator[None]:
    """SIGTERM and SIGHUP do what Ctrl-C does; the server hands on what it caught once it has ended."""

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _when_it_answers(server: uvicorn.Server, then: Callable[[], None]) -> None:
    waiting = threading.Event()
    while not server.started:
        if server.should_exit:
            return
        waiting.wait(0.02)
    then()


def _announce(address: str, service: Service, say: Callable[[str], None], *, browser: bool) -> None:
    say(f"{address}/{service.token}/")
    if browser:
        webbrowser.open(f"{address}/open/{service.tickets.issue()}")
