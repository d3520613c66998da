"""What operators do to outbox rows: look, retry, cancel, redrive in bulk. Each deed is one guarded statement.

None of them touches a row whose effect is being performed now; what stands in a payload is never shown.
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
# One commit of a bulk redrive: locks are held for timestamps, however many rows there are.
_BATCH = 1000

_COMMON = ("id", "effect", "user_id", "attempts", "created_at", "correlation_id")


@dataclass(frozen=True)
class Filters:
    """Different ones combine with AND, several of one kind with OR."""

    states: Sequence[str] = ()
    effects: Sequence[str] = ()
    user_ids: Sequence[UUID] = ()


async def list_rows(database: Database, filters: Filters, *, before: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Up to `limit + 1` rows, owed and settled, newest first."""
    owed = sa.select(
        *(outbox.c[name] for name in _COMMON),
        outbox.c.state,
        outbox.c.last_error,
        outbox.c.due_at,
        outbox.c.expires_at,
        outbox.c.dead_at,
        _nothing(outbox_settled.c.settled_at),
        _nothing(outbox_settled.c.result),
    )
    settled = sa.select(
        *(outbox_settled.c[name] for name in _COMMON),
        outbox_settled.c.outcome.label("state"),
        *(_nothing(outbox.c[name]) for name in ("last_error", "due_at", "expires_at", "dead_at")),
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


def _nothing(column: sa.Column[Any]) -> sa.Label[Any]:
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
    """One row, owed or settled. Raises NotFound."""
    row = await pool.fetchrow(queries.FIND_ROW, row_id)
    if row is None:
        raise NotFound("There is no such outbox row.")
    return as_row({**row, "result": row["result"] and orjson.loads(row["result"])})


async def retry(pool: Pool, row_id: UUID, *, actor: str, give_up_seconds: float) -> dict[str, Any]:
    """The row, due now; a dead one with time to live anew. Committed, with a line of history.

    Raises:
        NotFound, WrongState: nothing has changed.
    """
    done = await pool.fetchval(queries.RETRY_IF_DEAD_OR_PENDING, row_id, give_up_seconds, actor)
    return await _answer(pool, row_id, "retried", done)


async def cancel(pool: Pool, row_id: UUID, *, actor: str) -> dict[str, Any]:
    """The row, settled as canceled: its effect will not take place. Committed, with a line of history.

    Raises:
        NotFound, WrongState: nothing has changed.
    """
    done = await pool.fetchval(queries.CANCEL_IF_DEAD_OR_PENDING, row_id, actor)
    return await _answer(pool, row_id, "canceled", done)


async def _answer(pool: Pool, row_id: UUID, done_to_it: str, done: UUID | None) -> dict[str, Any]:
    row = await find_row(pool, row_id)
    if done is None:
        raise WrongState("An outbox row", done_to_it, row["state"], RETRYABLE)
    return row


async def redrive(
    pool: Pool,
    state: Redrivable,
    *,
    effects: Sequence[str],
    error_like: str | None,
    actor: str,
    give_up_seconds: float,
) -> int:
    """How many rows are due now that were not. `error_like` is a part of their last error, `%` and `_` as in LIKE.

    Committed in batches, each row with its line of history; what is committed stays when a later batch fails.
    """
    total = 0
    while True:
        done: int = await pool.fetchval(
            queries.REDRIVE_MATCHING, state, list(effects), error_like, _BATCH, give_up_seconds, actor
        )
        total += done
        if done < _BATCH:
            return total


def as_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row as operators see it: `outcome` once it is settled."""
    settled = row["settled_at"] is not None
    return {**row, "outcome": row["state"] if settled else None}
