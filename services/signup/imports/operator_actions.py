"""Pause, resume and cancel: one commit changes the state, then further commits move the import's unsent mails.

The state stops the worker at once. If the process dies before all mails are moved, `cleanup` continues.
"""

from dataclasses import dataclass

from shared.contract.correlation import current
from shared.contract.ids import UUID
from shared.contract.problems import NotFound
from shared.db.pool import Pool, Record

from ..errors import WrongState
from . import operator_action_queries as queries
from .queries import FIND_IMPORT
from .states import State, next_state, states_for

# Rows per statement: small enough for the statement timeout and for the relay beside it.
_BATCH_MAILS = 5000
_PAST_TENSE = {"pause": "paused", "resume": "resumed", "cancel": "canceled"}


@dataclass(frozen=True, slots=True)
class ImportAction:
    """An action requested by `actor`: `event` is `pause`, `resume` or `cancel`."""

    import_id: UUID
    client: str
    actor: str
    event: str


async def apply_action(pool: Pool, action: ImportAction, give_up_seconds: float) -> Record:
    """Apply the action and return the import afterwards. Committed on return.

    Raises:
        NotFound: the client has no import with this ID.
        WrongState: its state does not allow this; nothing was changed.
    """
    correlation = current()
    async with pool.acquire() as connection, connection.transaction():
        found = await connection.fetchrow(queries.LOCK_IMPORT, action.import_id, action.client)
        if found is None:
            raise NotFound("There is no import with this ID.")
        target = next_state(State(found["state"]), action.event, mails_left=found["mails_left"])
        if target is None:
            allowed = [str(state) for state in states_for(action.event)]
            if found["state"] == State.DONE and State.DONE in allowed:
                allowed[allowed.index(State.DONE)] = "done with mails left"
            raise WrongState("An import", _PAST_TENSE[action.event], found["state"], allowed)
        await connection.execute(
            queries.MOVE,
            *(action.import_id, target, f"import.{_PAST_TENSE[action.event]}", action.actor),
            *((correlation.request_id, correlation.traceparent) if correlation else (None, None)),
        )
    while await move_mails(pool, action.import_id, give_up_seconds):
        pass
    after = await pool.fetchrow(FIND_IMPORT, action.import_id, action.client)
    assert after is not None
    return after


async def move_mails(pool: Pool, import_id: UUID, give_up_seconds: float) -> int:
    """Move up to a batch of an import's mails to match its state. Returns the number moved; 0 when all match."""
    held: int = await pool.fetchval(queries.HOLD_MAILS_IF_PAUSED, import_id, _BATCH_MAILS)
    released: int = await pool.fetchval(queries.RELEASE_MAILS_IF_RUNNING, import_id, _BATCH_MAILS, give_up_seconds)
    canceled: int = await pool.fetchval(queries.CANCEL_MAILS_IF_CANCELED, import_id, _BATCH_MAILS)
    return held + released + canceled
