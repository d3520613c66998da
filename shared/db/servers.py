"""The servers that a database URL names: which of them a connection is opened to.

A driver's timeout is for all of them together: a machine that no longer answers would use it up, and the next one would
never be asked. Here each has its share, and the one that was last connected to is asked first.
"""

import asyncio
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from .outages import UNAVAILABLE, is_read_only


class Servers:
    """Those of one URL, for all connections of a pool."""

    def __init__(self, url: str) -> None:
        self._urls = _one_for_each_server(url)

    async def connect(
        self,
        _url: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the pool calls this as it would call the driver
        **options: Any,
    ) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection to the first server that takes writes. `timeout` is in seconds, for all servers together.

        Raises one of UNAVAILABLE: what the last server said, or that it takes no writes.
        """
        share = timeout / len(self._urls)
        failure: BaseException | None = None
        for url in tuple(self._urls):
            try:
                connection = await _connect(url, timeout=share, **options)
            except UNAVAILABLE as error:
                failure = error
            except asyncio.CancelledError:
                # A caller with less patience gave up on this one: the next call asks it last.
                self._urls.sort(key=lambda other: other == url)
                raise
            else:
                self._urls.sort(key=lambda other: other != url)
                return connection
        assert failure is not None
        raise failure


def _one_for_each_server(url: str) -> list[str]:
    """`postgresql://me@a,b/x` names two. Servers in `?host=a,b` are left to the driver."""
    parts = urlsplit(url)
    login, at, servers = parts.netloc.rpartition("@")
    if "," not in servers:
        return [url]
    return [urlunsplit(parts._replace(netloc=f"{login}{at}{server}")) for server in servers.split(",")]


async def _connect(url: str, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
    """Whatever the server says instead of taking a connection is an outage, also with an SQLSTATE of another class.

    Raises one of UNAVAILABLE, also for a server that takes no writes: a stale address may have led to a standby.
    """
    try:
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(url, **options)
    except UNAVAILABLE:
        raise
    except asyncpg.PostgresError as error:
        raise ConnectionRefusedError(type(error).__name__) from error
    if is_read_only(connection):
        connection.terminate()
        raise asyncpg.ReadOnlySQLTransactionError("the server is read-only")
    return connection
