"""When the change feed counts as held back: a pure decision of the mail service."""

from datetime import UTC, datetime

import pytest

from services.mail.audit.alerts import ALERT_RULES, feed_symptoms
from services.mail.ledger.change_feed import FeedLag, Holder
from shared.audit.severity import Severity

SINCE = datetime(2026, 3, 1, 12, tzinfo=UTC)


def held_for(seconds: float | None) -> Holder:
    return Holder(4711, "signup", SINCE if seconds is not None else None, seconds)


@pytest.mark.parametrize(
    ("lag", "is_late"),
    [
        (FeedLag(0, None), False),
        (FeedLag(9.9, held_for(9.9)), False),
        (FeedLag(10, held_for(0.1)), True),
        (FeedLag(10, held_for(None)), True),
        (FeedLag(10, None), True),
        # Nothing has changed since: what changes next would not be shown.
        (FeedLag(0, held_for(10)), True),
        (FeedLag(0, held_for(None)), False),
    ],
)
def test_a_feed_is_late_when_a_change_or_the_transaction_before_it_is_ten_seconds_old(
    lag: FeedLag, *, is_late: bool
) -> None:
    assert lag.is_late is is_late
    assert [symptom.name for symptom in feed_symptoms(lag)] == ["feed_held_back"] * is_late


def test_the_warning_says_which_transaction_to_end_and_how_old_the_oldest_hidden_change_is() -> None:
    (symptom,) = feed_symptoms(FeedLag(61, held_for(70)))
    assert symptom.todo == "end the transaction of process 4711 in database signup, open since 2026-03-01T12:00:00Z"
    assert "61 s old" in symptom.facts
    assert {rule.name: rule.severity for rule in ALERT_RULES}[symptom.name] is Severity.WARNING
