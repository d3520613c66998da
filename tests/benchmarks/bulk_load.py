"""Loads many rows into both databases: secondary indexes are made anew afterwards, constraints stay.

Foreign keys and triggers do not run for the loaded rows, which refer to each other and to nothing else. At the end
every index is there again as it was, and the planner knows the tables.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from .product import Product

# Of the whole server, until the load is done: a longer log, so that the load does not wait for checkpoints, and no
# vacuum beside it, because one comes at its end.
_SERVER_SETTINGS = {"max_wal_size": "4GB", "autovacuum": "off"}
# Of the loading sessions.
_SETTINGS = {
    "session_replication_role": "replica",
    "synchronous_commit": "off",
    "maintenance_work_mem": "1GB",
    "statement_timeout": "0",
}
# Not those of a constraint; those of partitions follow their parent's.
_SECONDARY = """
SELECT format('%I', c.relname) AS name, pg_get_indexdef(c.oid) AS definition
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid)
"""
_ALL = r"""
SELECT array_agg(d ORDER BY d) FROM (
    SELECT regexp_replace(indexdef, ' INDEX \S+ ON', ' INDEX ON') AS d FROM pg_indexes WHERE schemaname = 'public'
) AS definitions
"""

Chunk = Sequence[object]


def load_both(product: Product, statements: Mapping[str, str], chunks: Sequence[Chunk]) -> None:
    """Run the statement of each database once for each chunk of arguments, both databases at the same time."""
    asyncio.run(_load_both(product, statements, chunks))


async def _load_both(product: Product, statements: Mapping[str, str], chunks: Sequence[Chunk]) -> None:
    server = await asyncpg.connect(product.superuser_url)
    try:
        for name, value in _SERVER_SETTINGS.items():
            await server.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        await server.execute("SELECT pg_reload_conf()")
        urls = {name: _as_superuser(product, name) for name in statements}
        await asyncio.gather(*(_load(urls[name], name, text, chunks) for name, text in statements.items()))
        for name in _SERVER_SETTINGS:
            await server.execute(f"ALTER SYSTEM RESET {name}")
        await server.execute("SELECT pg_reload_conf()")
    finally:
        await server.close()


async def _load(url: str, name: str, statement: str, chunks: Sequence[Chunk]) -> None:
    began = time.monotonic()
    connection = await asyncpg.connect(url, server_settings=_SETTINGS)
    try:
        indexes = await connection.fetchval(_ALL)
        secondary = await connection.fetch(_SECONDARY)
        for index in secondary:
            await connection.execute(f"DROP INDEX {index['name']}")
        left = iter(chunks)
        await asyncio.gather(*(_write(url, statement, left) for _ in range(max(1, (os.cpu_count() or 1) // 2))))
        loaded = time.monotonic()
        for index in secondary:
            # A parent's definition says ONLY, which would leave its partitions without.
            await connection.execute(index["definition"].replace(" ON ONLY ", " ON "))
        await connection.execute("VACUUM (ANALYZE)")
        if await connection.fetchval(_ALL) != indexes:
            raise RuntimeError(f"The indexes of {name} are not what they were before the load")
    finally:
        await connection.close()
    sys.stderr.write(
        f"  {name}: {len(chunks):,} chunks in {loaded - began:.0f} s, indexes and vacuum in "
        f"{time.monotonic() - loaded:.0f} s\n"
    )


async def _write(url: str, statement: str, left: Iterator[Chunk]) -> None:
    """Take chunks until none is left. Several of these share one iterator."""
    connection = await asyncpg.connect(url, server_settings=_SETTINGS)
    try:
        for chunk in left:
            await connection.execute(statement, *chunk)
    finally:
        await connection.close()


def _as_superuser(product: Product, database: str) -> str:
    return urlunsplit(urlsplit(product.superuser_url)._replace(path=f"/{database}"))
