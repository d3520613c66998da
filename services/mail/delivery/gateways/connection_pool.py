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
        self._in_use: set[SmtpConnection] = set()
        # A gateway lets a connection in when it accepts its first MAIL.
        self._opening = 0
        self._on_trial: set[SmtpConnection] = set()
        self._settled = asyncio.Event()
        self._quitting: set[asyncio.Task[None]] = set()

    @property
    def open_count(self) -> int:
        """Connections that were let in and are not known to have ended."""
        return len(self._in_use) - len(self._on_trial) + sum(connection.is_open for connection in self._idle)

    async def settled_count(self) -> int:
        """`open_count`, once those that are being opened have been let in or turned away."""
        while self._opening or self._on_trial:
            self._settled.clear()
            await self._settled.wait()
        return self.open_count

    async def acquire(self, *, fresh: bool = False) -> SmtpConnection:
        """A ready connection. One that died while idle is replaced: that is not a gateway fault.

        Raises:
            ConversationEnded: a new one cannot be opened.
        """
        while self._idle and not fresh:
            connection = self._idle.pop()  # the most recently used, so that the others idle and are closed
            self._in_use.add(connection)
            if await self._is_ready(connection):
                return connection
        return await self._open_one()

    async def _is_ready(self, connection: SmtpConnection) -> bool:
        is_ready = False
        try:
            is_ready = await connection.is_ready(idle_seconds=_PROBE_AFTER_IDLE_SECONDS)
        finally:
            if not is_ready:
                self._in_use.discard(connection)
        return is_ready

    async def _open_one(self) -> SmtpConnection:
        self._opening += 1
        try:
            # The gateway counts a connection until it has read its QUIT.
            if self._quitting:
                await asyncio.wait(self._quitting)
            connection = await self._open()
            connection.on_let_in = self._end_trial
            self._in_use.add(connection)
            self._on_trial.add(connection)
        finally:
            self._opening -= 1
            self._settled.set()
        return connection

    def _end_trial(self, connection: SmtpConnection) -> None:
        self._on_trial.discard(connection)
        self._settled.set()

    def give_back(self, connection: SmtpConnection) -> None:
        self._end_trial(connection)
        self._in_use.discard(connection)
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
