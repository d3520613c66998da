"""A TCP proxy between two neighbours, which can cut, delay, swallow, and lose answers only."""

import asyncio
import contextlib
import enum
from collections.abc import Callable

from tests.support.listener import Listener

_CHUNK = 65_536
_DELAY_SECONDS = 0.2
_POLL_SECONDS = 0.1
Address = tuple[str, int]


class Trouble(enum.Enum):
    REFUSE = "resets every connection"
    DELAY = "delays every chunk"
    SWALLOW = "keeps connections open and passes nothing on"
    LOSE_ANSWERS = "passes requests on and loses the answers"


class Proxy:
    """Listens on `port` of loopback. `target` is asked for each connection: it may not be known at the start."""

    def __init__(self, port: int, target: Callable[[], Address]) -> None:
        self.port = port
        self.trouble: Trouble | None = None
        self._target = target
        self._listener = Listener(self._serve)
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        await self._listener.open(self.port)

    async def close(self) -> None:
        await self._listener.close()

    async def cut(self) -> None:
        """Reset every connection."""
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self.trouble is Trouble.REFUSE:
                writer.transport.abort()
            else:
                await self._connect(reader, writer)
        finally:  # also when the target does not listen: so it looks from here, too
            self._writers.discard(writer)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._target())
        self._writers.add(there_writer)
        pipes = [
            asyncio.ensure_future(self._pipe(reader, there_writer, answers=False)),
            asyncio.ensure_future(self._pipe(there_reader, writer, answers=True)),
        ]
        try:
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pipe in pipes:
                pipe.cancel()
            await asyncio.gather(*pipes, return_exceptions=True)
            self._writers.discard(there_writer)
            there_writer.close()

    async def _pipe(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answers: bool) -> None:
        """Until `source` ends or is lost: then both sides are closed."""
        with contextlib.suppress(OSError):
            while chunk := await source.read(_CHUNK):
                if self.trouble is Trouble.DELAY:
                    await asyncio.sleep(_DELAY_SECONDS)
                if self._loses(answers=answers):
                    continue
                target.write(chunk)
                await target.drain()
        while self.trouble is Trouble.SWALLOW:  # noqa: ASYNC110 - nor does the end get through; the main thread ends it
            await asyncio.sleep(_POLL_SECONDS)

    def _loses(self, *, answers: bool) -> bool:
        return self.trouble is Trouble.SWALLOW or (answers and self.trouble is Trouble.LOSE_ANSWERS)
