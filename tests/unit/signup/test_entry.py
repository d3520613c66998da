"""The retry policy: the settlement of an outbox row after an attempt."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.signup.outbox.retry_policy import (
    RETRY_CAP_SECONDS,
    ClaimedRow,
    DeadLetter,
    Deliver,
    Done,
    Postponed,
    Refused,
    Retry,
    TryLater,
    decide_next,
)
from services.signup.outbox.states import TRANSITIONS, State
from shared.contract.ids import uuid7

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def row(*, attempts: int = 0, expires_in: int = 60) -> ClaimedRow:
    return ClaimedRow(
        id=uuid7(), user_id=uuid7(), payload={}, attempts=attempts, created_at=NOW - timedelta(days=1),
        expires_at=NOW + timedelta(seconds=expires_in), claimed_at=NOW,
    )  # fmt: skip


def longest_wait(_attempt: int, **bounds: Any) -> float:
    return float(min(bounds["cap_seconds"], bounds["base_seconds"] * 2 ** (_attempt - 1)))


@pytest.mark.parametrize("expires_in", [60, 0, -60])
def test_a_done_row_is_delivered_even_after_its_expiry(expires_in: int) -> None:
    assert decide_next(row(expires_in=expires_in), Done({"mail_id": "m"})) == Deliver({"mail_id": "m"})


@pytest.mark.parametrize("expires_in", [60, 0, -60])
def test_a_refusal_makes_a_dead_letter_at_once(expires_in: int) -> None:
    assert decide_next(row(expires_in=expires_in), Refused("422 no")) == DeadLetter("422 no")


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(0, 1), (1, 2), (4, 16), (8, 256), (9, RETRY_CAP_SECONDS), (99, 300)]
)
def test_each_temporary_refusal_doubles_the_wait_up_to_five_minutes(attempts: int, seconds: float) -> None:
    assert decide_next(row(attempts=attempts), TryLater("429"), jitter=longest_wait) == Retry(seconds, "429")


@pytest.mark.parametrize("expires_in", [0, -60])
def test_a_temporary_refusal_after_expiry_makes_a_dead_letter_with_the_last_error(expires_in: int) -> None:
    settled = decide_next(row(expires_in=expires_in), TryLater("503 busy"))
    assert isinstance(settled, DeadLetter)
    assert "503 busy" in settled.error


@pytest.mark.promise("P9")
def test_a_row_whose_own_peer_is_down_waits_and_loses_no_attempt() -> None:
    assert decide_next(row(), Postponed("down", 7.0)) == Retry(7.0, "down", counted=False)


def test_giving_up_is_by_age_and_never_by_count() -> None:
    assert isinstance(decide_next(row(attempts=10_000), TryLater("429")), Retry)


def test_every_state_has_its_transitions_and_the_last_ones_have_none() -> None:
    assert set(TRANSITIONS) == set(State)
    assert [state for state, targets in TRANSITIONS.items() if not targets] == [State.DELIVERED, State.CANCELED]
