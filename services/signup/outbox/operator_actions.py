"""What operators do to outbox rows: list, retry, cancel, redrive in bulk. Each action is one guarded statement.

No action touches a row whose effect is being performed. Payloads are never shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import sqlalchemy as sa

from shared.contract.ids import UUID
from shared.contract.problems import NotFound
from shared.db.pool import Database, Pool

from ..errors import WrongState
from ..tables import outbox, outbox_settled
from . import queries
from .states import State

RETRYABLE = (State.DEAD, State.PENDING)
Redrivable = Literal["dead", "pending"]
# Rows per commit of a bulk redrive: locks are held briefly, however many rows match.
_BATCH = 1000

_COMMON = ("id", "effect", "user_id", "attempts", "created_at", "correlation_id")


@dataclass(frozen=True)
class Filters:
    """Different filters combine with AND, several values of one filter with OR."""

    states: Sequence[str] = ()
    effects: Sequence[str] = ()
    user_ids: Sequence[UUID] = ()


async def list_rows(database: Database, filters: Filters, *, before: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Returns up to `limit + 1` rows, settled or not, newest first."""
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
        _filtered(owed, outbox, outbox.c.state, filters, before, limit),
        _filtered(settled, outbox_settled, outbox_settled.c.outcome, filters, before, limit),
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
) -> sa.Select[Any]:
    if filters.states:
        query = query.where(state.in_(filters.states))
    if filters.effects:
        query = query.where(table.c.effect.in_(filters.effects))
    if filters.user_ids:
        query = query.where(table.c.user_id.in_(filters.user_ids))
    if before:
        query = query.where(table.c.id < before)
    return query.order_by(table.c.id.desc()).limit(limit + 1)


async def find_row(pool: Pool, row_id: UUID) -> dict[str, Any]:
    """Returns a row, settled or not. Raises NotFound."""
    row = await pool.fetchrow(queries.FIND_ROW, row_id)
    if row is None:
        raise NotFound("There is no such outbox row.")
    return as_row({**row, "result": row["result"] and orjson.loads(row["result"])})


async def retry(pool: Pool, row_id: UUID, *, actor: str, give_up_seconds: float) -> dict[str, Any]:
    """Makes a row due now and returns it; a dead row expires later. Commits, with a line of history.

    Raises:
        NotFound, WrongState: nothing has changed.
    """
    changed_id = await pool.fetchval(queries.RETRY_IF_DEAD_OR_PENDING, row_id, give_up_seconds, actor)
    return await _changed_row(pool, row_id, "retried", changed_id)


async def cancel(pool: Pool, row_id: UUID, *, actor: str) -> dict[str, Any]:
    """Settles a row as canceled, without its effect, and returns it. Commits, with a line of history.

    Raises:
        NotFound, WrongState: nothing has changed.
    """
    changed_id = await pool.fetchval(queries.CANCEL_IF_DEAD_OR_PENDING, row_id, actor)
    return await _changed_row(pool, row_id, "canceled", changed_id)


async def _changed_row(pool: Pool, row_id: UUID, action: str, changed_id: UUID | None) -> dict[str, Any]:
    row = await find_row(pool, row_id)
    if changed_id is None:
        raise WrongState("An outbox row", action, row["state"], RETRYABLE)
    return row


async def redrive(
    pool: Pool, state: Redrivable, *, effects: Sequence[str], error_like: str | None, actor: str, give_up_seconds: float
) -> int:
    """Returns how many rows it made due. `error_like` is a part of their last error, with `%` and `_` as in LIKE.

    Commits in batches, each row with its line of history. A failing batch does not undo earlier ones.
    """
    total = 0
    while True:
        redriven: int = await pool.fetchval(
            queries.REDRIVE_MATCHING, state, list(effects), error_like, _BATCH, give_up_seconds, actor
        )
        total += redriven
        if redriven < _BATCH:
            return total


def as_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row as operators see it: with an `outcome` once it is settled."""
    settled = row["settled_at"] is not None
    return {**row, "outcome": row["state"] if settled else None}
