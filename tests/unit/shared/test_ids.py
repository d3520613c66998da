"""IDs hold the time when they were made."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shared.contract.ids import lowest_uuid7, uuid7, uuid7_at


def test_the_lowest_id_of_a_time_divides_the_ids_before_it_from_those_after() -> None:
    made, now = uuid7(), datetime.now(UTC)
    assert lowest_uuid7(now - timedelta(seconds=60)) < made < lowest_uuid7(now + timedelta(seconds=60))


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001 - Hypothesis adds the zone
def test_any_time_has_one(at: datetime) -> None:
    lowest = lowest_uuid7(at)
    assert lowest <= lowest_uuid7(at + timedelta(milliseconds=1))
    assert lowest.version == 7
    assert isinstance(lowest, UUID)


def test_ids_of_a_past_time_differ_and_lie_within_their_millisecond() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    ids = {uuid7_at(at) for _ in range(100)}
    assert len(ids) == 100
    assert all(lowest_uuid7(at) <= each < lowest_uuid7(at + timedelta(milliseconds=1)) for each in ids)
    assert {(each.version, each.variant) for each in ids} == {(7, "specified in RFC 4122")}
