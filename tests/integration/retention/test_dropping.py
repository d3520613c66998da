"""Old months are dropped: exactly those past their retention, without blocking other work."""

import asyncio

import asyncpg
import pytest

from shared.worker import partitions
from shared.worker.partitions import PartitionRetention, Partitions
from tests.support.databases import Clone
from tests.support.months import dropped_partitions, maintain_partitions, past_partitions, plant_months, reading, upkeep

TABLES = ("history", "outbox_settled")
WRITE = {
    "history": "INSERT INTO history (kind, subject, actor) VALUES ('test.traffic', 's', 'test')",
    "outbox_settled": """
        INSERT INTO outbox_settled (id, effect, payload, outcome, attempts, created_at)
        VALUES (uuidv7(), 'mail', '{}', 'delivered', 1, now())
    """,
}


@pytest.mark.parametrize("table", TABLES)
async def test_exactly_the_whole_months_past_retention_are_dropped_and_recorded(
    signup_database: Clone, table: str
) -> None:
    pool = signup_database.database.pool
    names = await plant_months(signup_database, table, [1, 2, 3, 4, 5], rows=2)
    assert await maintain_partitions(pool, PartitionRetention(table, 3)) == 3
    assert await past_partitions(pool, table) == sorted(names[month] for month in (1, 2, 3))
    rows = [
        await pool.fetchval(f"SELECT count(*) FROM {table} WHERE tableoid = $1::regclass", names[n]) for n in (1, 2, 3)
    ]
    assert rows == [2, 2, 2]
    entries = await dropped_partitions(pool)
    assert [(entry["subject"], entry["actor"]) for entry in entries] == [
        (names[5], "signup_app"),
        (names[4], "signup_app"),
    ]
    for entry in entries:
        assert (entry["detail"]["table"], entry["detail"]["rows"]) == (table, 2)
    assert entries[0]["detail"]["to"] == entries[1]["detail"]["from"]
    kept = await upkeep(pool, table)
    assert kept["kept_from"].isoformat() == entries[1]["detail"]["to"]
    assert kept["ran_at"] is not None


async def test_history_is_dropped_in_both_ledgers(either_database: Clone) -> None:
    pool = either_database.database.pool
    names = await plant_months(either_database, "history", [2, 3, 30], rows=1)
    await maintain_partitions(pool, PartitionRetention("history", 2))
    assert await past_partitions(pool, "history") == [names[2]]
    assert {entry["subject"] for entry in await dropped_partitions(pool)} == {names[3], names[30]}


async def test_with_zero_months_everything_is_kept(either_database: Clone) -> None:
    pool = either_database.database.pool
    names = await plant_months(either_database, "history", [1, 200], rows=1)
    await maintain_partitions(pool, PartitionRetention("history", 0))
    assert await past_partitions(pool, "history") == sorted(names.values())
    assert (await upkeep(pool, "history"))["kept_from"] is None


async def test_a_partition_that_reaches_into_the_kept_months_is_kept(either_database: Clone) -> None:
    pool = either_database.database.pool
    owner = await asyncpg.connect(either_database.owner_url)
    await owner.execute(
        "CREATE TABLE history_y1999m01 PARTITION OF history FOR VALUES FROM ('1999-01-01') TO"
        " (" + await owner.fetchval("SELECT quote_literal(date_trunc('month', now()) - interval '1 month')") + ")"
    )
    await owner.close()
    await maintain_partitions(pool, PartitionRetention("history", 2))
    assert await past_partitions(pool, "history") == ["history_y1999m01"], "the bounds count, not the name"


@pytest.mark.parametrize("table", TABLES)
async def test_a_table_in_use_is_left_for_the_next_run_and_blocks_no_query(signup_database: Clone, table: str) -> None:
    pool = signup_database.database.pool
    names = await plant_months(signup_database, table, [30], rows=1)
    loop = Partitions(pool, [PartitionRetention(table, 2)])
    async with reading(signup_database, table), pool.acquire() as traffic:
        # A query behind a lock that waits for the reader would wait until the end of the test.
        await traffic.execute("SET statement_timeout = '5s'")
        attempt = asyncio.create_task(loop.run_once())
        while not attempt.done():
            await traffic.execute(WRITE[table])
        assert await attempt is False
        assert await past_partitions(pool, table) == [names[30]]
        blocked = await upkeep(pool, table)
        assert blocked["blocked_since"] is not None
        assert (blocked["kept_from"], await dropped_partitions(pool)) == (None, [])
        await loop.run_once()
        assert (await upkeep(pool, table))["blocked_since"] == blocked["blocked_since"], "since the first attempt"
        await traffic.execute("RESET statement_timeout")
    await maintain_partitions(pool, PartitionRetention(table, 2))
    assert await past_partitions(pool, table) == []
    assert (await upkeep(pool, table))["blocked_since"] is None
    assert [entry["subject"] for entry in await dropped_partitions(pool)] == [names[30]]


async def test_a_future_month_is_created_later_when_the_table_is_in_use(either_database: Clone) -> None:
    pool = either_database.database.pool
    owner = await asyncpg.connect(either_database.owner_url)
    newest = await owner.fetchval("SELECT max(name) FROM month_partitions('history')")
    await owner.execute(f"DROP TABLE {newest}")
    await owner.close()
    loop = Partitions(pool, [PartitionRetention("history", 2)])
    async with reading(either_database, "history"):
        assert await loop.run_once() is False
        assert await pool.fetchval("SELECT to_regclass($1)", newest) is None
    await loop.run_once()
    assert await pool.fetchval("SELECT to_regclass($1)", newest) == newest


async def test_months_are_dropped_although_none_can_be_created(either_database: Clone) -> None:
    pool = either_database.database.pool
    owner = await asyncpg.connect(either_database.owner_url)
    newest, at = await owner.fetchrow(  # type: ignore[misc]  # there is one
        "SELECT name, from_at FROM month_partitions('history') ORDER BY from_at DESC LIMIT 1"
    )
    await owner.execute(f"DROP TABLE {newest}")
    await owner.close()
    await pool.execute("INSERT INTO history (at, kind, subject, actor) VALUES ($1, 'test.stray', 's', 'test')", at)
    await plant_months(either_database, "history", [30])
    assert await Partitions(pool, [PartitionRetention("history", 2)]).run_once() is False
    assert await past_partitions(pool, "history") == []
    assert (await upkeep(pool, "history"))["ran_at"] is None, "not everything was done"


async def test_many_workers_drop_each_month_once(either_database: Clone) -> None:
    pool = either_database.database.pool
    names = await plant_months(either_database, "history", [20, 21, 22, 23], rows=3)
    await asyncio.gather(*(maintain_partitions(pool, PartitionRetention("history", 2)) for _ in range(4)))
    await maintain_partitions(pool, PartitionRetention("history", 2))
    assert sorted(entry["subject"] for entry in await dropped_partitions(pool)) == sorted(names.values())


async def test_a_month_that_takes_too_long_to_count_is_left_for_the_next_run(
    either_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = either_database.database.pool
    names = await plant_months(either_database, "history", [30], rows=1)
    loop = Partitions(pool, [PartitionRetention("history", 2)])
    monkeypatch.setattr(partitions, "_COUNTING_SECONDS", 0.0)
    assert await loop.run_once() is False
    assert await past_partitions(pool, "history") == [names[30]]
    assert (await upkeep(pool, "history"))["ran_at"] is None, "not everything was done"
    monkeypatch.undo()
    assert await loop.run_once() is True
