"""What follows from the call of a subscriber of the mail service: pure decisions, on every verdict."""

from datetime import UTC, datetime, timedelta

import pytest

from services.mail.webhooks.retry_policy import Retried, Settled, Settlement, decide_next
from shared.webhooks.verdicts import Accepted, Failed, Gone, NotCalled, Verdict, verdict_on

NOW = datetime(2026, 11, 29, tzinfo=UTC)
IN_TIME, TOO_LATE = NOW + timedelta(seconds=1), NOW


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, Accepted(200)),
        (204, Accepted(204)),
        (299, Accepted(299)),
        (410, Gone(410)),
        *(
            (status, Failed(f"The subscriber answered {status}", status))
            for status in (100, 301, 307, 400, 404, 429, 500)
        ),
    ],
)
def test_an_answer_is_a_delivery_the_end_or_a_reason_to_try_again(status: int, expected: Verdict) -> None:
    assert verdict_on(status) == expected


@pytest.mark.parametrize(
    ("verdict", "expires_at", "expected"),
    [
        (Accepted(200), IN_TIME, Settled("delivered", 200)),
        (Accepted(200), TOO_LATE, Settled("delivered", 200)),
        (Gone(410), IN_TIME, Settled("canceled", 410, "The subscriber answered 410 Gone")),
        (Gone(410), TOO_LATE, Settled("canceled", 410, "The subscriber answered 410 Gone")),
        (Failed("No answer"), IN_TIME, Retried(8.0, "No answer")),
        (Failed("Refused", 400), IN_TIME, Retried(8.0, "Refused", 400)),
        (
            Failed("Refused", 400),
            TOO_LATE,
            Settled("dead", 400, "Given up: the delivery has expired. Last error: Refused"),
        ),
        (NotCalled("Open"), IN_TIME, Retried(0.0, "Open", called=False)),
        (NotCalled("Open"), TOO_LATE, Settled("dead", None, "Given up: the delivery has expired. Open", called=False)),
    ],
)
def test_every_verdict_settles_a_delivery_or_has_it_tried_again(
    verdict: Verdict, expires_at: datetime, expected: Settlement
) -> None:
    assert decide_next(3, verdict, claimed_at=NOW, expires_at=expires_at, jitter=_bound) == expected


def test_the_wait_doubles_up_to_five_minutes() -> None:
    waits = [
        decide_next(n, Failed("No answer"), claimed_at=NOW, expires_at=IN_TIME, jitter=_bound) for n in (0, 1, 8, 9, 50)
    ]
    assert [wait.delay_seconds for wait in waits if isinstance(wait, Retried)] == [1.0, 2.0, 256.0, 300.0, 300.0]


def _bound(attempt: int, *, base_seconds: float, cap_seconds: float) -> float:
    return min(cap_seconds, base_seconds * 2.0 ** (attempt - 1))
