"""Connections to one gateway, kept and reused. How many are used at once is the caller's to bound."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from .smtp_connection import SmtpConnection

# Gateways close what is idle for minutes; asking first after this long avoids most surprises.
_ASK_AFTER_IDLE_SECONDS = 30.0
_CLOSE_AFTER_IDLE_SECONDS = 60.0
# Many gateways turn a connection away after a hundred or a few hundred mails.
_TRANSACTIONS_PER_CONNECTION = 100


class ConnectionPool:
    def __init__(self, open_one: Callable[[], Awaitable[SmtpConnection]]) -> None:
        self._open_one = open_one
        self._idle: list[SmtpConnection] = []
        self._quitting: set[asyncio.Task[None]] = set()

    async def acquire(self, *, fresh: bool = False) -> SmtpConnection:
        """A connection that is ready. One that died while idle is replaced: that is no fault of anybody.

        Raises:
            ConversationEnded: a new one cannot be opened.
        """
        while self._idle and not fresh:
            connection = self._idle.pop()  # the most recently used: the others may go cold and be closed
            if await connection.is_ready(idle_seconds=_ASK_AFTER_IDLE_SECONDS):
                return connection
        return await self._open_one()

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
        """Close what nobody has needed for a while."""
        limit = time.monotonic() - _CLOSE_AFTER_IDLE_SECONDS
        cold = [connection for connection in self._idle if connection.idle_since < limit or not connection.is_open]
        self._idle = [connection for connection in self._idle if connection not in cold]
        for connection in cold:
            self._quit_connection(connection)
        await asyncio.sleep(0)

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            self._quit_connection(connection)
        await asyncio.gather(*self._quitting)
