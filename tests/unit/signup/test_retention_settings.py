"""A process refuses to start with settings that would drop rows it still needs."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.signup.command_line import main
from services.signup.settings import Settings

_DAY = 86_400


@pytest.mark.parametrize("process", ["api", "worker"])
@pytest.mark.parametrize("setting", ["SIGNUP_SETTLED_MONTHS", "HISTORY_MONTHS"])
def test_no_process_starts_when_a_month_would_be_dropped_before_retries_end(
    process: str, setting: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIGNUP_DATABASE_URL", "postgresql://x@127.0.0.1:1/x")
    monkeypatch.setenv(setting, "2")
    monkeypatch.setenv("SIGNUP_GIVE_UP_SECONDS", str(56 * _DAY))
    monkeypatch.setenv("SIGNUP_TOKEN_KEYS", "a-secret-that-must-not-be-printed")
    monkeypatch.setattr("sys.argv", ["signup", process])
    assert main() == 2
    output = "".join(capsys.readouterr())
    assert "a-secret" not in output
    assert f"{setting}=2" in output
    assert f"SIGNUP_GIVE_UP_SECONDS={56 * _DAY}" in output


@pytest.mark.parametrize(
    ("values", "valid"),
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
        # Links are not looked up in history.
        ({"history_months": 2, "signup_token_ttl_seconds": 60 * _DAY}, True),
        # Any twelve months are a year.
        ({"signup_settled_months": 12, "signup_pending_days": 364}, True),
        ({"signup_settled_months": 12, "signup_pending_days": 365}, False),
        ({"signup_pending_days": 365}, True),
    ],
)
def test_settled_rows_and_history_outlive_retries_and_lookups(values: dict[str, Any], *, valid: bool) -> None:
    if valid:
        Settings(**values)
    else:
        with pytest.raises(ValidationError):
            Settings(**values)
