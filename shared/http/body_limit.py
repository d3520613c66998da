"""Refuses bodies over a limit with a 413 problem, before they are read.

FastAPI's own `max_body_size` always answers `text/plain`, which breaks the contract.
"""

from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..contract.problems import PayloadTooLarge
from .responses import problem_response


class BodyLimit:
    """ASGI middleware. `limit_of(path)` is the maximum body of a request in bytes; None: the call checks it itself."""

    def __init__(self, app: ASGIApp, *, limit_of: Callable[[str], int | None]) -> None:
        self._app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._limit_of(scope["path"]) if scope["type"] == "http" else None
        if limit is None:
            await self._app(scope, receive, send)
            return
        declared = _declared_length(scope)
        if declared is None:
            await self._app(scope, _counted(receive, limit), send)
        elif declared > limit:
            # Close the connection: the rest of the body would follow on it.
            refusal = PayloadTooLarge(_detail(limit), headers={"Connection": "close"})
            await problem_response(refusal)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _declared_length(scope: Scope) -> int | None:
    """Bytes announced by Content-Length, 0 without a body, None for a chunked one. The server enforces it."""
    length: int | None = 0
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            length = int(value)
    return length


def _counted(receive: Receive, limit: int) -> Receive:
    received = 0

    async def receive_counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            # FastAPI reports any other exception here as a body that cannot be parsed.
            raise HTTPException(413, _detail(limit))
        return message

    return receive_counted


def _detail(limit: int) -> str:
    return f"The body of this call may be at most {limit} bytes."
