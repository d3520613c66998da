"""Cancel, retry, resolve: one guarded statement each, and an error that names the states that allow it."""

from collections.abc import Mapping
from typing import Any, Literal

import orjson

from shared.contract.ids import UUID
from shared.contract.principals import Principal
from shared.db.pool import Database

from ..delivery.states import MailState
from ..errors import ContentGone, WrongState
from ..ledger import listing
from . import queries

ALLOWED: Mapping[str, tuple[MailState, ...]] = {
    "cancel": (MailState.QUEUED, MailState.DEFERRED),
    "retry": (MailState.FAILED, MailState.EXPIRED, MailState.DEFERRED),
    "resolve": (MailState.UNCERTAIN,),
}

Resolution = Literal["sent", "resend", "abandon"]


async def cancel(database: Database, principal: Principal, mail_id: UUID) -> dict[str, Any]:
    """Returns the canceled mail. Committed. Raises NotFound or WrongState; then nothing has changed."""
    done = await database.pool.fetchval(
        queries.CANCEL_IF_WAITING, mail_id, listing.client_scope(principal), principal.actor
    )
    return await _answer(database, principal, mail_id, "cancel", done)


async def retry(database: Database, principal: Principal, mail_id: UUID, lifetime_seconds: float) -> dict[str, Any]:
    """Returns the mail, due now: failed and expired mails are queued again, deferred ones moved forward. Committed.

    Raises:
        NotFound, WrongState, ContentGone: nothing has changed.
    """
    client = listing.client_scope(principal)
    done = await database.pool.fetchval(
        queries.RETRY_IF_GIVEN_UP, mail_id, client, principal.actor, lifetime_seconds
    ) or await database.pool.fetchval(queries.RETRY_NOW_IF_DEFERRED, mail_id, client, principal.actor)
    return await _answer(database, principal, mail_id, "retry", done)


async def resolve(
    database: Database,
    principal: Principal,
    mail_id: UUID,
    *,
    resolution: Resolution,
    reason: str,
    lifetime_seconds: float,
) -> dict[str, Any]:
    """Returns the uncertain mail as the operator resolved it. Committed, with the reason in history.

    Raises:
        NotFound, WrongState, ContentGone: nothing has changed.
    """
    note = orjson.dumps({"as": resolution, "reason": reason}).decode()
    client = listing.client_scope(principal)
    if resolution == "resend":
        done = await database.pool.fetchval(
            queries.RESEND_IF_UNCERTAIN, mail_id, client, principal.actor, lifetime_seconds, note
        )
    else:
        state = MailState.SENT if resolution == "sent" else MailState.CANCELED
        done = await database.pool.fetchval(queries.RESOLVE_IF_UNCERTAIN, mail_id, client, principal.actor, state, note)
    return await _answer(database, principal, mail_id, "resolve", done)


async def _answer(
    database: Database, principal: Principal, mail_id: UUID, action: str, done: UUID | None
) -> dict[str, Any]:
    mail = await listing.find_mail(database, principal, mail_id)
    if done is None:
        if mail["state"] in ALLOWED[action] and mail["state"] != MailState.DEFERRED:
            raise ContentGone
        raise WrongState(action, mail["state"], ALLOWED[action])
    return mail
