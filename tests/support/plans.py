"""What a statement reads, as the server's own plan tells: pages and rows, not time."""

from typing import Any

import orjson

from .databases import Clone


async def planned_for_all(clone: Clone, query: str, arguments: str) -> dict[str, Any]:
    """How the query runs in a worker: with the plan for all arguments. Rolled back."""
    async with clone.database.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            await connection.execute(f"PREPARE planned AS {query}")
            (explained,) = orjson.loads(
                await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) EXECUTE planned ({arguments})")
            )
            await connection.execute("DEALLOCATE planned")
        finally:
            await transaction.rollback()
    plan: dict[str, Any] = explained["Plan"]
    return plan


async def pages_with_one_plan(clone: Clone, expected_rows: int, query: str, *arguments: object) -> int:
    return _pages_of(await planned_for_all(clone, query, ", ".join(f"'{value}'" for value in arguments)), expected_rows)


def rows_looked_at(plan: dict[str, Any]) -> float:
    """By all steps of a plan together."""
    removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Join Filter", 0)
    own = (plan["Actual Rows"] + removed) * plan["Actual Loops"]
    return float(own + sum(rows_looked_at(each) for each in plan.get("Plans", [])))


async def pages(clone: Clone, expected_rows: int, query: str, *arguments: object, prepare: str = "") -> int:
    """Pages that the query reads. Rolled back, so that the next one finds the same rows."""
    async with clone.database.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            if prepare:
                await connection.execute(prepare)
            (explained,) = orjson.loads(
                await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {query}", *arguments)
            )
        finally:
            await transaction.rollback()
    return _pages_of(explained["Plan"], expected_rows)


def _pages_of(plan: dict[str, Any], expected_rows: int) -> int:
    assert plan["Actual Rows"] == expected_rows
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
