"""Claim mails from the queue: one statement sets the lease, numbers the attempt and returns all that sending needs."""

import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson

from shared.db.pool import Pool, Record
from shared.worker.claim_floor import ClaimFloor

from . import queries
from .deduplication import KeyUse, open_question, read_key_uses
from .message import Content
from .retry_policy import MailSnapshot

# Share of each claim. What the bulk lane does not use goes to the live lane.
BULK_SHARE = 0.2
# No row is due then, so a claim that looks from here on finds none.
_NEVER = datetime.max.replace(tzinfo=UTC)


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
    lane: str
    attached_bytes: int
    resends: int
    # What gateways that deduplicate know of it already.
    key_uses: tuple[KeyUse, ...]

    def now(self) -> datetime:
        """The database's time, estimated from this process's clock."""
        return self.claimed_at + timedelta(seconds=time.monotonic() - self.claimed_monotonic)


@dataclass(frozen=True, slots=True)
class Claim:
    mails: list[ClaimedMail]
    closed: list[str]  # states of mails that left the queue unsent: expired, suppressed, …
    full: bool


@dataclass(slots=True)
class LaneFloors:
    """Where the claims of one process begin to look, by lane (ADR 0026)."""

    live: ClaimFloor = field(default_factory=ClaimFloor)
    bulk: ClaimFloor = field(default_factory=ClaimFloor)

    def begin(self, now: float, *, bulk: bool = True) -> tuple[datetime, datetime]:
        return self.live.begin(now), self.bulk.begin(now) if bulk else _NEVER

    def advance(self, found: Record, wanted: int, for_bulk: int, *, bulk: bool = True) -> None:
        """After a claim of up to `wanted` mails, of which up to `for_bulk` were kept for the bulk lane."""
        for_rest = wanted - found["live_found"]
        _advance(self.live, found["now"], found["live_due_at"], full=found["live_found"] >= wanted - for_bulk)
        if bulk:
            _advance(self.bulk, found["now"], found["bulk_due_at"], full=found["bulk_found"] >= for_rest)

    def claimed_until(self) -> Mapping[str, str]:
        """For the heartbeat: before these times, no mail of the lane waits."""
        return {"live": self.live.claimed_until.isoformat(), "bulk": self.bulk.claimed_until.isoformat()}


def _advance(floor: ClaimFloor, claimed_at: datetime, last_due_at: datetime | None, *, full: bool) -> None:
    if full and last_due_at is None:
        return  # the other lane took every place: this one was not looked at
    floor.advance(claimed_at, last_due_at if full else None)


async def claim_due(
    pool: Pool, wanted: int, lease_seconds: float, floors: LaneFloors | None = None, *, bulk: bool = True
) -> Claim:
    """Claim up to `wanted` due mails, live ones first. Commits before it returns. Without `floors` it looks at all.

    Without `bulk`, only live ones.

    Mails that must not be sent (expired, suppressed, erased) leave the queue in the same commit.
    """
    floors = floors or LaneFloors()
    # Rounded at random, so that bulk mails get their share even when mails are claimed one at a time.
    for_bulk = math.floor(wanted * BULK_SHARE + random.random()) if bulk else 0  # noqa: S311 - no secret
    monotonic = time.monotonic()
    rows = await pool.fetch(queries.CLAIM_DUE, wanted, for_bulk, lease_seconds, *floors.begin(monotonic, bulk=bulk))
    floors.advance(rows[0], wanted, for_bulk, bulk=bulk)
    monotonic = time.monotonic()
    found = rows[0]["live_found"] + rows[0]["bulk_found"]
    mails = [_claimed(row, monotonic) for row in rows if row["lease"] is not None]
    closed = [row["next_state"] for row in rows if row["next_state"] not in (None, "sending")]
    # The places kept for bulk mails may stay empty: another transaction held those that were counted.
    full = found >= wanted or (for_bulk > 0 and rows[0]["live_found"] >= wanted - for_bulk)
    return Claim(mails, closed, full=full)


def snapshot_of(row: Record, key_uses: tuple[KeyUse, ...]) -> MailSnapshot:
    """From a row of the claim or of the rescue."""
    question = open_question(key_uses)
    return MailSnapshot(
        row["attempt"], row["attempts"], row["on_uncertain"], row["in_doubt"], row["expires_at"], question
    )


def _claimed(row: Record, monotonic: float) -> ClaimedMail:
    key_uses = read_key_uses(row["key_uses"])
    snapshot = snapshot_of(row, key_uses)
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
    return ClaimedMail(
        row["id"],
        row["lease"],
        snapshot,
        content,
        row["now"],
        monotonic,
        row["traceparent"],
        row["lane"],
        row["attached_bytes"] or 0,
        row["resends"],
        key_uses,
    )
