"""When overdue leases are abandoned, by the two clocks that a look reads."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from services.mail.delivery.overdue_leases import Key, OverdueLeases

GRACE, RENEWAL, EVERY = 2.5, 5.0, 2.5
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LOST: Key = (UUID(int=1), UUID(int=2))
OTHER: Key = (UUID(int=3), UUID(int=4))


class Looks:
    """Looks of one process, whose clock is `self.now`; the database's goes on with it and may step."""

    def __init__(self, *, since: float = 0.0) -> None:
        self.leases = OverdueLeases(GRACE, RENEWAL)
        self.now, self.stepped = since, 0.0

    def look(self, *overdue: Key, began: float | None = None) -> list[Key]:
        self.leases.begin(self.now if began is None else began)
        return self.leases.advance(overdue, NOON + timedelta(seconds=self.now + self.stepped), self.now)

    def fail(self) -> None:
        self.leases.begin(self.now)

    def until_abandoned(self, *, at_most: float = 60.0) -> float:
        """Look every `EVERY` seconds at a lease that stays overdue. Returns the seconds until it is abandoned."""
        began = self.now
        while not self.look(LOST):
            assert self.now - began < at_most
            self.now += EVERY
        return self.now - began


def steady(looks: int = 4) -> Looks:
    """A worker that has looked for a while, and found nothing overdue."""
    seen = Looks()
    for _ in range(looks):
        assert seen.look() == []
        seen.now += EVERY
    return seen


def test_a_lease_is_abandoned_once_it_has_been_overdue_for_the_grace() -> None:
    assert steady().until_abandoned() == GRACE


@pytest.mark.parametrize("seconds", [0.9, -0.9])
def test_a_clock_that_is_slewed_delays_nothing(seconds: float) -> None:
    looks = steady()
    looks.stepped += seconds
    assert looks.until_abandoned() == GRACE


@pytest.mark.parametrize("seconds", [1.5, 12.0, 3600.0, -1.5, -3600.0])
def test_after_a_step_workers_have_a_whole_renewal_and_the_grace(seconds: float) -> None:
    looks = steady()
    looks.stepped += seconds
    assert looks.until_abandoned() == RENEWAL + GRACE


def test_a_step_forgets_what_was_seen_before_it() -> None:
    looks = steady()
    assert looks.look(LOST) == []
    looks.now += EVERY
    looks.stepped += 60
    assert looks.until_abandoned() == RENEWAL + GRACE


def test_a_lease_that_becomes_overdue_soon_after_a_step_waits_as_long() -> None:
    looks = steady()
    looks.stepped += 14
    assert looks.look() == []
    looks.now += EVERY
    assert looks.until_abandoned() == RENEWAL + GRACE - EVERY


def test_each_step_starts_the_wait_again() -> None:
    looks = steady()
    for _ in range(5):
        looks.stepped += 60
        assert looks.look(LOST) == []
        looks.now += EVERY
    looks.stepped += 60
    assert looks.until_abandoned() == RENEWAL + GRACE


def test_a_step_while_the_database_is_away_is_seen_by_the_first_look_after_it() -> None:
    looks = steady()
    for _ in range(3):
        looks.fail()
        looks.now += EVERY
    looks.stepped += 60
    assert looks.until_abandoned() == RENEWAL + GRACE


def test_an_outage_without_a_step_starts_the_grace_again_and_no_more() -> None:
    looks = steady()
    looks.look(LOST)
    for _ in range(3):
        looks.now += EVERY
        looks.fail()
    assert looks.until_abandoned() == GRACE


def test_leases_that_are_overdue_when_a_worker_starts_wait_as_after_a_step() -> None:
    assert Looks(since=1_000.0).until_abandoned() == RENEWAL + GRACE


def test_a_statement_that_takes_long_is_no_step() -> None:
    looks = steady()
    began, looks.now = looks.now, looks.now + 20
    assert looks.look(LOST, began=began) == []
    looks.now += EVERY
    assert looks.look(LOST) == [LOST]


def test_a_lease_that_one_look_did_not_see_overdue_was_renewed() -> None:
    looks = steady()
    seen: Iterable[tuple[Key, ...]] = [(LOST, OTHER), (OTHER,), (LOST, OTHER)]
    assert [looks.look(*overdue) for overdue in seen] == [[], [], []]
    looks.now += EVERY
    assert looks.look(LOST, OTHER) == [LOST, OTHER]


def test_a_lease_that_was_taken_over_is_not_taken_over_again() -> None:
    looks = steady()
    looks.until_abandoned()
    looks.leases.forget([LOST])
    assert looks.look(LOST) == []
