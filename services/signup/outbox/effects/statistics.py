"""The effect `stats`: how many people signed up and were verified on each day.

It takes place in the statement that settles its rows, so a crash between the two is not possible, and a row that
somebody puts back into the outbox is not counted again.
"""

from collections.abc import Sequence
from typing import ClassVar

from shared.contract.ids import UUID

from .. import queries
from ..events import Event
from ..retry_policy import ClaimedRow, Done, Outcome


class StatsEffect:
    """Nothing is called: the counting is SQL."""

    name = "stats"
    # Signing up again is not counted, but is as much work as the first time: an answer's time must not tell which.
    owed_for: ClassVar = frozenset({Event.SIGNED_UP, Event.SIGNED_UP_AGAIN, Event.IMPORTED, Event.VERIFIED})
    settle_delivered = queries.SETTLE_COUNTED_IF_LEASED

    async def perform(self, entries: Sequence[ClaimedRow]) -> dict[UUID, Outcome]:
        return {entry.id: Done({}) for entry in entries}

    async def close(self) -> None:
        """Holds nothing."""
