"""Erasing a person: what is personal is gone here in one commit, and what others hold of them is owed as effects.

What stays is an ID, its history and the fact that there was somebody. The address may sign up again at once.
"""

from collections.abc import Sequence

from shared.contract.correlation import current
from shared.contract.ids import UUID
from shared.db.pool import Connection, Pool, Record

from ..imports.erase_pending_rows import forget_waiting_lines, lock_open_imports
from . import erase_queries as queries
from .effect_policy import EffectPolicy

ERASED = "user.erased"


async def erase(pool: Pool, user_id: UUID, actor: str, policy: EffectPolicy) -> bool:
    """Whether there is, or was, such a user. Committed when this returns; erasing again changes nothing."""
    async with pool.acquire() as connection, connection.transaction():
        imports = await lock_open_imports(connection)
        people = await connection.fetch(queries.LOCK_UNLESS_ERASED, [user_id])
        if people:
            await forget_waiting_lines(connection, imports, people[0])
            await erase_locked(connection, people, kind=ERASED, actor=actor, policy=policy)
            return True
        known: bool = await connection.fetchval(queries.USER_EXISTS, user_id)
        return known


async def erase_locked(
    connection: Connection, people: Sequence[Record], *, kind: str, actor: str, policy: EffectPolicy
) -> None:
    """Erase users (`id`, `email_key`) whose rows the caller's transaction has locked. `kind` is what history says."""
    here = current()
    ids = [person["id"] for person in people]
    canceled = await connection.fetch(queries.CANCEL_MAILS_OF_USERS, ids, actor)
    leased_until = {row["user_id"]: row["leased_until"] for row in canceled}
    await connection.execute(
        queries.ERASE_LOCKED,
        ids,
        [leased_until.get(user_id) for user_id in ids],
        policy.give_up_seconds,
        kind,
        actor,
        here.request_id if here else None,
        here.traceparent if here else None,
        *policy.owed,
    )
    await connection.execute(queries.ERASE_PAYLOADS, ids)
    await connection.execute(queries.ERASE_FIRST_ANSWERS, ids)
    await connection.execute(queries.ERASE_IMPORTED_LINES, ids, [person["email_key"] for person in people])
