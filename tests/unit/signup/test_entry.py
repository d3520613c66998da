"""What becomes of an outbox row after an attempt."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.signup.outbox.retry_policy import (
    RETRY_CAP_SECONDS,
    ClaimedRow,
    DeadLetter,
    Deliver,
    Done,
    Refused,
    Retry,
    TryLater,
    decide_next,
)
from services.signup.outbox.states import TRANSITIONS, State
from shared.contract.ids import uuid7

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def entry(*, attempts: int = 0, expires_in: int = 60) -> ClaimedRow:
    return ClaimedRow(
        id=uuid7(), user_id=uuid7(), payload={}, attempts=attempts, created_at=NOW - timedelta(days=1),
        expires_at=NOW + timedelta(seconds=expires_in), claimed_at=NOW,
    )  # fmt: skip


def longest(_attempt: int, **bounds: Any) -> float:
    return float(min(bounds["cap_seconds"], bounds["base_seconds"] * 2 ** (_attempt - 1)))


@pytest.mark.parametrize("expires_in", [60, 0, -60])
def test_what_was_done_is_delivered_however_late(expires_in: int) -> None:
    assert decide_next(entry(expires_in=expires_in), Done({"mail_id": "m"})) == Deliver({"mail_id": "m"})


@pytest.mark.parametrize("expires_in", [60, 0, -60])
def test_a_refusal_buries_at_once(expires_in: int) -> None:
    assert decide_next(entry(expires_in=expires_in), Refused("422 no")) == DeadLetter("422 no")


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(0, 1), (1, 2), (4, 16), (8, 256), (9, RETRY_CAP_SECONDS), (99, 300)]
)
def test_each_not_now_waits_up_to_twice_as_long_until_five_minutes(attempts: int, seconds: float) -> None:
    assert decide_next(entry(attempts=attempts), TryLater("429"), jitter=longest) == Retry(seconds, "429")


@pytest.mark.parametrize("expires_in", [0, -60])
def test_not_now_after_its_time_is_given_up_with_the_last_words(expires_in: int) -> None:
    settled = decide_next(entry(expires_in=expires_in), TryLater("503 busy"))
    assert isinstance(settled, DeadLetter)
    assert "503 busy" in settled.error


def test_giving_up_is_by_age_and_never_by_count() -> None:
    assert isinstance(decide_next(entry(attempts=10_000), TryLater("429")), Retry)


def test_every_state_has_its_transitions_and_the_last_ones_have_none() -> None:
    assert set(TRANSITIONS) == set(State)
    assert [state for state, targets in TRANSITIONS.items() if not targets] == [State.DELIVERED, State.CANCELED]
