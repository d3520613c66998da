"""A reconciliation that compared nothing says why."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.signup.reconciliation.incomplete import Incomplete, why_incomplete

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def run(**more: Any) -> dict[str, Any]:
    ended = {"state": "done", "verdict": "incomplete", "last_error": None, "first_mail_at": None, "started_at": NOW}
    window = {"window_from": NOW - timedelta(hours=25), "window_to": NOW - timedelta(seconds=60)}
    return ended | window | more


def why(**more: Any) -> Incomplete:
    found = why_incomplete(run(**more), lag_seconds=60)
    assert found is not None
    return found


def test_within_the_lag_it_says_that_nothing_is_old_enough_and_from_when_on_it_will_be() -> None:
    found = why(first_mail_at=NOW - timedelta(seconds=20))
    assert "60 s old (RECONCILE_LAG_SECONDS)" in found.reason
    assert "from 2026-01-31T12:00:40.000Z on" in found.reason
    assert found.is_early


def test_before_the_first_mail_it_says_that_there_is_nothing_to_compare() -> None:
    assert why() == Incomplete("No mail has been requested yet, so there is nothing to compare", is_early=True)


def test_a_window_without_mails_is_named() -> None:
    found = why(first_mail_at=NOW - timedelta(days=9))
    assert found == Incomplete("No mail was requested from 2026-01-30T11:00:00.000Z to 2026-01-31T11:59:00.000Z")


def test_a_window_without_length_is_named() -> None:
    assert "is empty" in why(first_mail_at=NOW - timedelta(days=9), window_from=NOW, window_to=NOW).reason


def test_a_failed_run_says_what_failed() -> None:
    found = why(state="failed", last_error="The mail service answered 401")
    assert found == Incomplete("The run could not finish: The mail service answered 401")


@pytest.mark.parametrize("other", [{"state": "running"}, {"verdict": "balanced"}, {"verdict": "out_of_balance"}])
def test_other_runs_have_no_reason(other: dict[str, str]) -> None:
    assert why_incomplete(run(**other), lag_seconds=60) is None
