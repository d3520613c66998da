"""Bodies past a limit are refused with a 413 problem before they are read.

FastAPI's own `max_body_size` answers `text/plain` whatever handlers say, so it cannot keep the contract.
"""

from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..contract.problems import PayloadTooLarge


class BodyLimit:
    """ASGI middleware. `limit_of(path)` is the most bytes that a request to `path` may send; None: it looks itself."""

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
            # The connection is not kept: whatever follows on it is the rest of that body.
            refusal = PayloadTooLarge(_sentence(limit), headers={"Connection": "close"})
            await refusal.response()(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _declared_length(scope: Scope) -> int | None:
    """Bytes announced by Content-Length, 0 without a body, None for a chunked one. The server holds bodies to it."""
    length: int | None = 0
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            length = int(value)
    return length


def _counted(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def receive_counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            # FastAPI takes any other exception here for a body that cannot be parsed.
            raise HTTPException(413, _sentence(limit))
        return message

    return receive_counted


def _sentence(limit: int) -> str:
    return f"This call takes at most {limit} bytes."
