"""Which errors mean that the database cannot be used now. Everything else is a bug and must be loud.

An outage is one kind: 503 with `Retry-After` for callers, 503 for `/health/ready`, patience with backoff in loops, and
the connection is dropped (ADR 0018).
"""

from typing import Any

import asyncpg

# What the server says about itself, by class of SQLSTATE (PostgreSQL manual, appendix A), and what the driver says of a
# connection that is broken.
UNAVAILABLE: tuple[type[BaseException], ...] = (
    OSError,  # refused, reset, and TimeoutError
    asyncpg.PostgresConnectionError,  # 08
    asyncpg.ReadOnlySQLTransactionError,  # 25006: a standby, or a primary that was demoted
    asyncpg.IdleInTransactionSessionTimeoutError,  # 25P03
    asyncpg.InvalidAuthorizationSpecificationError,  # 28: the role is locked out, its password was rotated
    asyncpg.InvalidCatalogNameError,  # 3D000: the database is being restored
    asyncpg.InsufficientResourcesError,  # 53: no connections, memory or disk left
    asyncpg.LockNotAvailableError,  # 55P03: a migration holds the table
    asyncpg.OperatorInterventionError,  # 57: shutdown, crash, starting up, a statement that was canceled
    asyncpg.PostgresSystemError,  # 58: I/O errors
    asyncpg.InterfaceError,  # "connection is closed"
    asyncpg.InternalClientError,  # "cannot switch to state …", no server with the wanted session attributes
)

# Reads still work: only a write shows these.
_REFUSES_WRITES = (asyncpg.ReadOnlySQLTransactionError, asyncpg.InsufficientResourcesError, asyncpg.PostgresSystemError)


def is_read_only(connection: Any) -> bool:
    """As the server reports by itself (since PostgreSQL 14): a standby, or a database that takes no writes."""
    settings = connection.get_settings()
    return any(getattr(settings, name, "off") == "on" for name in ("in_hot_standby", "default_transaction_read_only"))


def drops_connection(error: BaseException) -> bool:
    """Whether the connection can no longer be trusted. A canceled statement or a missed lock leaves it usable."""
    return isinstance(error, UNAVAILABLE) and not isinstance(
        error, asyncpg.QueryCanceledError | asyncpg.LockNotAvailableError
    )


def refuses_writes(error: BaseException) -> bool:
    return isinstance(error, _REFUSES_WRITES)
