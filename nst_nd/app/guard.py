"""Who may speak to the app: pages that it served itself, at an address that only whoever started it knows.

Every path begins with a random token, so that neither other users of this machine nor other pages in the browser get
in. The Host header must name this machine, so that no foreign name can be made to point here (DNS rebinding), and the
Origin, where there is one, must be the page's own.
"""

from __future__ import annotations

import hmac
import re
import secrets
import threading
import time

from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HERE = re.compile(rb"(?:127\.0\.0\.1|localhost)(?::(\d{1,5}))?", re.IGNORECASE)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
# seconds that a browser has to start
VALID_S = 120.0
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")


class Tickets:
    """Ways to the page that work once, and soon: for the browser that is started, whose command line others can see."""

    def __init__(self) -> None:
        self.valid: dict[str, float] = {}
        self.lock = threading.Lock()

    def issue(self) -> str:
        """A fresh one."""
        ticket = secrets.token_urlsafe(24)
        with self.lock:
            self.valid[ticket] = time.monotonic()
        return ticket

    def take(self, ticket: str) -> bool:
        """Whether it is good; it is not any more."""
        with self.lock:
            issued = self.valid.pop(ticket, None)
        return issued is not None and time.monotonic() - issued < VALID_S


class Guard:
    """Around an ASGI application: see the module. What it lets through has HEADERS on the way back."""

    def __init__(self, app: ASGIApp, token: str, tickets: Tickets) -> None:
        self.app, self.token, self.tickets = app, token, tickets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served")  # the server is told to speak nothing else

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *told]}
            await send(message)

        answer = self._answer(scope)
        await (self.app if answer is None else answer)(scope, receive, guarded)

    def _answer(self, scope: Scope) -> Response | None:
        """A refusal, or where else to go; None: let it through."""
        if scope["method"] not in METHODS:
            return _no(f"{scope['method'][:20]} is not done here", 405)
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        hosts = headers.get(b"host", [])
        if len(hosts) != 1 or not _is_here(hosts[0]):
            return _no("this address is for 127.0.0.1 and localhost alone", 403)
        origins = headers.get(b"origin", [])
        if any(origin != b"http://" + hosts[0] for origin in origins):
            return _no("requests from other pages are refused", 403)
        first, _, rest = scope["path"].removeprefix("/").partition("/")
        if first == "open" and scope["method"] == "GET" and self.tickets.take(rest):
            return RedirectResponse(f"/{self.token}/", 303)
        if not hmac.compare_digest(first.encode(errors="replace"), self.token.encode()):
            return _no("open the address that `nst-nd app` printed, with its token", 403)
        return None


def _is_here(host: bytes) -> bool:
    """Whether it names this machine; any port, since people forward them."""
    found = _HERE.fullmatch(host)
    return found is not None and int(found[1] or 0) < 2**16


def _no(why: str, status: int) -> Response:
    return PlainTextResponse(f"{why}\n", status)
