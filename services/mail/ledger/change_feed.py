"""The change feed: every state change of every mail, in commit-safe order.

Transactions commit in another order than they begin, so neither a time nor a sequence is safe to resume from. The
migration explains what is.
"""

import base64
import binascii
import struct
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from shared.contract.ids import UUID
from shared.contract.problems import InvalidRequest
from shared.db.pool import Database, Pool, Record

from ..errors import CursorLost
from . import queries

_CURSOR = struct.Struct(">Q16s")
_BEGINNING = (0, UUID(int=0))
# Any number of changes of other clients may lie between two of one client. A statement looks at so many entries, and a
# page is not searched for longer than so many seconds: clients wait 10 s for an answer.
_LOOKED_AT = 100_000
_LOOKING_SECONDS = 3.0
_NOT_ANSWERED = ("cursor_is_known", "position", "more", "detail")
# The services' own transactions take milliseconds, their longest (a batch of an import) a second or two.
LATE_SECONDS = 10.0


def cursor_of(position: int, entry_id: UUID) -> str:
    return base64.urlsafe_b64encode(_CURSOR.pack(position, entry_id.bytes)).decode()


def read_cursor(text: str | None) -> tuple[int, UUID]:
    """Raises InvalidRequest for a cursor that this feed did not issue. None is the beginning."""
    if text is None:
        return _BEGINNING
    try:
        position, entry_id = _CURSOR.unpack(base64.urlsafe_b64decode(text))
    except (ValueError, binascii.Error, struct.error):
        detail = "Not a cursor of this feed"
        raise InvalidRequest(detail, errors=[{"parameter": "after", "detail": detail}]) from None
    if position >= 1 << 63:
        detail = "Not a cursor of this feed"
        raise InvalidRequest(detail, errors=[{"parameter": "after", "detail": detail}])
    return position, UUID(bytes=entry_id)


async def changes(
    database: Database,
    client: str | None,
    after: str | None,
    limit: int,
    *,
    looked_at: int = _LOOKED_AT,
    looking_seconds: float = _LOOKING_SECONDS,
) -> dict[str, Any]:
    """Up to `limit` changes after the cursor, the cursor of the last entry it looked at, and whether more follow.

    It looks at `looked_at` entries of all clients, and at as many again while the page is not full, until
    `looking_seconds` have passed.

    Raises:
        InvalidRequest: this feed did not issue the cursor.
        CursorLost: a restore of the ledger to an earlier time, or retention, removed the entry that it names.
    """
    cursor = read_cursor(after)
    items: list[dict[str, Any]] = []
    more, ends_at = True, time.monotonic() + looking_seconds
    async with database.pool.acquire() as connection, connection.transaction(readonly=True):
        await connection.execute(queries.WALK_IN_ORDER)
        while more:
            rows = await connection.fetch(
                queries.CHANGES_IN_COMMIT_SAFE_ORDER, *cursor, client, limit - len(items), looked_at
            )
            if cursor != _BEGINNING and not rows[0]["cursor_is_known"]:
                raise CursorLost
            items += [_change(row) for row in rows if row["mail_id"] is not None]
            last = rows[-1]
            if last["id"] is not None:
                cursor = last["position"], last["id"]
            more = bool(last["more"])
            if len(items) == limit or time.monotonic() >= ends_at:
                break
    return {"items": items, "next_cursor": cursor_of(*cursor), "more": more}


def _change(row: Record) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name not in _NOT_ANSWERED}
    return {**shown, "detail": orjson.Fragment(row["detail"])}


@dataclass(frozen=True, slots=True)
class Holder:
    """The oldest transaction that is still writing, in any database of the server: the feed stops before it."""

    # None for a prepared transaction, which belongs to no process.
    pid: int | None
    database: str | None
    # None when this service may not see it.
    since: datetime | None
    seconds: float | None

    def __str__(self) -> str:
        who = "the prepared transaction" if self.pid is None else f"the transaction of process {self.pid}"
        since = f", open since {self.since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if self.since else ""
        return f"{who} in database {self.database}{since}"


@dataclass(frozen=True, slots=True)
class FeedLag:
    """`seconds` is the age of the oldest change that the feed does not show yet; 0 when it shows all."""

    seconds: float
    holder: Holder | None

    @property
    def is_late(self) -> bool:
        """Also while nothing has changed yet: what changes next will not be shown."""
        held_seconds = self.holder.seconds if self.holder else None
        return max(self.seconds, held_seconds or 0) >= LATE_SECONDS


async def read_lag(pool: Pool) -> FeedLag:
    row = await pool.fetchrow(queries.FEED_LAG)
    assert row is not None
    is_held = row["pid"] is not None or row["database"] is not None
    holder = Holder(row["pid"], row["database"], row["since"], row["held_seconds"]) if is_held else None
    return FeedLag(row["seconds"], holder)
