"""Signup's database as the console reads it: a small pool of its own, read-only, every statement with a time limit.

It is opened by the first page and closed when no page was shown for a while, so that a console at which no operator
looks costs nothing. Actions do not go through it: use cases commit through the API's own pool.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from shared.db.pool import (
    UNAVAILABLE,
    Connection,
    Database,
    DatabaseOptions,
    ServicePool,
    connect,
    load_engine,
    open_database,
)

if TYPE_CHECKING:
    import sqlalchemy as sa
    from asyncpg.pool import PoolAcquireContext
    from sqlalchemy.ext.asyncio import AsyncEngine

POOL_SIZE = 2
# The server ends a statement after the first, the driver gives up on a server that does not after the second.
STATEMENT_SECONDS, ANSWER_SECONDS = 2.0, 4.0
IDLE_SECONDS = 120.0
# `SET LOCAL` ends with the transaction: behind a pooler the session is not ours alone.
_LIMIT = f"SET LOCAL statement_timeout = {STATEMENT_SECONDS * 1000:.0f}"


class _Reading:
    """A connection for one read-only transaction, which is rolled back at the end."""

    def __init__(self, acquired: "PoolAcquireContext") -> None:
        self._acquired = acquired
        self._connection: Connection | None = None

    async def __aenter__(self) -> Connection:
        connection: Connection = await self._acquired.__aenter__()
        try:
            await connection.execute(f"BEGIN READ ONLY; {_LIMIT}")
        except BaseException as error:
            await self._acquired.__aexit__(type(error), error, error.__traceback__)
            raise
        self._connection = connection
        return connection

    async def __aexit__(self, *exc: object) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*UNAVAILABLE):  # a broken connection is dropped below
                await connection.execute("ROLLBACK")
        await self._acquired.__aexit__(*exc)


class _ReadingPool(ServicePool):
    def acquire(self, *, timeout: float | None = None) -> Any:
        return _Reading(super().acquire(timeout=timeout))


class ReadingDatabase(Database):
    """As `Database`, in read-only transactions. Lists wait for each other: at most POOL_SIZE at once."""

    def __init__(self, pool: ServicePool, options: DatabaseOptions) -> None:
        super().__init__(pool, lambda: connect(options))
        self._lists = asyncio.Semaphore(POOL_SIZE)

    async def fetch_all(self, query: "sa.Select[tuple[object, ...]]") -> "Sequence[sa.RowMapping]":
        await load_engine()
        from shared.db.engine import fetch_all  # noqa: PLC0415 - SQLAlchemy takes 20 MB: only when a list is read

        async with self._lists:
            return await fetch_all(self._reading_engine, query)

    @cached_property
    def _reading_engine(self) -> "AsyncEngine":
        from sqlalchemy import event  # noqa: PLC0415 - as above

        engine = self.engine.execution_options(isolation_level="READ COMMITTED", postgresql_readonly=True)
        event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql(_LIMIT))
        return engine


class IdleDatabase:
    """The console's database: `open()` for each page; it closes itself."""

    def __init__(self, url: str, *, statement_cache_size: int, idle_seconds: float = IDLE_SECONDS) -> None:
        self._options = DatabaseOptions(
            url,
            "signup-console",
            pool_size=POOL_SIZE,
            statement_cache_size=statement_cache_size,
            statement_timeout_seconds=ANSWER_SECONDS,
        )
        self._idle_seconds = idle_seconds
        self._database: ReadingDatabase | None = None
        self._opening = asyncio.Lock()
        self._closing: asyncio.TimerHandle | None = None
        self._closed = set[asyncio.Task[None]]()

    @property
    def is_open(self) -> bool:
        return self._database is not None

    async def open(self) -> ReadingDatabase:
        """The database, for the page that is asked for now."""
        if self._closing is not None:
            self._closing.cancel()
        self._closing = asyncio.get_running_loop().call_later(self._idle_seconds, self._close_soon)
        async with self._opening:
            if self._database is None:
                made = await open_database(self._options, _ReadingPool)
                self._database = ReadingDatabase(made.pool, self._options)
            return self._database

    async def close(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
        database, self._database = self._database, None
        if database is not None:
            await database.close()

    def _close_soon(self) -> None:
        task = asyncio.get_running_loop().create_task(self.close())
        self._closed.add(task)
        task.add_done_callback(self._closed.discard)
