"""A proxy that loses answers: the server behind it has done its work, and the caller hears nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.support.listener import listening


class LossyProxy:
    """Counts answers, loses every third one, and tells `on_answer` their number."""

    def __init__(self, port: int, on_answer: Callable[[int], None]) -> None:
        self._port = port
        self._on_answer = on_answer
        self.url = ""
        self.answers = 0
        self.lost = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["LossyProxy"]:
        async with listening(self._serve) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        with contextlib.closing(server_writer):
            while True:
                server_writer.write(await _message(reader))
                answer = await _message(server_reader)
                self.answers += 1
                self._on_answer(self.answers)
                if self.answers % 3 == 0:
                    self.lost += 1
                    return
                writer.write(answer)
                await writer.drain()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """A whole request or answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return head + await reader.readexactly(int(length or b"0"))
