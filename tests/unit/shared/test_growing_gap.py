"""A gap costs nothing while there is little to do, and grows while one follows another all the time."""

import pytest

from shared.worker.growing_gap import LONGEST_SECONDS, SHORTEST_SECONDS, GrowingGap


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def gap(now: list[float]) -> GrowingGap:
    return GrowingGap(clock=lambda: now[0])


async def test_it_doubles_while_one_follows_another_up_to_the_longest(gap: GrowingGap) -> None:
    seen = []
    for _ in range(6):
        await gap.leave()
        seen.append(gap.seconds)
    expected = [SHORTEST_SECONDS * factor for factor in (1, 2, 4)]
    assert seen == [*expected, LONGEST_SECONDS, LONGEST_SECONDS, LONGEST_SECONDS]


async def test_who_comes_later_than_the_gap_begins_with_the_shortest(gap: GrowingGap, now: list[float]) -> None:
    for _ in range(3):
        await gap.leave()
    assert gap.seconds > SHORTEST_SECONDS
    now[0] += gap.seconds
    await gap.leave()
    assert gap.seconds == SHORTEST_SECONDS


async def test_rows_that_wait_already_cut_it_short(gap: GrowingGap, now: list[float]) -> None:
    while gap.seconds < LONGEST_SECONDS:
        await gap.leave()
    now[0] += SHORTEST_SECONDS
    # A pause would begin with a sleep, which this loop would have to finish.
    step = gap.leave(grow=False)
    with pytest.raises(StopIteration):
        step.send(None)
    assert gap.seconds == SHORTEST_SECONDS
    await gap.leave(grow=False)
    assert gap.seconds == SHORTEST_SECONDS


async def test_a_gap_of_none_stays_none() -> None:
    gap = GrowingGap(0)
    for _ in range(3):
        await gap.leave()
    assert gap.seconds == 0
