"""Reads the append-only history of a service. The same in both services.

Never write anything personal into history: it stays when a person is erased. IDs and codes are enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..contract.ids import UUID
from .pool import Database
from .tables import shared_tables

_columns = shared_tables(sa.MetaData()).history.c
_FEW = 1_000
_SHOWN = ("id", "at", "kind", "subject", "related", "actor", "correlation_id", "detail")


@dataclass(frozen=True)
class Asked:
    """Which entries. A subject matches entries about it or related to it.

    `among`: without subjects, look at so many entries only; the page may then hold fewer than match.
    """

    subjects: Sequence[str] = ()
    kinds: Sequence[str] = ()
    after: datetime | None = None
    before: datetime | None = None
    below: UUID | None = None
    among: int | None = None


async def read_history(database: Database, asked: Asked, *, limit: int) -> tuple[list[dict[str, Any]], UUID | None]:
    """Up to `limit` entries, newest first, and the ID below which the next page begins; None: there is none."""
    conditions: list[sa.ColumnElement[bool]] = []
    if asked.after:
        conditions.append(_columns.at >= asked.after)
    if asked.before:
        conditions.append(_columns.at < asked.before)
    if asked.below:
        conditions.append(_columns.id < asked.below)
    if asked.among and asked.kinds and not asked.subjects:
        return await _read_among(database, asked.kinds, conditions, asked.among, limit)
    if asked.kinds:
        conditions.append(_columns.kind.in_(asked.kinds))
    query = _about(list(asked.subjects), conditions, limit + 1) if asked.subjects else _newest(conditions, limit + 1)
    entries = _entries(await database.fetch_all(query))
    return entries[:limit], entries[limit - 1]["id"] if len(entries) > limit else None


def _entries(rows: Sequence[sa.RowMapping]) -> list[dict[str, Any]]:
    # Plain strings as keys: SQLAlchemy's own are a subclass, which orjson refuses.
    return [{name: row[name] for name in _SHOWN} for row in rows]


async def _read_among(
    database: Database, kinds: Sequence[str], conditions: Sequence[sa.ColumnElement[bool]], among: int, limit: int
) -> tuple[list[dict[str, Any]], UUID | None]:
    """No index has kinds, so a rare one may be anywhere: the newest entries are looked at, and no more."""
    seen = _newest(conditions, among).cte("seen").prefix_with("MATERIALIZED", dialect="postgresql")
    # min() takes no UUIDs.
    last = sa.select(seen.c.id).order_by(seen.c.id).limit(1).scalar_subquery()
    end = sa.select(sa.func.count().label("seen"), last.label("last")).select_from(seen).subquery()
    found = sa.select(seen).where(seen.c.kind.in_(kinds)).order_by(seen.c.id.desc()).limit(limit + 1).subquery()
    rows = await database.fetch_all(
        sa.select(end, found).select_from(end.outerjoin(found, sa.true())).order_by(found.c.id.desc())
    )
    entries = _entries([row for row in rows if row["id"] is not None])
    if len(entries) > limit:
        return entries[:limit], entries[limit - 1]["id"]
    return entries, rows[0]["last"] if rows[0]["seen"] == among else None


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
