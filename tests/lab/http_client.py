"""A small HTTP client with a connection for each request: thousands of tries during an outage cost the lab little."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson


class NoAnswerError(Exception):
    """The connection failed, or ended before the whole answer had come."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        return orjson.loads(self.body)


class Client:
    """Requests to one service, with a key or without."""

    def __init__(self, url: str, key: str | None = None, *, seconds: float = 10.0) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._seconds = seconds

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        return await self._ask("GET", path, params or {}, {}, b"")

    async def post(
        self,
        path: str,
        *,
        json: Any = None,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """Raises NoAnswerError."""
        typed = {"Content-Type": "application/json"} if json is not None else {}
        body = orjson.dumps(json) if json is not None else content
        return await self._ask("POST", path, params or {}, typed | dict(headers or {}), body)

    async def _ask(
        self, method: str, path: str, params: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Answer:
        target = f"{path}?{urlencode(params)}" if params else path
        sent = {
            "Host": f"{self._host}:{self._port}",
            "Connection": "close",
            "Content-Length": str(len(body)),
            **self._headers,
            **headers,
        }
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        try:
            async with asyncio.timeout(self._seconds):
                received = await self._exchange("\r\n".join(lines).encode() + body)
        except TimeoutError:
            raise NoAnswerError(f"no answer within {self._seconds:g} s") from None
        except OSError as error:
            raise NoAnswerError(type(error).__name__) from error
        return _read(received)

    async def _exchange(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(request)
            await writer.drain()
            return await reader.read(-1)
        finally:
            writer.transport.abort()


def _read(received: bytes) -> Answer:
    head, end, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if not end or len(body) < int(headers.get("content-length", 0)):
        raise NoAnswerError("the connection ended before the answer")
    return Answer(int(lines[0].split()[1]), body)
