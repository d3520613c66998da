"""Pause, resume and cancel: the state first, in a commit of its own, then the mails that are still here follow it.

The state stops the worker at once. Should the process die before all mails have followed, the sweep goes on with it.
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

# Rows in one statement: neither the relay nor the statement's timeout notices.
_MAILS_AT_ONCE = 5000
_DONE_TO_IT = {"pause": "paused", "resume": "resumed", "cancel": "canceled"}


@dataclass(frozen=True, slots=True)
class ImportAction:
    """Who wants what: `event` is `pause`, `resume` or `cancel`."""

    import_id: UUID
    client: str
    actor: str
    event: str


async def intervene(pool: Pool, action: ImportAction, give_up_seconds: float) -> Record:
    """The import afterwards. Committed when this returns.

    Raises:
        NotFound: the client has no such import.
        WrongState: its state does not allow this; nothing was changed.
    """
    here = current()
    async with pool.acquire() as connection, connection.transaction():
        found = await connection.fetchrow(queries.LOCK_IMPORT, action.import_id, action.client)
        if found is None:
            raise NotFound("There is no such import.")
        target = next_state(State(found["state"]), action.event, mails_left=found["mails_left"])
        if target is None:
            allowed = [str(state) for state in states_for(action.event)]
            if found["state"] == State.DONE and State.DONE in allowed:
                allowed[allowed.index(State.DONE)] = "done with mails left"
            raise WrongState("An import", _DONE_TO_IT[action.event], found["state"], allowed)
        await connection.execute(
            queries.MOVE,
            *(action.import_id, target, f"import.{_DONE_TO_IT[action.event]}", action.actor),
            *((here.request_id, here.traceparent) if here else (None, None)),
        )
    while await move_mails(pool, action.import_id, give_up_seconds):
        pass
    after = await pool.fetchrow(FIND_IMPORT, action.import_id, action.client)
    assert after is not None
    return after


async def move_mails(pool: Pool, import_id: UUID, give_up_seconds: float) -> int:
    """How many mails of an import have followed its state just now, in commits of their own; 0 when all have."""
    held: int = await pool.fetchval(queries.HOLD_MAILS_IF_PAUSED, import_id, _MAILS_AT_ONCE)
    released: int = await pool.fetchval(queries.RELEASE_MAILS_IF_RUNNING, import_id, _MAILS_AT_ONCE, give_up_seconds)
    canceled: int = await pool.fetchval(queries.CANCEL_MAILS_IF_CANCELED, import_id, _MAILS_AT_ONCE)
    return held + released + canceled
