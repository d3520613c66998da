"""Past months: creates their partitions as the owner role, fills them, and reads what is left."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson

from shared.db.pool import Pool
from shared.worker.partitions import PartitionRetention, Partitions

from .databases import Clone

# A row that matches no month partition.
STRAY = "INSERT INTO history (at, kind, subject, actor) VALUES (now() - interval '9 years', 'test.stray', 's', 'test')"
# A timestamp in the month $1 months ago.
_WITHIN = "date_trunc('month', now(), 'UTC') - make_interval(months => $1::int) + interval '10 days'"
_BOUNDS = """
SELECT to_char(first, '"_y"YYYY"m"MM') AS name, (first AT TIME ZONE 'UTC')::text AS from_at,
       ((first + interval '1 month') AT TIME ZONE 'UTC')::text AS to_at
FROM (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => $1::int)) AS m (first)
"""
_ROWS = {
    "history": f"""
        INSERT INTO history (at, kind, subject, actor)
        SELECT {_WITHIN}, 'test.planted', n::text, 'test' FROM generate_series(1, $2::int) AS n
    """,
    "outbox_settled": f"""
        INSERT INTO outbox_settled (id, effect, payload, outcome, attempts, created_at, settled_at)
        SELECT uuidv7(({_WITHIN}) - now()), 'mail', '{{}}', 'delivered', 1, {_WITHIN}, {_WITHIN}
        FROM generate_series(1, $2::int)
    """,
}
_UPKEEP = "SELECT kept_from, blocked_since, ran_at FROM partition_upkeep WHERE parent = $1"
_PARTITIONS = """
SELECT name FROM month_partitions($1) WHERE to_at <= date_trunc('month', now(), 'UTC') ORDER BY name
"""


async def plant_months(clone: Clone, table: str, months: Sequence[int], *, rows: int = 0) -> dict[int, str]:
    """Create a partition for each of `months` (months ago) with `rows` rows; return the names."""
    owner = await asyncpg.connect(clone.owner_url)
    names = {}
    for month in months:
        name, from_at, to_at = await owner.fetchrow(_BOUNDS, month)  # type: ignore[misc]  # always one row
        names[month] = table + name
        await owner.execute(
            f"CREATE TABLE {table}{name} PARTITION OF {table} FOR VALUES FROM ('{from_at}') TO ('{to_at}')"
        )
        if rows:
            await owner.execute(_ROWS[table], month, rows)
    await owner.close()
    return names


async def past_partitions(pool: Pool, table: str) -> list[str]:
    """Partitions of months that are over."""
    return [row["name"] for row in await pool.fetch(_PARTITIONS, table)]


async def maintain_partitions(pool: Pool, *kept: PartitionRetention) -> int:
    """Run the loop until it has no immediate work; return the number of passes."""
    loop, passes = Partitions(pool, kept), 1
    while await loop.run_once():
        passes += 1
    return passes


async def dropped_partitions(pool: Pool) -> list[dict[str, Any]]:
    """The drops that history records."""
    rows = await pool.fetch("SELECT subject, actor, detail FROM history WHERE kind = 'partition.dropped' ORDER BY id")
    return [{**row, "detail": orjson.loads(row["detail"])} for row in rows]


async def upkeep(pool: Pool, table: str) -> dict[str, Any]:
    """The `partition_upkeep` row of a table."""
    row = await pool.fetchrow(_UPKEEP, table)
    assert row is not None
    return dict(row)


@asynccontextmanager
async def reading(clone: Clone, table: str) -> AsyncIterator[None]:
    """Hold a transaction open that has read the table, as a dump does for hours."""
    reader = await asyncpg.connect(clone.owner_url)
    try:
        async with reader.transaction():
            await reader.fetchval(f"SELECT count(*) FROM {table}")
            yield
    finally:
        await reader.close()
