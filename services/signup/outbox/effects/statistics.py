"""The effect `stats`: counts signups and verifications per day.

The statement that settles its rows does the counting, so no crash comes between the two. A row that is put back into
the outbox is not counted again. Rows wait for each other for up to a second, and share a batch.
"""

from collections.abc import Sequence
from typing import ClassVar

from shared.contract.ids import UUID

from .. import queries
from ..events import Event
from ..retry_policy import ClaimedRow, Done, Outcome


class StatsEffect:
    """Calls no peer: the counting is SQL."""

    name = "stats"
    # A repeated signup is not counted, but is as much work as the first: response times must not reveal which it was.
    owed_for: ClassVar = frozenset({Event.SIGNED_UP, Event.SIGNED_UP_AGAIN, Event.IMPORTED, Event.VERIFIED})
    settle_delivered = queries.SETTLE_COUNTED_IF_LEASED
    # Each batch adds to the same row, and behind a held snapshot it reads all versions of that row.
    rest_seconds = 1.0

    async def perform(self, entries: Sequence[ClaimedRow]) -> dict[UUID, Outcome]:
        return {entry.id: Done({}) for entry in entries}

    async def close(self) -> None:
        """Nothing to close."""
