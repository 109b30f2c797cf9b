"""What the server says no to."""

from __future__ import annotations

from nst_nd.errors import InputError


class RefusedError(InputError):
    """A request that is not done. status: the HTTP status that says so."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
