"""Taking mails from the queue: one statement gives the lease, the attempt and everything that sending needs."""

import math
import random
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import orjson

from shared.db.pool import Pool, Record

from . import queries
from .message import Content
from .retry_policy import MailSnapshot

# Of each claim; what the bulk lane does not need goes to the live one.
BULK_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class ClaimedMail:
    """A mail that is this worker's for as long as its lease is renewed."""

    mail_id: UUID
    lease: UUID
    snapshot: MailSnapshot
    content: Content
    # The database's clock, and this process' own at the same moment.
    claimed_at: datetime
    claimed_monotonic: float
    traceparent: str | None

    def now(self) -> datetime:
        """The database's time, as far as this process can tell."""
        return self.claimed_at + timedelta(seconds=time.monotonic() - self.claimed_monotonic)


@dataclass(frozen=True, slots=True)
class Claim:
    mails: list[ClaimedMail]
    closed: list[str]  # states of mails that left the queue instead: expired, suppressed, …
    full: bool


async def claim_due(pool: Pool, wanted: int, lease_seconds: float) -> Claim:
    """Claim up to `wanted` due mails, live ones first. Committed when it returns.

    Mails that must not be sent any more (expired, suppressed, erased) leave the queue in the same commit.
    """
    # Rounded by lot, so that bulk mails have their turn even when one is claimed at a time.
    for_bulk = math.floor(wanted * BULK_SHARE + random.random())  # noqa: S311 - no secret
    rows = await pool.fetch(queries.CLAIM_DUE, wanted, for_bulk, lease_seconds)
    here = time.monotonic()
    mails = [_claimed(row, here) for row in rows if row["lease"] is not None]
    closed = [row["becomes"] for row in rows if row["lease"] is None]
    return Claim(mails, closed, full=len(rows) >= wanted)


def _claimed(row: Record, here: float) -> ClaimedMail:
    snapshot = MailSnapshot(row["attempt"], row["attempts"], row["on_uncertain"], row["in_doubt"], row["expires_at"])
    content = Content(
        row["id"],
        row["message_id"],
        row["accepted_at"],
        row["to_email"],
        row["to_name"],
        row["sender_email"],
        row["sender_name"],
        row["reply_to_email"],
        row["reply_to_name"],
        row["subject"],
        row["text"],
        row["html"],
        orjson.loads(row["headers"]),
    )
    return ClaimedMail(row["id"], row["lease"], snapshot, content, row["now"], here, row["traceparent"])
