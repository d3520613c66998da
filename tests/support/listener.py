"""A server on loopback whose end is the end of all its connections, also of those that were just coming in.

asyncio's own server forgets its connections when it closes: the garbage collector finds a socket that is left open
later, in the middle of some other test.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

# An accepted socket is handed over within so many turns of the loop (asyncio's `_accept_connection2`).
_TURNS_UNTIL_HANDED_OVER = 5


class Listener:
    """`serve` handles one connection; a connection that breaks ends it silently. The writer is closed after it."""

    def __init__(self, serve: Serve, *, limit: int = 1 << 16, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._serve = serve
        self._limit = limit
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def open(self, port: int = 0) -> None:
        """Port 0 picks a free one."""
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", port, limit=self._limit, ssl=self._tls, backlog=512
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._handle(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, EOFError):
                await self._serve(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def close(self) -> None:
        """Refuse new connections and cut the others. What they have sent and nobody has read is lost."""
        if self._server is not None:
            # A server that is closed drops what it has accepted and not yet handed over, and leaves its socket open.
            for accepting in self._server.sockets:
                asyncio.get_running_loop().remove_reader(accepting.fileno())
            for _ in range(_TURNS_UNTIL_HANDED_OVER):
                await asyncio.sleep(0)
            self._server.close()
            self._server = None
        connections = dict(self._connections)
        for task, writer in connections.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        for writer in connections.values():
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def listening(
    serve: Serve, *, port: int = 0, limit: int = 1 << 16, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """The port of a listener that is open for the length of the block."""
    listener = Listener(serve, limit=limit, tls=tls)
    await listener.open(port)
    try:
        yield listener.port
    finally:
        await listener.close()
