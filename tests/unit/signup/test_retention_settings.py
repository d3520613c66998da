"""A process does not start with settings that would drop what is still needed."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.signup.__main__ import main
from services.signup.settings import Settings

_DAY = 86_400


@pytest.mark.parametrize("process", ["api", "worker"])
@pytest.mark.parametrize("setting", ["SIGNUP_SETTLED_MONTHS", "HISTORY_MONTHS"])
def test_no_process_starts_when_a_month_would_be_dropped_before_retries_are_over(
    process: str, setting: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIGNUP_DATABASE_URL", "postgresql://x@127.0.0.1:1/x")
    monkeypatch.setenv(setting, "2")
    monkeypatch.setenv("SIGNUP_GIVE_UP_SECONDS", str(56 * _DAY))
    monkeypatch.setenv("SIGNUP_TOKEN_KEYS", "a-secret-that-nobody-may-read")
    monkeypatch.setattr("sys.argv", ["signup", process])
    assert main() == 2
    said = "".join(capsys.readouterr())
    assert "a-secret" not in said
    assert f"{setting}=2" in said
    assert f"SIGNUP_GIVE_UP_SECONDS={56 * _DAY}" in said


@pytest.mark.parametrize(
    ("values", "is_good"),
    [
        ({}, True),
        ({"signup_settled_months": 2, "history_months": 2}, True),
        ({"signup_settled_months": 0, "history_months": 0, "signup_give_up_seconds": 3650 * _DAY}, True),
        ({"signup_settled_months": 1}, False),
        ({"history_months": 1}, False),
        ({"history_months": -1}, False),
        ({"signup_settled_months": 2, "signup_give_up_seconds": 56 * _DAY - 1}, True),
        ({"signup_settled_months": 2, "signup_give_up_seconds": 56 * _DAY}, False),
        ({"signup_settled_months": 2, "signup_token_ttl_seconds": 60 * _DAY}, False),
        ({"signup_settled_months": 2, "reconcile_lag_seconds": 60 * _DAY}, False),
        ({"signup_settled_months": 2, "reconcile_stuck_seconds": 60 * _DAY}, False),
        ({"signup_settled_months": 2, "signup_pending_days": 56}, False),
        ({"signup_settled_months": 2, "signup_pending_days": 55}, True),
        ({"signup_settled_months": 0, "history_months": 2, "signup_pending_days": 3650}, True),
        ({"signup_settled_months": 3, "signup_token_ttl_seconds": 60 * _DAY}, True),
        ({"signup_settled_months": 0, "history_months": 2, "signup_give_up_seconds": 60 * _DAY}, False),
        # Nobody looks up a link in history.
        ({"history_months": 2, "signup_token_ttl_seconds": 60 * _DAY}, True),
        # Twelve months are a year, whichever they are.
        ({"signup_settled_months": 12, "signup_pending_days": 364}, True),
        ({"signup_settled_months": 12, "signup_pending_days": 365}, False),
        ({"signup_pending_days": 365}, True),
    ],
)
def test_settled_rows_and_history_outlive_what_is_retried_and_looked_up(
    values: dict[str, Any], *, is_good: bool
) -> None:
    if is_good:
        Settings(**values)
    else:
        with pytest.raises(ValidationError):
            Settings(**values)
