"""Access to a service's own PostgreSQL: an asyncpg pool for fixed statements, a SQLAlchemy engine for lists.

Fixed statements are SQL in a `queries.py` and go straight through asyncpg (DESIGN decision 6 has the numbers). Queries
whose WHERE depends on the caller are built with SQLAlchemy Core. Both connect when first used, so a process starts
while its database is down, and reports why it is not ready.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import asyncpg
import orjson
import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Record: TypeAlias = asyncpg.Record

# Errors of a lost, refused or overloaded server. Everything else is a bug and must be loud.
UNAVAILABLE: tuple[type[BaseException], ...] = (
    OSError,  # refused, reset, and TimeoutError
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,  # "connection is closed"
    asyncpg.OperatorInterventionError,  # shutdown, crash, "starting up"
    asyncpg.TooManyConnectionsError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.TimeoutError,
)


@dataclass(frozen=True)
class DatabaseOptions:
    url: str
    application_name: str
    pool_size: int = 10
    # 0 behind PgBouncer in transaction mode before 1.21, which does not support prepared statements.
    statement_cache_size: int = 500
    # A slower statement is broken; a hung server must not hang its callers.
    statement_timeout_seconds: float = 30.0
    connect_timeout_seconds: float = 5.0


@dataclass(frozen=True)
class Database:
    pool: Pool
    engine: AsyncEngine

    async def fetch_all(self, query: sa.Select[tuple[object, ...]]) -> Sequence[sa.RowMapping]:
        """Rows of one SQLAlchemy Core query, in one round trip. Leaves nothing open."""
        async with self.engine.connect() as connection:
            return (await connection.execute(query)).mappings().all()

    async def close(self) -> None:
        await self.engine.dispose()
        self.pool.terminate()


async def connect(options: DatabaseOptions) -> "asyncpg.Connection[asyncpg.Record]":
    """One connection outside the pool, for LISTEN and for the engine's pool."""
    return await asyncpg.connect(
        options.url,
        timeout=options.connect_timeout_seconds,
        command_timeout=options.statement_timeout_seconds,
        statement_cache_size=options.statement_cache_size,
        server_settings={"application_name": options.application_name},
    )


async def open_database(options: DatabaseOptions) -> Database:
    """Pools for one process. Commits nothing and does not connect yet."""

    async def skip_reset(_connection: Connection) -> None:
        # Our statements leave no session state but the setting of `avoid_table_scans`, which all share, so returning a
        # connection costs no round trip.
        await asyncio.sleep(0)

    async def avoid_table_scans(connection: Connection) -> None:
        # Every statement of the pool reads by key. A plan made while a table was small, or before it was analyzed,
        # scans it, and prepared statements keep their plans while it grows: up to a minute, at a tenth of the speed.
        await connection.execute("SET enable_seqscan = off")

    pool = asyncpg.create_pool(
        options.url,
        min_size=0,
        max_size=options.pool_size,
        timeout=options.connect_timeout_seconds,
        command_timeout=options.statement_timeout_seconds,
        statement_cache_size=options.statement_cache_size,
        server_settings={"application_name": options.application_name},
        init=avoid_table_scans,
        reset=skip_reset,
    )
    await pool
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: connect(options),
        isolation_level="AUTOCOMMIT",
        pool_size=5,
        max_overflow=5,
        pool_pre_ping=True,
        # Errors quote the statement; its parameters are people's addresses.
        hide_parameters=True,
        # jsonb writes 1e300 as an integer of 301 digits. Python's parser makes an int of it that no answer can hold.
        json_deserializer=orjson.loads,
    )
    return Database(pool, engine)
