"""What operators do to outbox rows: show, retry, cancel, redrive in bulk. Each action is one guarded statement.

No action touches a row whose effect is being performed. Payloads are never shown.
"""

from collections.abc import Sequence
from typing import Any, Literal

import orjson

from shared.contract.ids import UUID
from shared.contract.problems import NotFound
from shared.db.pool import Pool

from ..errors import WrongState
from . import queries
from .states import State

RETRYABLE = (State.DEAD, State.PENDING)
Redrivable = Literal["dead", "pending"]
# Rows per commit of a bulk redrive: locks are held briefly, however many rows match.
_BATCH = 1000


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
