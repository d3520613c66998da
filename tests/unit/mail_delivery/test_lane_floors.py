"""A lane's floor moves to where the claim has looked, and no further."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.mail.delivery.claim import LaneFloors
from shared.worker.claim_floor import BEGINNING

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)


def found(*, live: int, bulk: int) -> Any:
    """What a claim says that it found; the last mail of each lane had been due for an hour."""
    return {
        "now": NOW,
        "live_found": live,
        "live_due_at": EARLIER if live else None,
        "bulk_found": bulk,
        "bulk_due_at": EARLIER if bulk else None,
    }


@pytest.mark.parametrize(
    ("live", "bulk", "live_until", "bulk_until"),
    [
        (0, 0, NOW, NOW),
        (3, 2, NOW, NOW),
        (8, 2, EARLIER, EARLIER),  # live had only the places that are not kept for bulk
        (10, 0, EARLIER, BEGINNING),  # bulk had no place: it was not looked at
        (8, 1, EARLIER, NOW),  # a mail of bulk was locked: live may have more all the same
        (0, 10, NOW, EARLIER),
    ],
)
def test_a_lane_that_may_have_more_stays_where_its_claim_ended(
    live: int, bulk: int, live_until: datetime, bulk_until: datetime
) -> None:
    floors = LaneFloors()
    floors.begin(0.0)
    floors.advance(found(live=live, bulk=bulk), wanted=10, for_bulk=2)
    assert floors.live.claimed_until == live_until
    assert floors.bulk.claimed_until == bulk_until


def test_a_lane_without_places_looks_at_everything_next_time() -> None:
    floors = LaneFloors()
    floors.begin(0.0)
    floors.advance(found(live=10, bulk=0), wanted=10, for_bulk=2)
    assert floors.begin(0.1)[1] == BEGINNING
