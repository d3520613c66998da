"""Bad data that no process could write: inserted by the owner role."""

from .databases import Clone


async def plant(clone: Clone, *statements: str) -> None:
    for statement in statements:
        await clone.as_owner(statement)


async def findings(clone: Clone) -> dict[str, tuple[int, int]]:
    """Violations and repairs of each check's last run; checks without violations are left out."""
    rows = await clone.database.pool.fetch(
        "SELECT name, violations, fixed, error FROM check_results WHERE violations > 0 OR error IS NOT NULL"
    )
    assert [row["error"] for row in rows if row["error"]] == []
    return {row["name"]: (row["violations"], row["fixed"]) for row in rows}
