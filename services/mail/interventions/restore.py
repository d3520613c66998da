"""Writing back into the book what a client's own book knows to have been sent, after this one went back in time."""

from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, Field

from shared.addresses import key_of
from shared.auth import Principal
from shared.contract import Line, Recipient, RequestId, Strict
from shared.database import Database
from shared.ids import uuid7
from shared.moments import Moment

from . import queries


def _message_id(text: str) -> str:
    if not (text.startswith("<") and text.endswith(">") and text.isascii() and " " not in text):
        raise ValueError("Must be a Message-ID in angle brackets")
    return text


class SentMail(Strict):
    """A mail that the client knows to have been sent."""

    request_id: RequestId
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    to: Recipient
    template: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z0-9][a-z0-9_-]*$")] | None = None
    sent_at: Moment
    message_id: Annotated[Line, Field(min_length=3, max_length=250), AfterValidator(_message_id)]


async def restore(database: Database, principal: Principal, mails: Sequence[SentMail]) -> dict[str, Any]:
    """Which request IDs were written back, and which were known. Committed; nothing is sent."""
    rows = {mail.request_id: _row(mail) for mail in mails}
    written = await database.pool.fetch(
        queries.RESTORE_UNKNOWN,
        principal.client,
        orjson.dumps([rows[request_id] for request_id in sorted(rows)]).decode(),
        principal.actor,
    )
    restored = {row["request_id"] for row in written}
    return {"restored": sorted(restored), "known": sorted(rows.keys() - restored)}


def _row(mail: SentMail) -> dict[str, Any]:
    return {
        "id": uuid7(),
        "request_id": mail.request_id,
        "fingerprint": mail.fingerprint,
        "to_email": mail.to.email,
        "to_key": key_of(mail.to.email),
        "to_name": mail.to.name,
        "template": mail.template,
        "sent_at": mail.sent_at,
        "message_id": mail.message_id,
    }
