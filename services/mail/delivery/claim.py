"""Claim mails from the queue: one statement sets the lease, numbers the attempt and returns all that sending needs."""

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

# Share of each claim. What the bulk lane does not use goes to the live lane.
BULK_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class ClaimedMail:
    """A mail that this worker holds while it renews the lease."""

    mail_id: UUID
    lease: UUID
    snapshot: MailSnapshot
    content: Content
    # The database's clock and this process's monotonic clock, read together.
    claimed_at: datetime
    claimed_monotonic: float
    traceparent: str | None

    def now(self) -> datetime:
        """The database's time, estimated from this process's clock."""
        return self.claimed_at + timedelta(seconds=time.monotonic() - self.claimed_monotonic)


@dataclass(frozen=True, slots=True)
class Claim:
    mails: list[ClaimedMail]
    closed: list[str]  # states of mails that left the queue unsent: expired, suppressed, …
    full: bool


async def claim_due(pool: Pool, wanted: int, lease_seconds: float) -> Claim:
    """Claim up to `wanted` due mails, live ones first. Commits before it returns.

    Mails that must not be sent (expired, suppressed, erased) leave the queue in the same commit.
    """
    # Rounded at random, so that bulk mails get their share even when mails are claimed one at a time.
    for_bulk = math.floor(wanted * BULK_SHARE + random.random())  # noqa: S311 - no secret
    rows = await pool.fetch(queries.CLAIM_DUE, wanted, for_bulk, lease_seconds)
    monotonic = time.monotonic()
    mails = [_claimed(row, monotonic) for row in rows if row["lease"] is not None]
    closed = [row["next_state"] for row in rows if row["lease"] is None]
    return Claim(mails, closed, full=len(rows) >= wanted)


def _claimed(row: Record, monotonic: float) -> ClaimedMail:
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
    return ClaimedMail(row["id"], row["lease"], snapshot, content, row["now"], monotonic, row["traceparent"])
