"""Reads the append-only history of a service. The same in both services.

Never write anything personal into history: it stays when a person is erased. IDs and codes are enough.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..contract.ids import UUID
from .pool import Database

_SHOWN = ("id", "at", "kind", "subject", "related", "actor", "correlation_id", "detail")


async def read_history(
    database: Database,
    table: sa.Table,
    *,
    subjects: list[str],
    kinds: list[str],
    after: datetime | None,
    before: datetime | None,
    cursor: UUID | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Up to `limit + 1` entries, newest first. A subject matches entries about it or related to it."""
    columns = [table.c[name] for name in _SHOWN]
    query = sa.select(*columns).order_by(table.c.id.desc()).limit(limit + 1)
    if subjects:
        query = query.where(sa.or_(table.c.subject.in_(subjects), table.c.related.overlap(subjects)))
    if kinds:
        query = query.where(table.c.kind.in_(kinds))
    if after:
        query = query.where(table.c.at >= after)
    if before:
        query = query.where(table.c.at < before)
    if cursor:
        query = query.where(table.c.id < cursor)
    # Plain strings as keys: SQLAlchemy's own are a subclass, which orjson refuses.
    return [{name: row[name] for name in _SHOWN} for row in await database.fetch_all(query)]
