"""The list of outbox rows, by an operator's filters. It loads SQLAlchemy, so import it where a list is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from shared.contract.ids import UUID
from shared.db.pool import Database

from ..tables import outbox, outbox_settled
from .operator_actions import as_row

_COMMON = ("id", "effect", "user_id", "attempts", "created_at", "correlation_id")


@dataclass(frozen=True)
class Filters:
    """Different filters combine with AND, several values of one filter with OR."""

    states: Sequence[str] = ()
    effects: Sequence[str] = ()
    user_ids: Sequence[UUID] = ()


async def list_rows(
    database: Database, filters: Filters, *, before: UUID | None, limit: int, last: UUID | None = None
) -> list[dict[str, Any]]:
    """Returns up to `limit + 1` rows, settled or not, newest first; none that is older than `last`."""
    owed = sa.select(
        *(outbox.c[name] for name in _COMMON),
        outbox.c.state,
        outbox.c.last_error,
        outbox.c.due_at,
        outbox.c.expires_at,
        outbox.c.dead_at,
        _null(outbox_settled.c.settled_at),
        _null(outbox_settled.c.result),
    )
    settled = sa.select(
        *(outbox_settled.c[name] for name in _COMMON),
        outbox_settled.c.outcome.label("state"),
        *(_null(outbox.c[name]) for name in ("last_error", "due_at", "expires_at", "dead_at")),
        outbox_settled.c.settled_at,
        outbox_settled.c.result,
    )
    halves = [
        _filtered(owed, outbox, outbox.c.state, filters, before, limit, last),
        _filtered(settled, outbox_settled, outbox_settled.c.outcome, filters, before, limit, last),
    ]
    both = sa.union_all(*(sa.select(half.subquery()) for half in halves)).subquery()
    rows = await database.fetch_all(sa.select(both).order_by(both.c.id.desc()).limit(limit + 1))
    return [as_row(dict(zip(map(str, row.keys()), row.values(), strict=True))) for row in rows]


def _null(column: sa.Column[Any]) -> sa.Label[Any]:
    return sa.cast(sa.null(), column.type).label(column.name)


def _filtered(
    query: sa.Select[Any],
    table: sa.Table,
    state: sa.ColumnElement[Any],
    filters: Filters,
    before: UUID | None,
    limit: int,
    last: UUID | None,
) -> sa.Select[Any]:
    if filters.states:
        query = query.where(state.in_(filters.states))
    if filters.effects:
        query = query.where(table.c.effect.in_(filters.effects))
    if filters.user_ids:
        query = query.where(table.c.user_id.in_(filters.user_ids))
    if before:
        query = query.where(table.c.id < before)
    if last:
        query = query.where(table.c.id >= last)
    return query.order_by(table.c.id.desc()).limit(limit + 1)
