"""Connections to one gateway, kept and reused. The caller limits how many are used at once."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from .smtp_connection import SmtpConnection

# Gateways close connections that idle for minutes; a NOOP after this long finds most of these.
_PROBE_AFTER_IDLE_SECONDS = 30.0
_CLOSE_AFTER_IDLE_SECONDS = 60.0
# Many gateways turn a connection away after a hundred or a few hundred mails.
_TRANSACTIONS_PER_CONNECTION = 100


class ConnectionPool:
    def __init__(self, open_connection: Callable[[], Awaitable[SmtpConnection]]) -> None:
        self._open = open_connection
        self._idle: list[SmtpConnection] = []
        self._quitting: set[asyncio.Task[None]] = set()

    async def acquire(self, *, fresh: bool = False) -> SmtpConnection:
        """A ready connection. One that died while idle is replaced: that is not a gateway fault.

        Raises:
            ConversationEnded: a new one cannot be opened.
        """
        while self._idle and not fresh:
            connection = self._idle.pop()  # the most recently used, so that the others idle and are closed
            if await connection.is_ready(idle_seconds=_PROBE_AFTER_IDLE_SECONDS):
                return connection
        return await self._open()

    def give_back(self, connection: SmtpConnection) -> None:
        if not connection.is_open:
            return
        connection.idle_since = time.monotonic()
        if connection.transactions >= _TRANSACTIONS_PER_CONNECTION:
            self._quit_connection(connection)
        else:
            self._idle.append(connection)

    def _quit_connection(self, connection: SmtpConnection) -> None:
        task = asyncio.get_running_loop().create_task(connection.quit())
        self._quitting.add(task)
        task.add_done_callback(self._quitting.discard)

    async def close_idle(self) -> None:
        """Close connections that have been idle for a while."""
        limit = time.monotonic() - _CLOSE_AFTER_IDLE_SECONDS
        expired = [connection for connection in self._idle if connection.idle_since < limit or not connection.is_open]
        self._idle = [connection for connection in self._idle if connection not in expired]
        for connection in expired:
            self._quit_connection(connection)
        await asyncio.sleep(0)

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            self._quit_connection(connection)
        await asyncio.gather(*self._quitting)
