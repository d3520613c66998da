"""What a statement reads, as the server's own plan tells: pages and rows, not time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from shared.db.pool import Connection

from .databases import Clone


async def planned_for_all(clone: Clone, query: str, arguments: str) -> dict[str, Any]:
    """How the query runs in a worker: with the plan for all arguments. Rolled back."""
    async with _rolled_back(clone) as connection:
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE planned AS {query}")
        plan = await _explain(connection, f"EXECUTE planned ({arguments})")
        await connection.execute("DEALLOCATE planned")
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
    async with _rolled_back(clone) as connection:
        if prepare:
            await connection.execute(prepare)
        return _pages_of(await _explain(connection, query, *arguments), expected_rows)


@asynccontextmanager
async def _rolled_back(clone: Clone) -> AsyncIterator[Connection]:
    async with clone.database.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            yield connection
        finally:
            await transaction.rollback()


async def _explain(connection: Connection, query: str, *arguments: object) -> dict[str, Any]:
    text = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {query}", *arguments)
    plan: dict[str, Any] = orjson.loads(text)[0]["Plan"]
    return plan


def _pages_of(plan: dict[str, Any], expected_rows: int) -> int:
    assert plan["Actual Rows"] == expected_rows
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
