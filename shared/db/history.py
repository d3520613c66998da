"""Reads the append-only history of a service. The same in both services.

Never write anything personal into history: it stays when a person is erased. IDs and codes are enough.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..contract.ids import UUID
from .pool import Database
from .tables import shared_tables

_columns = shared_tables(sa.MetaData()).history.c
_SHOWN = ("id", "at", "kind", "subject", "related", "actor", "correlation_id", "detail")


async def read_history(
    database: Database,
    *,
    subjects: list[str],
    kinds: list[str],
    after: datetime | None,
    before: datetime | None,
    cursor: UUID | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Up to `limit + 1` entries, newest first. A subject matches entries about it or related to it."""
    query = sa.select(*(_columns[name] for name in _SHOWN)).order_by(_columns.id.desc()).limit(limit + 1)
    if subjects:
        query = query.where(sa.or_(_columns.subject.in_(subjects), _columns.related.overlap(subjects)))
    if kinds:
        query = query.where(_columns.kind.in_(kinds))
    if after:
        query = query.where(_columns.at >= after)
    if before:
        query = query.where(_columns.at < before)
    if cursor:
        query = query.where(_columns.id < cursor)
    # Plain strings as keys: SQLAlchemy's own are a subclass, which orjson refuses.
    return [{name: row[name] for name in _SHOWN} for row in await database.fetch_all(query)]
