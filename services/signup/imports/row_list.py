"""The list of an import's rows with their outcomes. It loads SQLAlchemy, so import it where a list is read."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from shared.contract.ids import UUID
from shared.db.pool import Database

from ..tables import import_rows, imports

_SHOWN = ("line", "external_id", "email", "outcome", "reason", "user_id")


async def list_rows(
    database: Database,
    import_id: UUID,
    outcomes: Sequence[str],
    after_line: int,
    limit: int,
    *,
    last: int | None = None,
) -> list[dict[str, Any]]:
    """Up to `limit + 1` processed rows, in file order; none of a line after `last`."""
    columns = [import_rows.c[name] for name in _SHOWN]
    processed = sa.select(imports.c.done_through_line).where(imports.c.id == import_id).scalar_subquery()
    query = (
        sa.select(*columns)
        .where(import_rows.c.import_id == import_id, import_rows.c.line > after_line, import_rows.c.line <= processed)
        .order_by(import_rows.c.line)
        .limit(limit + 1)
    )
    if last is not None:
        query = query.where(import_rows.c.line <= last)
    if outcomes:
        query = query.where(import_rows.c.outcome.in_(outcomes))
    return [{name: row[name] for name in _SHOWN} for row in await database.fetch_all(query)]
