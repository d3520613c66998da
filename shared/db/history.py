"""Reads the append-only history of a service. The same in both services.

Never write anything personal into history: it stays when a person is erased. IDs and codes are enough.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..contract.ids import UUID
from .pool import Database
from .tables import shared_tables

_columns = shared_tables(sa.MetaData()).history.c
_FEW = 1_000
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
    conditions: list[sa.ColumnElement[bool]] = []
    if kinds:
        conditions.append(_columns.kind.in_(kinds))
    if after:
        conditions.append(_columns.at >= after)
    if before:
        conditions.append(_columns.at < before)
    if cursor:
        conditions.append(_columns.id < cursor)
    query = _about(subjects, conditions, limit + 1) if subjects else _newest(conditions, limit + 1)
    # Plain strings as keys: SQLAlchemy's own are a subclass, which orjson refuses.
    return [{name: row[name] for name in _SHOWN} for row in await database.fetch_all(query)]


def _newest(conditions: Sequence[sa.ColumnElement[bool]], limit: int) -> sa.Select[Any]:
    return sa.select(*(_columns[name] for name in _SHOWN)).where(*conditions).order_by(_columns.id.desc()).limit(limit)


def _about(subjects: list[str], conditions: Sequence[sa.ColumnElement[bool]], limit: int) -> sa.Select[Any]:
    """Few entries, as of a person or a mail, come from the indexes; many, as of a client, are read by ID.

    The planner expects thousands of entries of any subject, and would always read by ID.
    """
    about = sa.or_(_columns.subject.in_(subjects), _columns.related.overlap(subjects))
    first = sa.select(_columns.id, _columns.at).where(about).limit(_FEW + 1).cte("first")
    are_few = sa.select(sa.func.count()).select_from(first).scalar_subquery() <= _FEW
    is_among_first = sa.tuple_(_columns.id, _columns.at).in_(sa.select(first.c.id, first.c.at))
    found = sa.union_all(
        sa.select(_newest([*conditions, is_among_first, are_few], limit).subquery()),
        sa.select(_newest([*conditions, about, sa.not_(are_few)], limit).subquery()),
    ).subquery()
    return sa.select(found).order_by(found.c.id.desc()).limit(limit)
