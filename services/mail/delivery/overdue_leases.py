"""Which overdue leases are abandoned: their worker had time to renew them and did not. Pure; times are arguments.

A lease is overdue by the database's clock, and its worker renews it by a clock of its own. So when the database's clock
steps forward (a failover to a server with another clock, a machine that was paused), every lease may be overdue
although its worker lives and no statement fails.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

# A mail and the lease on it.
Key = tuple[UUID, UUID]

# More than clocks drift, or are slewed, between two looks; less than a lease has left when it is renewed.
STEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Look:
    """The database's clock said `looked_at` at some time from `began` to `ended` of the local, monotonic clock."""

    began: float
    ended: float
    looked_at: datetime

    def is_in_step_with(self, last: "_Look") -> bool:
        """Whether both clocks have gone on alike since `last`. A slow statement alone does not deny it."""
        passed = (self.looked_at - last.looked_at).total_seconds()
        return self.began - last.ended - STEP_SECONDS <= passed <= self.ended - last.began + STEP_SECONDS


class OverdueLeases:
    """What the looks of one process have seen. `now` is the local, monotonic clock.

    A lease is abandoned when two looks at least `grace_seconds` apart have seen it overdue, and all looks between them.
    After an outage the grace lets workers renew first: they retry within 2 s. After a step no renewal fails, so none is
    retried: no lease is abandoned before workers had a whole interval between two renewals (`renewal_seconds`) and the
    grace. The first look after a start has none to compare with, so the clock may just have stepped: the same holds.
    """

    def __init__(self, grace_seconds: float, renewal_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._renewal_seconds = renewal_seconds
        # When each was first seen overdue.
        self._seen: dict[Key, float] = {}
        self._seen_before: dict[Key, float] = {}
        self._began = -math.inf
        # Outlives looks that fail: the clock may step while the database is away.
        self._last: _Look | None = None
        self._none_before = -math.inf

    def begin(self, now: float) -> None:
        """A look begins. One that fails does not advance, so it forgets: the grace starts again after an outage."""
        self._began = now
        self._seen_before, self._seen = self._seen, {}

    def advance(self, overdue: Collection[Key], looked_at: datetime, now: float) -> list[Key]:
        """After a look that found `overdue` at `looked_at` of the database's clock. Returns the abandoned ones."""
        look, last = _Look(self._began, now, looked_at), self._last
        self._last = look
        if last is None or not look.is_in_step_with(last):
            self._seen_before = {}
            self._none_before = now + self._renewal_seconds + self._grace_seconds
        self._seen = {key: self._seen_before.get(key, now) for key in overdue}
        if now < self._none_before:
            return []
        return [
            key for key, first in self._seen.items() if now - first >= self._grace_seconds and key in self._seen_before
        ]

    def forget(self, keys: Collection[Key]) -> None:
        """They were taken over, or renewed after all."""
        for key in keys:
            self._seen.pop(key, None)
