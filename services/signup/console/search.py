"""Finds a person, a mail or what one request caused, by anything that identifies them. Each search has an index, or a
limit that the page tells.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.contract.addresses import address_key
from shared.contract.ids import UUID, lowest_uuid7
from shared.db.pool import Connection, Record

from . import queries
from .forms import as_uuid
from .mail_api import MailRefusedError
from .visit import Visit

# Measured with a million people: about half of what a page may cost.
PEOPLE_LOOKED_AT = 10_000
_CORRELATED_FOR = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_FOUND, _VERSION_7 = 404, 7
_MESSAGE_ID = re.compile(r"<?([^<>@\s]+@[^<>@\s]+)>?")


@dataclass(frozen=True)
class Found:
    """`exact`: the one person that the text names without doubt. `next_id`: where the search for a name goes on."""

    people: Sequence[Record] = ()
    mails: Sequence[dict[str, Any]] = ()
    entries: Sequence[Record] = ()
    exact: UUID | None = None
    next_id: UUID | None = None
    by_name: bool = False
    fault: str = ""
    searched: Sequence[str] = field(default=())


async def find(visit: Visit, text: str, below: UUID | None) -> Found:
    """What this text may mean: an address, a name, or an ID of any kind."""
    if (asked := as_uuid(text)) is not None:
        return await _by_uuid(visit, asked)
    message_id = _MESSAGE_ID.fullmatch(text)
    if message_id and ("<" in text or as_uuid(message_id[1].partition("@")[0])):
        return await _by_message_id(visit, f"<{message_id[1]}>")
    if "@" in text:
        return await _by_address(visit, text)
    return await _by_name_or_foreign_id(visit, text, below)


async def _by_address(visit: Visit, text: str) -> Found:
    try:
        key = address_key(text)
    except ValueError:
        return Found(searched=["addresses: this is none"])
    async with visit.reading() as connection:
        people = await connection.fetch(queries.FIND_PEOPLE_BY_ADDRESS, key)
    if people:
        return Found(people, exact=people[0]["id"])
    mails, fault = await _mails(visit, {"to": text})
    return Found(mails=mails, fault=fault, searched=["people by address", "mails by address"])


async def _by_uuid(visit: Visit, asked: UUID) -> Found:
    async with visit.reading() as connection:
        people = await connection.fetch(queries.FIND_PEOPLE_BY_ID, asked)
        if people:
            return Found(people, exact=asked)
        owed = await connection.fetchrow(queries.FIND_OWED, asked)
        if owed and owed["user_id"]:
            return Found(exact=owed["user_id"])
        entries = await _correlated(connection, str(asked))
    mails, fault = await _one_mail(visit, asked)
    if not mails and not fault:
        mails, fault = await _mails(visit, {"request_id": str(asked)})
    searched = ["people by ID", "request IDs", "mails by ID and request ID", "correlation IDs of that time"]
    return Found(mails=mails, entries=entries, exact=await _owner(visit, mails), fault=fault, searched=searched)


async def _by_message_id(visit: Visit, message_id: str) -> Found:
    mails, fault = await _mails(visit, {"message_id": message_id})
    return Found(mails=mails, exact=await _owner(visit, mails), fault=fault, searched=["mails by Message-ID"])


async def _by_name_or_foreign_id(visit: Visit, text: str, below: UUID | None) -> Found:
    like = f"%{as_like(text)}%"
    async with visit.reading() as connection:
        rows = await connection.fetch(queries.FIND_PEOPLE_BY_NAME, like, below, PEOPLE_LOOKED_AT)
        known_elsewhere = await connection.fetch(queries.FIND_PEOPLE_BY_EXTERNAL_ID, text)
        entries = [] if " " in text or below else await _correlated(connection, text)
    people = [*known_elsewhere, *(row for row in rows if row["id"] is not None)]
    mails, fault = ([], "") if below else await _mails(visit, {"request_id": text})
    return Found(
        people,
        mails,
        entries,
        next_id=rows[0]["next_id"],
        by_name=True,
        fault=fault,
        searched=["names", "external IDs", "request IDs of mails", "correlation IDs among the newest entries"],
    )


def as_like(text: str) -> str:
    """A pattern of SQL LIKE that matches this text and nothing else."""
    return re.sub(r"([%_\\])", r"\\\1", text)


def made_at(text: str) -> datetime | None:
    """When this UUIDv7 was made; None of other text, and of one that no clock made."""
    asked = as_uuid(text)
    if asked is None or asked.version != _VERSION_7:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=asked.int >> 80)
    except OverflowError:
        return None


async def _correlated(connection: Connection, text: str) -> list[Record]:
    at = made_at(text)
    if at is None or at > datetime.now(UTC) + _CORRELATED_FOR:
        return await connection.fetch(queries.FIND_CORRELATED_LATELY, text)
    # Clocks of machines differ a little.
    lowest = lowest_uuid7(at - timedelta(seconds=5))
    return await connection.fetch(queries.FIND_CORRELATED_SINCE, text, lowest, lowest_uuid7(at + _CORRELATED_FOR), at)


async def _one_mail(visit: Visit, mail_id: UUID) -> tuple[list[dict[str, Any]], str]:
    try:
        half = await visit.mail_half(f"/v1/mails/{mail_id}")
    except MailRefusedError as refusal:
        if refusal.status != _NOT_FOUND:
            raise
        return [], ""
    return [half.found] if half.found else [], half.fault


async def _mails(visit: Visit, params: dict[str, str]) -> tuple[list[dict[str, Any]], str]:
    if not (visit.mail_access.fault or visit.mail_access.may("mails:read")):
        return [], ""
    try:
        half = await visit.mail_half("/v1/mails", params={**params, "limit": "20"})
    except MailRefusedError:  # the text is none of what was asked for
        return [], ""
    return half.found["items"] if half.found else [], half.fault


async def _owner(visit: Visit, mails: Sequence[dict[str, Any]]) -> UUID | None:
    """The person of the one mail that was found, when signup asked for it."""
    asked = as_uuid(mails[0]["request_id"]) if len(mails) == 1 else None
    if asked is None:
        return None
    async with visit.reading() as connection:
        owed = await connection.fetchrow(queries.FIND_OWED, asked)
    return owed["user_id"] if owed else None
