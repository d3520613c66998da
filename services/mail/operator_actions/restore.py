"""Writes back what a client's own ledger knows as sent, after this ledger was restored to an earlier time."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, Field

from shared.contract.addresses import key_of
from shared.contract.fields import Line, Recipient, RequestId, Spelled, Strict, TemplateName
from shared.contract.ids import uuid7_at
from shared.contract.principals import Principal
from shared.contract.timestamps import Timestamp
from shared.db.pool import Database

from . import queries


def _message_id(text: str) -> str:
    if not (text.startswith("<") and text.endswith(">") and text.isascii() and " " not in text):
        raise ValueError("Must be a Message-ID in angle brackets, like `<id@example.com>`")
    return text


class SentMail(Strict):
    """A mail that the client knows as sent."""

    request_id: RequestId
    """The request ID that it was requested with."""
    fingerprint: Annotated[str, Spelled("[0-9a-f]{64}", "Must be 64 hexadecimal digits in lower case (SHA-256)")]
    """The `fingerprint` that the mail service answered then."""
    to: Recipient
    """Its recipient."""
    template: TemplateName | None = None
    """Its template; null: none."""
    sent_at: Timestamp
    """When it was sent."""
    message_id: Annotated[Line, Field(min_length=3, max_length=250), AfterValidator(_message_id)]
    """Its Message-ID, with angle brackets."""
    even_if_known: bool = Field(
        default=False,
        description="Also correct a mail that this ledger has in another state, after a restore to an earlier time",
    )


async def restore(database: Database, principal: Principal, mails: Sequence[SentMail]) -> dict[str, Any]:
    """Returns which request IDs were written back or corrected, and which stayed. Committed; nothing is sent."""
    by_request_id = {mail.request_id: mail for mail in mails}
    restored = await _write(database, queries.RESTORE_UNKNOWN, principal, list(by_request_id.values()))
    to_correct = [mail for mail in by_request_id.values() if mail.even_if_known and mail.request_id not in restored]
    if to_correct:
        restored |= await _write(database, queries.CORRECT_IF_NOT_SENT, principal, to_correct)
    return {"restored": sorted(restored), "known": sorted(by_request_id.keys() - restored)}


async def _write(database: Database, query: str, principal: Principal, mails: Sequence[SentMail]) -> set[str]:
    rows = orjson.dumps([_row(mail) for mail in sorted(mails, key=lambda mail: mail.request_id)]).decode()
    written = await database.pool.fetch(query, principal.client, rows, principal.actor)
    return {row["request_id"] for row in written}


def _row(mail: SentMail) -> dict[str, Any]:
    return {
        # Lists find a mail by the time in its ID. A clock that runs ahead does not put it before all others for good.
        "id": uuid7_at(min(mail.sent_at, datetime.now(UTC))),
        "request_id": mail.request_id,
        "fingerprint": mail.fingerprint,
        "to_email": mail.to.email,
        "to_key": key_of(mail.to.email),
        "to_name": mail.to.name,
        "template": mail.template,
        "sent_at": mail.sent_at,
        "message_id": mail.message_id,
    }
