"""What no caller can drop: history stays append-only for every role; only the function drops old months (P7)."""

import asyncpg
import pytest

from shared.worker.partitions import PartitionRetention
from tests.support.databases import ROOT, Clone
from tests.support.months import STRAY, dropped_partitions, maintain_partitions, past_partitions, plant_months, upkeep


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    ("table", "months"),
    [("history", 1), ("history", 0), ("history", -24), ("history", None), ("users", 24), ("users_y", 2), (None, 24)],
)
async def test_the_function_itself_refuses_unsafe_arguments(
    either_database: Clone, table: str | None, months: int | None
) -> None:
    pool = either_database.database.pool
    names = await plant_months(either_database, "history", [1, 2, 30])
    with pytest.raises(asyncpg.RestrictViolationError):
        await pool.fetch("SELECT * FROM drop_oldest_partition($1, $2)", table, months)
    assert await past_partitions(pool, "history") == sorted(names.values())


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE {}",
        "TRUNCATE {}",
        "DELETE FROM {}",
        "ALTER TABLE history DETACH PARTITION {}",
        "UPDATE partition_upkeep SET kept_from = NULL",
        "DELETE FROM partition_upkeep",
    ],
)
async def test_the_runtime_role_cannot_drop_or_change_partitions(either_database: Clone, statement: str) -> None:
    names = await plant_months(either_database, "history", [30], rows=1)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await either_database.database.pool.execute(statement.format(names[30]))


async def test_a_temporary_table_of_the_caller_does_not_replace_the_real_one(either_database: Clone) -> None:
    pool = either_database.database.pool
    names = await plant_months(either_database, "history", [30], rows=1)
    connection = await asyncpg.connect(either_database.runtime_url)
    await connection.execute("CREATE TEMP TABLE partition_upkeep (parent text, kept_from timestamptz)")
    await connection.execute("CREATE TEMP TABLE history (kind text, subject text, actor text, detail jsonb)")
    await connection.fetch("SELECT * FROM drop_oldest_partition('history', 2)")
    await connection.close()
    assert [entry["subject"] for entry in await dropped_partitions(pool)] == [names[30]]
    assert (await upkeep(pool, "history"))["kept_from"] is not None


async def test_rows_in_the_default_partition_are_never_dropped(either_database: Clone) -> None:
    pool = either_database.database.pool
    await pool.execute(STRAY)
    await plant_months(either_database, "history", [12], rows=1)
    await maintain_partitions(pool, PartitionRetention("history", 2))
    assert await pool.fetchval("SELECT count(*) FROM history_default") == 1
    assert len(await dropped_partitions(pool)) == 1


async def test_the_owner_deletes_strays_by_the_runbook_and_history_stays_append_only(either_database: Clone) -> None:
    pool = either_database.database.pool
    await pool.execute(STRAY)
    await pool.execute(STRAY.replace("now() - interval '9 years'", "now() + interval '9 years'"))
    runbook = (ROOT / "docs" / "operating.md").read_text()
    statements = runbook.partition("-- old rows of the default partition")[2].partition("```")[0]
    owner = await asyncpg.connect(either_database.owner_url)
    await owner.execute(statements)
    assert await owner.fetchval("SELECT count(*) FROM history_default") == 1
    for refused in ("DELETE FROM history_default", "UPDATE history_default SET actor = ''", "TRUNCATE history_default"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(refused)
    await owner.close()
