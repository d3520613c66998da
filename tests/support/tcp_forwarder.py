"""A TCP proxy in front of a server. Closing it looks like a server restart to the clients."""

import asyncio
import contextlib
from urllib.parse import urlsplit, urlunsplit

from local.ports import pick_free

from .listener import Listener


class Forwarder:
    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self.port = pick_free()
        self.accepted = 0
        self._listener = Listener(self._serve)
        self._passing = asyncio.Event()
        self._passing.set()

    @property
    def url(self) -> str:
        """The server's URL through the proxy."""
        parts = self._parts
        return urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{self.port}"))

    async def open(self) -> None:
        await self._listener.open(self.port)

    def swallow(self) -> None:
        """Keep every connection open and let nothing through: half-open, as behind a broken router."""
        self._passing.clear()

    def pass_on(self) -> None:
        self._passing.set()

    async def shut(self) -> None:
        """Cut every connection and refuse new ones."""
        await self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        server_reader, server_writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        try:
            await asyncio.gather(
                _pipe(reader, server_writer, self._passing), _pipe(server_reader, writer, self._passing)
            )
        finally:
            server_writer.transport.abort()


async def _pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter, passing: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(65536):
            await passing.wait()
            target.write(chunk)
            await target.drain()
    target.close()
