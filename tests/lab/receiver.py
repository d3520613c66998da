"""A subscriber to the webhooks of both services: it keeps every call that it got, and whether it said yes."""

import asyncio
import hashlib
import time
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.support.listener import Listener


@dataclass
class Call:
    """`subscriber` is the path that it was sent to; `subject` the `data.id` of the event."""

    subscriber: str
    webhook_id: str
    digest: str
    event: str
    subject: str
    state: str
    at: float
    answered: bool = False


@dataclass
class Receiver:
    """`fails`: "500", "hang_up" or nothing."""

    fails: str | None = None
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listener = Listener(self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await self._answer(reader, writer):
            pass

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        call = self._keep(request.split()[1].strip("/"), headers["webhook-id"], body)
        if self.fails == "hang_up":
            return False
        status = 500 if self.fails else 204
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        call.answered = status == 204
        return True

    def _keep(self, path: str, webhook_id: str, body: bytes) -> Call:
        event: dict[str, Any] = orjson.loads(body)
        data = event["data"]
        digest = hashlib.sha256(body).hexdigest()
        call = Call(path, webhook_id, digest, event["type"], data["id"], data.get("state", ""), time.time())
        self.calls.append(call)
        return call
