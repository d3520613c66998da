"""Reads imports with their progress."""

from typing import Any

from shared.contract.ids import UUID
from shared.db.pool import Database, Record

from . import queries
from .states import Outcome


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
