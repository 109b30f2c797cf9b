"""What the app answers, below /TOKEN/: the page, and what the page asks for. No path of a request is one of a file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from nst_nd import __version__
from nst_nd.app.guard import Guard, Tickets
from nst_nd.app.jobs import AppJob, Jobs
from nst_nd.app.offers import offers
from nst_nd.app.orders import check_request, make_order
from nst_nd.app.pictures import CT_WINDOW, Window
from nst_nd.app.refused import RefusedError
from nst_nd.app.uploads import Slot, Uploads
from nst_nd.errors import NstError
from nst_nd.sample import KINDS

# bytes of a request that is no file
MOST_WORDS = 2**16
PAGE = {"": "index.html"} | {n: n for n in ("app.js", "draw.js", "job.js", "knobs.js", "app.css", "icon.svg")}
KINDS_OF_PAGE = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
# what browsers play
SOUNDS = {".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".oga": "audio/ogg", ".opus": "audio/ogg"}
Answer = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Service:
    """What the answers are made of. token: the first part of every path."""

    uploads: Uploads
    jobs: Jobs
    token: str
    tickets: Tickets


def application(service: Service) -> ASGIApp:
    """The ASGI application, guarded."""
    uploads, jobs = service.uploads, service.jobs
    routes: list[BaseRoute] = [*_page(), Route("/api/about", _about(service), methods=["GET"])]
    routes += [*_slot_routes(uploads), *_job_routes(uploads, jobs)]
    mounted = Mount(f"/{service.token}", routes=routes)
    app = Starlette(routes=[mounted], exception_handlers={NstError: _said, HTTPException: _plain, OSError: _broken})
    return Guard(app, service.token, service.tickets)


def _page() -> list[BaseRoute]:
    folder = resources.files("nst_nd.app") / "static"
    kinds = {name: KINDS_OF_PAGE[Path(name).suffix] for name in PAGE.values()}
    return [_static(path, (folder / name).read_bytes(), kinds[name]) for path, name in PAGE.items()]


def _static(path: str, data: bytes, kind: str) -> Route:
    async def answer(request: Request) -> Response:
        del request
        return Response(data, media_type=kind)

    return Route(f"/{path}", answer, methods=["GET"])


def _about(service: Service) -> Answer:
    known = {
        "version": __version__,
        "presets": offers(),
        "kinds": list(KINDS),
        "most": service.uploads.most,
        "kept": str(service.jobs.kept),
    }

    async def answer(request: Request) -> Response:
        del request
        return JSONResponse(known)

    return answer


def _slot_routes(uploads: Uploads) -> list[BaseRoute]:
    async def opened(request: Request) -> Response:
        del request
        return JSONResponse((await run_in_threadpool(uploads.open)).seen(), 201)

    async def one(request: Request) -> Response:
        slot = uploads.get(request.path_params["slot"])
        if request.method == "DELETE":
            await run_in_threadpool(uploads.remove, slot.name)
            return Response(status_code=204)
        if request.method == "PUT":
            await _received(uploads, slot, request)
            await run_in_threadpool(uploads.look, slot)
        return JSONResponse(slot.seen())

    async def look(request: Request) -> Response:
        slot, wanted = uploads.get(request.path_params["slot"]), await _words(request)
        kind, rate = wanted.get("kind"), wanted.get("rate")
        if kind not in (None, *KINDS) or not (rate is None or (_is_number(rate) and 0 < rate < 1e7)):
            raise RefusedError(f"kind is one of {', '.join(KINDS)}, rate a number of Hz")
        await run_in_threadpool(uploads.look, slot, kind=kind, rate=None if rate is None else float(rate))
        return JSONResponse(slot.seen())

    async def view(request: Request) -> Response:
        slot, preset = uploads.get(request.path_params["slot"]), request.query_params.get("preset")
        picture, facts = await run_in_threadpool(uploads.view, slot, preset)
        return _image(picture) if request.url.path.endswith(".png") else JSONResponse(facts)

    async def sound(request: Request) -> Response:
        slot = uploads.get(request.path_params["slot"])
        return _sound(slot.folder / slot.main)

    return [
        Route("/api/slots", opened, methods=["POST"]),
        Route("/api/slots/{slot}", one, methods=["GET", "PUT", "DELETE"]),
        Route("/api/slots/{slot}/look", look, methods=["POST"]),
        Route("/api/slots/{slot}/view.png", view, methods=["GET"]),
        Route("/api/slots/{slot}/view.json", view, methods=["GET"]),
        Route("/api/slots/{slot}/sound", sound, methods=["GET"]),
    ]


def _job_routes(uploads: Uploads, jobs: Jobs) -> list[BaseRoute]:
    async def several(request: Request) -> Response:
        if request.method != "POST":
            return JSONResponse({"jobs": await run_in_threadpool(jobs.seen)})
        job = await run_in_threadpool(_ordered, uploads, jobs, await _words(request))
        return JSONResponse(job.seen(), 201)

    async def remove(request: Request) -> Response:
        await run_in_threadpool(jobs.remove, request.path_params["job"])
        return Response(status_code=204)

    def told(do: Callable[[str], None]) -> Answer:
        async def answer(request: Request) -> Response:
            await run_in_threadpool(do, request.path_params["job"])
            return JSONResponse(jobs.get(request.path_params["job"]).seen())

        return answer

    async def stop(request: Request) -> Response:
        job, at_once = request.path_params["job"], request.query_params.get("at_once") == "1"
        await run_in_threadpool(jobs.stop, job, at_once=at_once)
        return JSONResponse(jobs.get(job).seen())

    async def view(request: Request) -> Response:
        job, which = jobs.get(request.path_params["job"]), request.path_params["which"]
        if which not in ("content", "style", "result"):
            raise RefusedError("there is no such picture", 404)
        return _image(job.view_folder / f"{which}.png")

    async def file(request: Request) -> Response:
        path = _file_of(jobs.get(request.path_params["job"]), request.path_params["which"])
        return FileResponse(path, media_type="application/octet-stream", filename=path.name)

    async def sound(request: Request) -> Response:
        job, which = jobs.get(request.path_params["job"]), request.path_params["which"]
        inputs = {"content": job.order.content, "style": job.order.style}
        return _sound(job.order.folder / inputs[which] if which in inputs else _file_of(job, which))

    return [
        Route("/api/jobs", several, methods=["GET", "POST"]),
        Route("/api/jobs/{job}", remove, methods=["DELETE"]),
        Route("/api/jobs/{job}/stop", stop, methods=["POST"]),
        Route("/api/jobs/{job}/keep", told(jobs.keep), methods=["POST"]),
        Route("/api/jobs/{job}/view/{which}", view, methods=["GET"]),
        Route("/api/jobs/{job}/files/{which}", file, methods=["GET"]),
        Route("/api/jobs/{job}/sound/{which}", sound, methods=["GET"]),
    ]


def _ordered(uploads: Uploads, jobs: Jobs, wanted: Any) -> AppJob:
    """A job as the page wants it, queued."""
    content, style, preset, settings = check_request(wanted)
    slots = {"content": uploads.get(content), "style": uploads.get(style)}
    name, folder = jobs.fresh()
    try:
        job = _laid(uploads, name, folder, slots, preset, settings, jobs.at_once)
        jobs.submit(job)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return job


def _laid(
    uploads: Uploads,
    name: str,
    folder: Path,
    slots: Mapping[str, Slot],
    preset: str,
    settings: Mapping[str, Any],
    at_once: int,
) -> AppJob:
    """A job with its files and the pictures of its inputs in its folder."""
    order = make_order(folder / "files", slots["content"], slots["style"], preset, settings, at_once)
    window: Window | None = CT_WINDOW if preset == "ct" else None
    (folder / "views").mkdir()
    for what, slot in slots.items():
        try:
            picture, facts = uploads.view(slot, preset)
        except Exception:  # too large to be shown, or memory is short: the job does not need it
            continue
        for suffix in (".png", ".json"):
            (folder / "views" / f"{what}{suffix}").write_bytes(picture.with_suffix(suffix).read_bytes())
        if what == "content" and "window" in facts and window is None:
            window = (facts["window"][0], facts["window"][1])
    return AppJob(name, folder, order, window)


async def _received(uploads: Uploads, slot: Slot, request: Request) -> None:
    """The body of a request, into the slot as a file, piece by piece."""
    said = request.headers.get("content-length")
    try:
        with uploads.receiving(slot, request.query_params.get("name", ""), said) as receiver:
            async for piece in request.stream():
                receiver.take(piece)
    except ClientDisconnect:
        raise RefusedError("the upload broke off") from None


async def _words(request: Request) -> Any:
    """The JSON of a request. Raises RefusedError."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise RefusedError("a request in JSON is wanted", 415)
    text = bytearray()
    async for piece in request.stream():
        text += piece
        if len(text) > MOST_WORDS:
            raise RefusedError(f"the request has more than the {MOST_WORDS} bytes that are allowed", 413)
    try:
        wanted = json.loads(text)
    except (ValueError, RecursionError):
        raise RefusedError("the request is not JSON") from None
    if not isinstance(wanted, dict):
        raise RefusedError("the request is no mapping of keys to values")
    return wanted


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _file_of(job: AppJob, which: str) -> Path:
    files = job.files()
    if which not in files:
        raise RefusedError("there is no such file (yet)", 404)
    return files[which]


def _image(path: Path) -> Response:
    if not path.is_file():
        raise RefusedError("there is no such picture (yet)", 404)
    return FileResponse(path, media_type="image/png")


def _sound(path: Path) -> Response:
    kind = SOUNDS.get(path.suffix.lower())
    if kind is None:
        raise RefusedError("browsers do not play such a file", 404)
    return FileResponse(path, media_type=kind)


async def _said(request: Request, error: Exception) -> Response:
    """What was wrong, in words, for the page to show."""
    del request
    status = error.status if isinstance(error, RefusedError) else 400
    return JSONResponse({"error": str(error)[:1000]}, status)


async def _plain(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _broken(request: Request, error: Exception) -> Response:
    del request
    return JSONResponse({"error": f"the machine could not do it: {getattr(error, 'strerror', None) or error}"}, 507)
