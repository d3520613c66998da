"""Ingests a notice: finds its mail, decides the consequences, and writes both in one commit."""

import asyncio
import hashlib
from dataclasses import dataclass
from uuid import UUID

from shared.contract.principals import Principal
from shared.db.pool import Database

from ..delivery.smtp_outcomes import suppresses_address
from ..errors import StillSending
from ..ledger import listing
from . import queries
from .failure_words import spares_address
from .notice_parser import Kind, Notice, read

OUTCOMES = ("bounced", "delayed", "delivered", "complaint", "unmatched", "ignored")


@dataclass(frozen=True, slots=True)
class Ingested:
    """`outcome` is one of OUTCOMES. The first four do not depend on the mail's state."""

    outcome: str
    mail_id: UUID | None = None


async def ingest(
    database: Database, principal: Principal, raw: bytes, bounce_domain: str, suppression_days: int
) -> Ingested:
    """Ingest a message from the bounce mailbox. Committed; repeating a message changes nothing.

    Only mails that the caller may see are considered. A notice about another mail is `unmatched`. An address that a
    bounce suppresses is allowed again after `suppression_days` (0: never).

    Raises:
        StillSending: the mail is being sent; nothing has changed.
    """
    # In a thread: a notice of ten megabytes takes half a second, which would delay every other request.
    notice = await asyncio.to_thread(read, raw, bounce_domain)
    client = listing.client_scope(principal)
    digest = hashlib.sha256(raw).digest()
    row = await database.pool.fetchrow(
        queries.INGEST_IF_NEW,
        list(notice.mail_ids),
        list(notice.message_ids),
        client,
        digest,
        notice.kind,
        notice.status,
        notice.code,
        notice.diagnostic,
        reason_for(notice),
        suppresses_recipient(notice),
        principal.actor,
        suppression_days,
    ) or await database.pool.fetchrow(queries.FIND_SEEN_BEFORE, digest, client)
    if row is None:
        return Ingested("ignored" if notice.kind is Kind.OTHER else "unmatched")
    if row["outcome"] is None:
        raise StillSending
    return Ingested(row["outcome"], row["mail_id"])


def suppresses_recipient(notice: Notice) -> bool:
    """Whether the notice's recipient must not be mailed again."""
    if notice.kind is Kind.COMPLAINT:
        return True
    is_dead = notice.kind is Kind.FAILED and suppresses_address(notice.status)
    # Some servers answer 5.1.1 or 5.2.1 when a mailbox is full.
    return is_dead and not spares_address(notice.diagnostic)


def reason_for(notice: Notice) -> str:
    """Our own text, fit for history: it repeats nothing that the sender of the notice wrote."""
    if notice.kind is Kind.COMPLAINT:
        return f"the recipient complained ({notice.status})"
    code = notice.status or notice.code
    return f"{'bounced' if notice.kind is Kind.FAILED else notice.kind}{f' with {code}' if code else ''}"
