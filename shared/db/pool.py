"""Access to a service's own PostgreSQL: an asyncpg pool for fixed statements, a SQLAlchemy engine for lists.

Fixed statements are SQL in a `queries.py` and go straight through asyncpg (DESIGN decision 6 has the numbers). Queries
whose WHERE depends on the caller are built with SQLAlchemy Core. Both connect when first used, so a process starts
while its database is down, and reports why it is not ready.
"""

import asyncio
import contextlib
import gc
import importlib
import math
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolAcquireContext, PoolConnectionProxy

from .outages import UNAVAILABLE, drops_connection, is_read_only, refuses_writes
from .servers import Servers

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = [
    "UNAVAILABLE", "Connection", "Database", "DatabaseOptions", "Pool", "Record", "ServicePool", "connect",
    "load_engine", "open_database",
]  # fmt: skip

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Record: TypeAlias = asyncpg.Record

# A server that is well acknowledges a cancel request in milliseconds.
_CANCEL_SECONDS = 1.0
# Left to itself, PostgreSQL plans a statement anew at each execution while one plan for all arguments looks dearer than
# the plans before it: as long as tables grow, or seem to grow because a snapshot is held.
_ONE_PLAN = "; SET plan_cache_mode = force_generic_plan"
# `/health/ready` says so for this long after a refused write: longer than probes are apart.
_REFUSAL_HOLDS_SECONDS = 5.0


@dataclass(frozen=True)
class DatabaseOptions:
    url: str
    application_name: str
    pool_size: int = 10
    # 0 behind PgBouncer in transaction mode before 1.21, which does not support prepared statements.
    statement_cache_size: int = 500
    # A slower statement is broken; a hung server must not hang its callers.
    statement_timeout_seconds: float = 30.0
    # A worker's statements look at the same few rows whatever their arguments: one plan serves all (ADR 0045).
    one_plan: bool = False
    connect_timeout_seconds: float = 5.0


class _Connection(asyncpg.Connection):
    """Drops itself when a server does not answer a cancel request: the driver waits for as long as for a statement."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.opened_at = time.monotonic()

    def _cancel_current_command(self, waiter: "asyncio.Future[None]", acknowledged: Any = None) -> None:
        super()._cancel_current_command(waiter, acknowledged)  # type: ignore[misc] # not in the stubs
        asyncio.get_running_loop().call_later(_CANCEL_SECONDS, self._drop_unless, acknowledged)

    def _drop_unless(self, acknowledged: Any) -> None:
        if acknowledged is not None and not acknowledged.done() and not self.is_closed():
            self.terminate()


class _Acquired(PoolAcquireContext):
    """Drops a connection on which an outage was seen, so that no later caller meets it."""

    pool: "ServicePool"

    async def __aenter__(self) -> "PoolConnectionProxy[asyncpg.Record]":
        while True:
            connection = await super().__aenter__()
            if self.pool.trusts(connection):
                return connection
            # The next connection may lead to another server.
            connection.terminate()
            self.connection = None
            await self.pool.release(connection)

    async def __aexit__(self, *exc: object) -> None:
        error = exc[1] if exc else None
        if isinstance(error, BaseException):
            self.pool.note(error)
            if drops_connection(error) and self.connection is not None:
                # The driver takes a connection out of the pool by itself when the server ended it first.
                with contextlib.suppress(asyncpg.InterfaceError):
                    self.connection.terminate()
        await super().__aexit__(*exc)


class ServicePool(asyncpg.Pool):
    """asyncpg's pool. A connection on which an outage was seen never returns to it."""

    _refused_at = -math.inf
    _unanswered_at = -math.inf

    def acquire(self, *, timeout: float | None = None) -> Any:
        return _Acquired(self, timeout)

    def note(self, error: BaseException) -> None:
        if refuses_writes(error):
            self._refused_at = time.monotonic()
        # Only of an outage: an ordinary error may come after a time that ran out elsewhere.
        if drops_connection(error) and any(isinstance(each, TimeoutError) for each in _with_what_came_before(error)):
            self._unanswered_at = time.monotonic()

    def trusts(self, connection: Any) -> bool:
        """Not when its server reports that it became read-only, nor when a statement has met silence since it was
        opened: if that machine is gone, each of its connections would cost a caller as long.
        """
        return not is_read_only(connection) and connection.opened_at > self._unanswered_at

    @property
    def refuses_writes(self) -> bool:
        """Whether the server refused a write in the last seconds: it is read-only, or its disk is full."""
        return time.monotonic() - self._refused_at < _REFUSAL_HOLDS_SECONDS


def _with_what_came_before(error: BaseException | None) -> Iterator[BaseException]:
    """The rollback after a statement that met silence fails, too, and hides it."""
    while error is not None:
        yield error
        error = error.__context__


class Database:
    """`connect` opens one connection, for the engine."""

    def __init__(self, pool: ServicePool, connect: "Callable[[], Awaitable[Any]]") -> None:
        self.pool = pool
        self._connect = connect

    @cached_property
    def engine(self) -> "AsyncEngine":
        """Made on first use, because SQLAlchemy takes 20 MB."""
        from .engine import open_engine  # noqa: PLC0415 - as above

        engine = open_engine(self._connect)
        gc.freeze()  # collections must not scan what was just imported: see `process.garbage`
        return engine

    async def fetch_all(self, query: "sa.Select[tuple[object, ...]]") -> "Sequence[sa.RowMapping]":
        """Rows of one SQLAlchemy Core query, in one round trip. Leaves nothing open.

        Raises the driver's own exceptions, as the pool does.
        """
        from .engine import fetch_all  # noqa: PLC0415 - as above

        return await fetch_all(self.engine, query)

    async def close(self) -> None:
        if "engine" in self.__dict__:
            await self.engine.dispose()
        self.pool.terminate()


async def load_engine() -> None:
    """Import what `Database.engine` needs, on a thread: half a second in which other requests go on."""
    if f"{__package__}.engine" not in sys.modules:
        await asyncio.to_thread(importlib.import_module, f"{__package__}.engine")


async def connect(options: DatabaseOptions, servers: Servers | None = None) -> "asyncpg.Connection[asyncpg.Record]":
    """One connection outside the pool, for LISTEN and for the engine's pool. `servers`: those of `options.url`."""
    return await (servers or Servers(options.url)).connect(
        options.url,
        timeout=options.connect_timeout_seconds,
        command_timeout=options.statement_timeout_seconds,
        statement_cache_size=options.statement_cache_size,
        server_settings={"application_name": options.application_name},
        connection_class=_Connection,
    )


async def open_database(options: DatabaseOptions, pool_class: Callable[..., ServicePool] = ServicePool) -> Database:
    """Pools for one process. Commits nothing and does not connect yet."""

    async def skip_reset(_connection: Connection) -> None:
        # Our statements leave no session state but the settings of `prepare`, which all share, so returning a
        # connection costs no round trip.
        await asyncio.sleep(0)

    async def prepare(connection: Connection) -> None:
        # Every statement of the pool reads by key. A plan made while a table was small, or before it was analyzed,
        # scans it, and prepared statements keep their plans while it grows: up to a minute, at a tenth of the speed.
        await connection.execute("SET enable_seqscan = off" + (_ONE_PLAN if options.one_plan else ""))

    servers = Servers(options.url)
    pool = pool_class(
        options.url,
        connection_class=_Connection,
        record_class=asyncpg.Record,
        init_size=0,
        min_size=0,
        max_size=options.pool_size,
        max_queries=50_000,  # asyncpg's defaults, which its `create_pool` would give
        max_inactive_connection_lifetime=300.0,
        loop=None,
        connect=servers.connect,
        setup=None,
        timeout=options.connect_timeout_seconds,
        command_timeout=options.statement_timeout_seconds,
        statement_cache_size=options.statement_cache_size,
        server_settings={"application_name": options.application_name},
        init=prepare,
        reset=skip_reset,
    )
    await pool
    return Database(pool, lambda: connect(options, servers))
