"""A fake webhook subscriber with scripted answers. It speaks raw HTTP, so it can also hang."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from .listener import listening


@dataclass(frozen=True)
class Received:
    headers: dict[str, str]
    body: bytes


@dataclass
class SubscriberStandIn:
    """`answer_with` is a status, "hang", "hang_up" or "flood" (an endless body)."""

    url: str = ""
    answer_with: int | str = 204
    secret: str = ""
    received: list[Received] = field(default_factory=list)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)
    _arrival: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        while await self._answer_one(reader, writer):
            pass

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = [line.partition(":") for line in head.split("\r\n")[1:] if line]
        headers = {name.lower(): value.strip() for name, _, value in lines}
        self.received.append(Received(headers, await reader.readexactly(int(headers["content-length"]))))
        self._arrival.set()
        if self.answer_with == "hang":
            await reader.read()
            return False
        if self.answer_with == "hang_up":
            return False
        if self.answer_with == "flood":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            while not writer.is_closing():
                writer.write(b"x" * 65_536)
                await writer.drain()
            return False
        location = f"Location: {self.url}/elsewhere\r\n" if self.answer_with == 307 else ""
        writer.write(f"HTTP/1.1 {self.answer_with} X\r\n{location}Content-Length: 0\r\n\r\n".encode())
        await writer.drain()
        return True

    def events(self) -> list[dict[str, Any]]:
        """The bodies received, in their order."""
        return [orjson.loads(received.body) for received in self.received]

    def ids(self) -> list[str]:
        """The webhook IDs received, in their order."""
        return [received.headers["webhook-id"] for received in self.received]

    async def until(self, count: int) -> None:
        """Waits for calls that other tasks make."""
        while len(self.received) < count:
            self._arrival.clear()
            await self._arrival.wait()

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def subscriber_stand_in(port: int = 0) -> AsyncIterator[SubscriberStandIn]:
    stand_in = SubscriberStandIn()
    async with listening(stand_in.serve, port=port) as open_port:
        stand_in.url = f"http://127.0.0.1:{open_port}/hook"
        yield stand_in
