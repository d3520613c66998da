"""Reads imports with their progress, and the outcomes of their rows."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from shared.contract.ids import UUID
from shared.db.pool import Database, Record

from ..tables import import_rows, imports
from . import queries
from .states import Outcome

_SHOWN = ("line", "external_id", "email", "outcome", "reason", "user_id")


def as_import(row: Record) -> dict[str, Any]:
    """An imports row in the API's format."""
    return {
        "id": row["id"],
        "source": row["source"],
        "state": row["state"],
        "dry_run": row["dry_run"],
        "mails_per_minute": row["mails_per_minute"],
        "rows": row["row_count"],
        "outcomes": {str(outcome): row[outcome] for outcome in Outcome},
        "mails_owed": row["mails_owed"],
        "mails_left": row["mails_left"],
        "failure": row["failure"],
        "created_at": row["created_at"],
        "finished_at": row["finished_at"],
    }


async def find(database: Database, import_id: UUID, client: str) -> Record | None:
    return await database.pool.fetchrow(queries.FIND_IMPORT, import_id, client)


async def list_imports(database: Database, client: str, below: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Up to `limit + 1` imports, newest first."""
    return [as_import(row) for row in await database.pool.fetch(queries.LIST_IMPORTS, client, below, limit + 1)]


async def list_rows(
    database: Database, import_id: UUID, outcomes: Sequence[str], after_line: int, limit: int
) -> list[dict[str, Any]]:
    """Up to `limit + 1` processed rows, in file order."""
    columns = [import_rows.c[name] for name in _SHOWN]
    processed = sa.select(imports.c.done_through_line).where(imports.c.id == import_id).scalar_subquery()
    query = (
        sa.select(*columns)
        .where(import_rows.c.import_id == import_id, import_rows.c.line > after_line, import_rows.c.line <= processed)
        .order_by(import_rows.c.line)
        .limit(limit + 1)
    )
    if outcomes:
        query = query.where(import_rows.c.outcome.in_(outcomes))
    return [{name: row[name] for name in _SHOWN} for row in await database.fetch_all(query)]
