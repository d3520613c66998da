"""Erases users: one commit removes their personal data here and owes the effects that remove it elsewhere.

The ID, its history and the fact that the user existed remain. The address may sign up again at once.
"""

from collections.abc import Sequence

from shared.contract.correlation import current
from shared.contract.ids import UUID
from shared.db.pool import Connection, Pool, Record

from ..accounts.effect_policy import EffectPolicy
from ..imports.erase_pending_rows import exclude_rows_of, lock_open_imports
from . import queries

ERASED = "user.erased"


async def erase(pool: Pool, user_id: UUID, actor: str, policy: EffectPolicy) -> bool:
    """Returns whether the user exists or existed. Committed on return; erasing again changes nothing."""
    async with pool.acquire() as connection, connection.transaction():
        imports = await lock_open_imports(connection)
        users = await connection.fetch(queries.LOCK_UNLESS_ERASED, [user_id])
        if users:
            await exclude_rows_of(connection, imports, users[0])
            await erase_locked(connection, users, kind=ERASED, actor=actor, policy=policy)
            return True
        known: bool = await connection.fetchval(queries.USER_EXISTS, user_id)
        return known


async def erase_locked(
    connection: Connection, users: Sequence[Record], *, kind: str, actor: str, policy: EffectPolicy
) -> None:
    """Erase users (`id`, `email_key`) whose rows the caller's transaction has locked. `kind` is the history kind."""
    correlation = current()
    ids = [user["id"] for user in users]
    canceled = await connection.fetch(queries.CANCEL_MAILS_OF_USERS, ids, actor)
    leased_until = {row["user_id"]: row["leased_until"] for row in canceled}
    await connection.execute(
        queries.ERASE_LOCKED,
        ids,
        [leased_until.get(user_id) for user_id in ids],
        policy.give_up_seconds,
        kind,
        actor,
        correlation.request_id if correlation else None,
        correlation.traceparent if correlation else None,
        *policy.owed,
    )
    await connection.execute(queries.ERASE_PAYLOADS, ids)
    await connection.execute(queries.ERASE_STORED_ANSWERS, ids)
    await connection.execute(queries.ERASE_IMPORT_ROWS, ids, [user["email_key"] for user in users])
