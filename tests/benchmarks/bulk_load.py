"""Loads many rows into both databases with COPY: secondary indexes are made anew afterwards, constraints stay.

Foreign keys and triggers do not run for the loaded rows, which refer to each other and to nothing else. At the end
every index is there again as it was, and the planner knows the tables.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
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

# Between the two sessions of a COPY.
_PIECES = 16

Chunk = Sequence[object]
# The query that makes the rows of each table; its columns have the names of the table's.
Tables = Mapping[str, str]


def load_both(product: Product, tables: Mapping[str, Tables], chunks: Sequence[Chunk]) -> None:
    """Run the queries of each database once for each chunk of arguments, both databases at the same time.

    A chunk is one transaction.
    """
    asyncio.run(_load_both(product, tables, chunks))


async def _load_both(product: Product, tables: Mapping[str, Tables], chunks: Sequence[Chunk]) -> None:
    server = await asyncpg.connect(product.superuser_url)
    try:
        for name, value in _SERVER_SETTINGS.items():
            await server.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        await server.execute("SELECT pg_reload_conf()")
        urls = {name: _as_superuser(product, name) for name in tables}
        await asyncio.gather(*(_load(urls[name], name, queries, chunks) for name, queries in tables.items()))
        for name in _SERVER_SETTINGS:
            await server.execute(f"ALTER SYSTEM RESET {name}")
        await server.execute("SELECT pg_reload_conf()")
    finally:
        await server.close()


async def _load(url: str, name: str, tables: Tables, chunks: Sequence[Chunk]) -> None:
    began = time.monotonic()
    connection = await asyncpg.connect(url, server_settings=_SETTINGS)
    try:
        indexes = await connection.fetchval(_ALL)
        secondary = await connection.fetch(_SECONDARY)
        for index in secondary:
            await connection.execute(f"DROP INDEX {index['name']}")
        left = iter(chunks)
        await asyncio.gather(*(_write(url, tables, left) for _ in range(max(1, (os.cpu_count() or 1) // 2))))
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


async def _write(url: str, tables: Tables, left: Iterator[Chunk]) -> None:
    """Take chunks until none is left. Several of these share one iterator."""
    reader = await asyncpg.connect(url, server_settings=_SETTINGS)
    writer = await asyncpg.connect(url, server_settings=_SETTINGS)
    try:
        columns = {table: [a.name for a in (await reader.prepare(q)).get_attributes()] for table, q in tables.items()}
        for chunk in left:
            async with writer.transaction():
                for table, query in tables.items():
                    await _copy(reader, query, chunk, writer, table, columns[table])
    finally:
        await reader.close()
        await writer.close()


async def _copy(
    reader: asyncpg.Connection, query: str, chunk: Chunk, writer: asyncpg.Connection, table: str, columns: list[str]
) -> None:
    """COPY the rows of `query` out of one session and into `table` in another."""
    lines: asyncio.Queue[bytes] = asyncio.Queue(_PIECES)

    async def arriving() -> AsyncIterator[bytes]:
        while piece := await lines.get():
            yield piece

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.copy_to_table(table, source=arriving(), columns=columns))
        await reader.copy_from_query(query, *chunk, output=lines.put)
        await lines.put(b"")


def _as_superuser(product: Product, database: str) -> str:
    return urlunsplit(urlsplit(product.superuser_url)._replace(path=f"/{database}"))
