"""Where a claim begins to look: behind the rows that are known to be claimed. Pure; times are the database's.

Dead index entries that vacuum may not remove yet, because a snapshot is held, lie before the floor. So a claim
reads what is new, however many rows came before (ADR 0026).

What could be missed lies before the floor: a row whose transaction was long under way, or that was put back in time.
Three looks find it. The narrow one overlaps the claim before it a little; the wide one, once a second, overlaps more;
the full one, at the start and every half minute, begins at the oldest row. So half a minute is the bound for any row
that no other transaction holds locked.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

BEGINNING = datetime.min.replace(tzinfo=UTC)
# Longer than a signup's statement takes between its `now()` and its commit.
NARROW_SECONDS = 0.05
WIDE_SECONDS, WIDE_EVERY_SECONDS = 5.0, 1.0
FULL_EVERY_SECONDS = 30.0


@dataclass
class ClaimFloor:
    """Of one effect or lane. `looked_*` are times of the local clock, all others the database's."""

    claimed_until: datetime = BEGINNING
    looked_full: float = field(default=float("-inf"))
    looked_wide: float = field(default=float("-inf"))
    _looking_full: float | None = None
    _looking_wide: float | None = None

    def begin(self, now: float) -> datetime:
        """The earliest `due_at` that the next claim must look at; `now` is the local, monotonic clock."""
        self._looking_full = self._looking_wide = None
        if now - self.looked_full >= FULL_EVERY_SECONDS or self.claimed_until == BEGINNING:
            self._looking_full = self._looking_wide = now
            return BEGINNING
        if now - self.looked_wide >= WIDE_EVERY_SECONDS:
            self._looking_wide = now
            return self.claimed_until - timedelta(seconds=WIDE_SECONDS)
        return self.claimed_until - timedelta(seconds=NARROW_SECONDS)

    def advance(self, claimed_at: datetime, last_due_at: datetime | None) -> None:
        """After a claim at `claimed_at`; one that failed leaves its look to the next, so it does not come here.

        `last_due_at` is that of the last row when there may be more, else None: a claim that left rows behind moves the
        floor to the last row it took, and the next one continues there.
        """
        self.claimed_until = claimed_at if last_due_at is None else last_due_at
        self.looked_full = self.looked_full if self._looking_full is None else self._looking_full
        self.looked_wide = self.looked_wide if self._looking_wide is None else self._looking_wide
