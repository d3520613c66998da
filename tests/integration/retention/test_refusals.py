"""What is never dropped, by whomever it is asked for: history stays append-only for everybody but the function (P7)."""

import asyncpg
import pytest

from shared.worker.partitions import PartitionRetention
from tests.support.databases import ROOT, Clone
from tests.support.months import STRAY, look_after, past_partitions, plant_months, told, upkeep


@pytest.mark.parametrize(
    ("table", "months"),
    [("history", 1), ("history", 0), ("history", -24), ("history", None), ("users", 24), ("users_y", 2), (None, 24)],
)
async def test_the_function_itself_refuses_what_is_dangerous(
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
async def test_the_runtime_role_drops_nothing_by_itself(either_database: Clone, statement: str) -> None:
    names = await plant_months(either_database, "history", [30], rows=1)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await either_database.database.pool.execute(statement.format(names[30]))


async def test_a_table_of_the_callers_own_is_not_taken_for_the_real_one(either_database: Clone) -> None:
    pool = either_database.database.pool
    names = await plant_months(either_database, "history", [30], rows=1)
    connection = await asyncpg.connect(either_database.runtime_url)
    await connection.execute("CREATE TEMP TABLE partition_upkeep (parent text, kept_from timestamptz)")
    await connection.execute("CREATE TEMP TABLE history (kind text, subject text, actor text, detail jsonb)")
    await connection.fetch("SELECT * FROM drop_oldest_partition('history', 2)")
    await connection.close()
    assert [entry["subject"] for entry in await told(pool)] == [names[30]]
    assert (await upkeep(pool, "history"))["kept_from"] is not None


async def test_rows_in_the_default_partition_are_never_dropped(either_database: Clone) -> None:
    pool = either_database.database.pool
    await pool.execute(STRAY)
    await plant_months(either_database, "history", [12], rows=1)
    await look_after(pool, PartitionRetention("history", 2))
    assert await pool.fetchval("SELECT count(*) FROM history_default") == 1
    assert len(await told(pool)) == 1


async def test_strays_go_by_the_owners_hand_as_the_runbook_says_and_history_stays_append_only(
    either_database: Clone,
) -> None:
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
