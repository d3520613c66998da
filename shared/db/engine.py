"""The SQLAlchemy engine of a process, for lists whose WHERE depends on the caller.

SQLAlchemy takes 20 MB, and workers never list: only `pool.Database` imports this, when the first list is read.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from .outages import drops_connection, is_read_only


def open_engine(connect: Callable[[], Awaitable[Any]]) -> AsyncEngine:
    """An engine that opens its connections with `connect`, when it needs them."""
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        isolation_level="AUTOCOMMIT",
        pool_size=5,
        max_overflow=5,
        pool_pre_ping=True,
        # Errors quote the statement; its parameters are people's addresses.
        hide_parameters=True,
        # jsonb writes 1e300 as an integer of 301 digits. Python's parser makes an int of it that no answer can hold.
        json_deserializer=orjson.loads,
    )
    event.listen(engine.sync_engine, "checkout", _check_out)
    event.listen(engine.sync_engine, "handle_error", _handle_error)
    return engine


async def fetch_all(engine: AsyncEngine, query: sa.Select[Any]) -> Sequence[sa.RowMapping]:
    """Rows of one query, in one round trip. Raises the driver's own exceptions, as the pool does."""
    try:
        async with engine.connect() as connection:
            rows: Sequence[sa.RowMapping] = (await connection.execute(query)).mappings().all()
            return rows
    except sqlalchemy.exc.TimeoutError:
        raise TimeoutError("no connection of the engine was free in time") from None
    except sqlalchemy.exc.DBAPIError as error:
        raise _unwrapped(error) from None


def _unwrapped(error: sqlalchemy.exc.DBAPIError) -> BaseException:
    """The driver's own exception behind SQLAlchemy's, which sorts some outages among errors of the statement."""
    if error.orig is not None and error.orig.__cause__ is not None:
        return error.orig.__cause__
    # SQLAlchemy itself says that the connection is of no use.
    is_outage = isinstance(error, sqlalchemy.exc.InterfaceError | sqlalchemy.exc.OperationalError)
    return ConnectionError(type(error).__name__) if is_outage else error


def _check_out(dbapi_connection: Any, _record: object, _proxy: object) -> None:
    """A pooled connection to a server that became read-only is replaced."""
    if is_read_only(dbapi_connection.driver_connection):
        raise sqlalchemy.exc.DisconnectionError


def _handle_error(context: sa.engine.ExceptionContext) -> None:
    """A connection on which an outage was seen is dropped."""
    cause = getattr(context.original_exception, "__cause__", None) or context.original_exception
    context.is_disconnect = context.is_disconnect or drops_connection(cause)
