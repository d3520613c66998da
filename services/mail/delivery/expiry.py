"""Close mails that expired while nothing could be claimed."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.db.pool import Pool, Record
from shared.worker.claim_floor import BEGINNING

from . import queries
from .claim import LaneFloors

_BATCH = 500
# Of each lane, in one run: 60,000 pages read, most for the mails' keys, however many wait.
WINDOW = 20_000


@dataclass(slots=True)
class _Place:
    """Where the next window of a lane begins: at `due_from`, behind as many mails due at that very time as `skip`."""

    due_from: datetime = BEGINNING
    skip: int = 0

    def begin(self, claimed_until: datetime) -> None:
        """Claims have left nothing waiting before `claimed_until`."""
        if self.due_from < claimed_until:
            self.due_from, self.skip = claimed_until, 0

    def advance(self, looked: Record | None, window: int) -> None:
        """Behind the window that was looked at; behind the last one lies the first."""
        if looked is None or looked["looked_at"] < window:
            self.due_from, self.skip = BEGINNING, 0
        elif looked["last_due_at"] == self.due_from:
            self.skip += window
        else:
            self.due_from, self.skip = looked["last_due_at"], looked["due_last"]


class Expiry:
    """A loop (`shared.worker.loops`): closes mails that expired while nothing could be claimed.

    A claim sends no expired mail: it closes those that it comes to. This loop is for those that no claim comes to, as
    while every breaker is open.

    Each run looks at the next `window` due mails of each lane. After the last window comes the first, which begins
    where the claims of this process do (`floors`). So a mail is looked at again after 1 + (due mails of its lane) //
    `window` runs, not counting runs that close something: another one follows them at once.
    """

    name = "expiry"

    def __init__(self, pool: Pool, floors: LaneFloors, window: int = WINDOW) -> None:
        self._pool = pool
        self._floors = floors
        self._window = window
        self._live, self._bulk = _Place(), _Place()
        self.closed: Counter[str] = Counter()

    async def run_once(self) -> bool:
        """Look at a window of each lane, and commit the end of up to 500 mails of each. True: there may be more."""
        live, bulk = self._live, self._bulk
        live.begin(self._floors.live.claimed_until)
        bulk.begin(self._floors.bulk.claimed_until)
        rows = await self._pool.fetch(
            queries.FIND_EXPIRED, _BATCH, live.due_from, bulk.due_from, live.skip, bulk.skip, self._window
        )
        looked = {row["lane"]: row for row in rows}
        closed = await self._close([mail_id for row in rows for mail_id in row["expired"]])
        for lane, place in (("live", live), ("bulk", bulk)):
            found = looked.get(lane)
            # What was closed has left the window, so others have moved up into it.
            if found is None or closed.isdisjoint(found["expired"]):
                place.advance(found, self._window)
        return bool(closed)

    async def _close(self, expired: list[UUID]) -> set[UUID]:
        if not expired:
            return set()
        closed = await self._pool.fetch(queries.CLOSE_IF_EXPIRED, expired)
        self.closed.update(row["next_state"] for row in closed)
        return {row["id"] for row in closed}
