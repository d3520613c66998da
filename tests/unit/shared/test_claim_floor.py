"""No row waits longer than the bound, whenever it was committed and for whatever time it asked."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.worker.claim_floor import BEGINNING, FULL_EVERY_SECONDS, ClaimFloor

START = datetime(2026, 1, 1, tzinfo=UTC)
BETWEEN_CLAIMS = st.floats(0.25, 3.0)
SECONDS = st.floats(0, 60, allow_nan=False)


@dataclass
class Row:
    """`committed` and `due` are seconds from the start. A row put back in time is due before it is committed."""

    committed: float
    due: float
    taken: bool = False


@given(
    rows=st.lists(st.builds(Row, SECONDS, SECONDS), max_size=30),
    gaps=st.lists(BETWEEN_CLAIMS, min_size=1, max_size=40),
    room=st.integers(1, 5),
    clock_error=st.floats(-1000, 1000),
)
def test_every_row_is_claimed_within_the_bound(
    rows: list[Row], gaps: list[float], room: int, clock_error: float
) -> None:
    floor, now, claims, behind = ClaimFloor(), 0.0, 0, 0.0
    while now < 120:
        begin = floor.begin(now + clock_error)
        waiting = sorted(
            (
                row
                for row in rows
                if not row.taken and row.committed <= now and row.due <= now and _at(row.due) >= begin
            ),
            key=lambda row: row.due,
        )
        taken = waiting[:room]
        for row in taken:
            row.taken = True
        floor.advance(_at(now), _at(taken[-1].due) if len(taken) == room else None)
        # A full claim is followed by another at once; the bound is about rows that a claim does not see.
        if len(taken) == room:
            continue
        # A full look that took all its room ends where it filled up; the next ones go on from there.
        behind = max(
            [now - max(row.committed, row.due) for row in rows if not row.taken and max(row.committed, row.due) <= now],
            default=0.0,
        )
        assert behind <= FULL_EVERY_SECONDS + max(gaps), f"a row has waited {behind} s"
        now += gaps[claims % len(gaps)]
        claims += 1
    assert all(row.taken for row in rows)


def test_a_claim_that_fails_leaves_its_full_look_to_the_next() -> None:
    floor = ClaimFloor()
    floor.begin(0.0)
    floor.advance(START, None)
    assert floor.begin(FULL_EVERY_SECONDS) == floor.begin(FULL_EVERY_SECONDS + 0.1) == BEGINNING


def test_after_a_restart_the_first_look_begins_at_the_oldest_row() -> None:
    assert ClaimFloor().begin(0.0) == BEGINNING


@pytest.mark.promise("P8")
def test_a_look_overlaps_the_one_before_it_but_does_not_go_back_to_the_beginning() -> None:
    floor = ClaimFloor()
    floor.begin(0.0)
    floor.advance(START, None)
    assert START - timedelta(seconds=1) < floor.begin(0.1) < START
    assert START - timedelta(seconds=10) < floor.begin(1.2) < START - timedelta(seconds=1)
    assert floor.begin(FULL_EVERY_SECONDS) == BEGINNING


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)
