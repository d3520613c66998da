"""Refuses bodies over a limit with a 413 problem, before they are read.

FastAPI's own `max_body_size` always answers `text/plain`, which breaks the contract. Few large bodies are in memory at
once; the clients of the others wait. A body is read only once its key is known, so a stranger cannot take a turn.
"""

import asyncio
from collections.abc import Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..contract.problems import PayloadTooLarge
from .responses import problem_response

# A client that sends nothing for this long may be gone, and others wait for its turn.
_SILENCE_SECONDS = 20.0


class BodyLimit:
    """ASGI middleware. `limit_of(path)` is the maximum body of a request in bytes; None: the call checks it itself.

    Bodies of the paths in `larger` may be larger, up to this size, so many `at_once`; the call checks what is in them.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limit_of: Callable[[str], int | None],
        larger: Mapping[str, int] | None = None,
        at_once: int = 2,
    ) -> None:
        self._app = app
        self._limit_of = limit_of
        self._larger = larger or {}
        self._turns = asyncio.Semaphore(at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._limit_of(scope["path"]) if scope["type"] == "http" else None
        if limit is None:
            await self._app(scope, receive, send)
            return
        most = self._larger.get(scope["path"], limit)
        declared = _declared_length(scope)
        if declared is not None and declared > most:
            # Close the connection: the rest of the body would follow on it.
            refusal = PayloadTooLarge(_detail(most), headers={"Connection": "close"})
            await problem_response(refusal)(scope, receive, send)
        elif declared is not None and declared <= limit:
            await self._app(scope, receive, send)
        else:
            body = _Body(receive, self._turns, limit, most, is_large=declared is not None)
            try:
                await self._app(scope, body.receive, send)
            finally:
                body.end()


class _Body:
    """Counts a body, and holds a turn from when it is known to be larger than `limit` until the request has ended."""

    def __init__(self, receive: Receive, turns: asyncio.Semaphore, limit: int, most: int, *, is_large: bool) -> None:
        self._receive = receive
        self._turns = turns
        self._limit = limit
        self._most = most
        self._is_large = is_large
        self._has_turn = self._is_complete = False
        self._received = 0

    async def receive(self) -> Message:
        if self._is_large and not self._has_turn:
            await self._turns.acquire()
            self._has_turn = True
        message = await self._next()
        self._received += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        if self._received > self._most:
            # FastAPI reports any other exception here as a body that cannot be parsed.
            raise HTTPException(413, _detail(self._most))
        self._is_large = self._is_large or self._received > self._limit
        return message

    async def _next(self) -> Message:
        if not self._has_turn or self._is_complete:
            return await self._receive()
        try:
            return await asyncio.wait_for(self._receive(), _SILENCE_SECONDS)
        except TimeoutError:
            detail = f"Nothing more of the body has arrived for {_SILENCE_SECONDS:g} seconds."
            raise HTTPException(400, detail, {"Connection": "close"}) from None

    def end(self) -> None:
        if self._has_turn:
            self._turns.release()


def _declared_length(scope: Scope) -> int | None:
    """Bytes announced by Content-Length, 0 without a body, None for a chunked one. The server enforces it."""
    length: int | None = 0
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            length = int(value)
    return length


def _detail(limit: int) -> str:
    return f"The body of this call may be at most {limit} bytes."
