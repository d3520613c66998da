"""Receives a provider's call: verifies it, and applies each of its events like a notice from the bounce mailbox."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from shared.db.pool import Database
from shared.observability.logs import get_logger

from ..bounces.notice import Kind
from ..bounces.queries import FIND_SEEN_BEFORE, INGEST_IF_NEW
from ..errors import SendAgain, SignatureInvalid
from . import queries
from .event import Event, Reading, Subscription, Unreadable
from .source import Headers, Source

_log = get_logger(__name__)

# What happened to an event. The first six are those of a notice.
OUTCOMES = ("bounced", "delayed", "delivered", "complaint", "unmatched", "ignored", "unreadable", "confirmed")
# Calls that were refused, and events whose mail is still being sent: they are counted beside those.
REFUSED, STILL_SENDING = "refused", "still_sending"
COUNTED = (*OUTCOMES, REFUSED, STILL_SENDING)

# Longer than any provider's signature is valid (`mailgun.TOLERANCE`).
_TOKEN_KEPT = timedelta(hours=10)
# Mails whose events are applied at once: a part of the pool, so that a large batch leaves room for other calls.
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Result:
    """`outcome` is one of OUTCOMES."""

    outcome: str
    mail_id: UUID | None = None


async def receive(
    database: Database,
    source: Source,
    headers: Headers,
    raw: bytes,
    *,
    now: datetime,
    suppression_days: int,
    count: Callable[[str], None],
) -> list[Result]:
    """Apply a call's events, each in its own commit. Repeating a call changes nothing.

    Raises:
        SignatureInvalid: the call is not the provider's, or is an old one.
        SendAgain: an event's mail is still being sent. The other events of the call were applied.
    """
    try:
        once = await source.verify(headers, raw, now)
        if once is not None:
            await _check_token(database, once.token, once.body)
    except SignatureInvalid as error:
        count(REFUSED)
        _log.warning("provider_events_refused", provider=source.name, reason=error.detail)
        raise
    results = await _apply_all(database, source, source.read(raw), suppression_days)
    for result in results:
        count(STILL_SENDING if result is None else result.outcome)
    complete = [result for result in results if result is not None]
    if len(complete) < len(results):
        raise SendAgain("A mail that an event is about is still being sent. Send the call again.")
    return complete


async def _check_token(database: Database, token: bytes, body: bytes) -> None:
    first = await database.pool.fetchval(queries.REMEMBER_FIRST_BODY, token, body, _TOKEN_KEPT.total_seconds())
    if first != body:
        raise SignatureInvalid("This signature came with another body before.")


async def _apply_all(
    database: Database, source: Source, readings: Sequence[Reading], suppression_days: int
) -> list[Result | None]:
    """In the order given. Events about the same mail are applied one after the other."""
    results: list[Result | None] = [None] * len(readings)
    of_mail: defaultdict[object, list[int]] = defaultdict(list)
    for position, reading in enumerate(readings):
        of_mail[reading.mail_ids[:1] or position if isinstance(reading, Event) else position].append(position)
    turns = asyncio.Semaphore(_AT_ONCE)

    async def apply_in_order(positions: Sequence[int]) -> None:
        async with turns:
            for position in positions:
                results[position] = await _apply(database, source, readings[position], suppression_days)

    # What can be applied is applied, whatever happens to the others.
    ended = await asyncio.gather(*map(apply_in_order, of_mail.values()), return_exceptions=True)
    for error in ended:
        if error is not None:
            raise error
    return results


async def _apply(database: Database, source: Source, reading: Reading, suppression_days: int) -> Result | None:
    match reading:
        case Unreadable():
            _log.warning("provider_event_unreadable", provider=source.name, reason=reading.reason)
            return Result("unreadable")
        case Subscription():
            assert source.confirm is not None
            await source.confirm(reading.url)
            _log.info("provider_subscription_confirmed", provider=source.name)
            return Result("confirmed")
        case Event(kind=Kind.OTHER):
            return Result("ignored")
        case Event():
            return await _ingest(database, source.name, reading, suppression_days)


async def _ingest(database: Database, provider: str, event: Event, suppression_days: int) -> Result | None:
    """Committed. None: the mail is still being sent, and nothing was stored."""
    digest = digest_of(provider, event.event_id)
    row = await database.pool.fetchrow(
        INGEST_IF_NEW,
        list(event.mail_ids),
        list(event.message_ids),
        None,
        digest,
        event.kind,
        event.status,
        event.code,
        event.diagnostic,
        reason_for(provider, event),
        event.suppresses,
        f"provider:{provider}",
        suppression_days,
    ) or await database.pool.fetchrow(FIND_SEEN_BEFORE, digest, None)
    if row is None:
        return Result("unmatched")
    return None if row["outcome"] is None else Result(row["outcome"], row["mail_id"])


def digest_of(provider: str, event_id: str) -> bytes:
    """What makes the same event the same. No message from a mailbox has such a digest."""
    return sha256(f"provider event\0{provider}\0{event_id}".encode("utf-8", "replace")).digest()


def reason_for(provider: str, event: Event) -> str:
    """Our own text, fit for history: it repeats nothing that the provider wrote but codes."""
    if event.kind is Kind.COMPLAINT:
        return f"the recipient complained ({provider})"
    if event.kind is Kind.FAILED and not event.was_tried:
        return f"not sent on by {provider}"
    code = event.status or event.code
    return f"{'bounced' if event.kind is Kind.FAILED else event.kind}{f' with {code}' if code else ''}"
