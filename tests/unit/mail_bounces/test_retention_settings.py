"""A process does not start with settings that would wipe content before it is sent."""

import pytest
from pydantic import ValidationError

from services.mail.command_line import main
from services.mail.settings import Settings


@pytest.mark.parametrize("process", ["api", "worker"])
def test_no_process_starts_when_content_would_not_outlive_its_retries(
    process: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAIL_DATABASE_URL", "postgresql://x@127.0.0.1:1/x")
    monkeypatch.setenv("MAIL_CONTENT_DAYS", "2")
    assert main([process]) == 2
    error = capsys.readouterr().err
    assert "MAIL_CONTENT_DAYS=2" in error
    assert "MAIL_EXPIRE_SECONDS=172800" in error


@pytest.mark.parametrize(
    ("content_days", "expire_seconds", "address_days", "is_good"),
    [
        (2, 172_799, 0, True),
        (2, 172_800, 0, False),
        (30, 172_800, 0, True),
        (30, 172_800, 29, False),
        (30, 172_800, 30, True),
        (0, 172_800, 0, False),
        (30, 172_800, -1, False),
    ],
)
def test_content_outlives_retries_and_addresses_outlive_content(
    content_days: int, expire_seconds: int, address_days: int, is_good: bool
) -> None:
    def make() -> Settings:
        return Settings(
            mail_content_days=content_days, mail_expire_seconds=expire_seconds, mail_address_days=address_days
        )

    if is_good:
        make()
    else:
        with pytest.raises(ValidationError):
            make()


def test_no_process_starts_when_history_would_not_outlive_content(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAIL_DATABASE_URL", "postgresql://x@127.0.0.1:1/x")
    monkeypatch.setenv("MAIL_CONTENT_DAYS", "90")
    monkeypatch.setenv("HISTORY_MONTHS", "3")
    assert main(["worker"]) == 2
    error = capsys.readouterr().err
    assert "HISTORY_MONTHS=3" in error
    assert "MAIL_CONTENT_DAYS=90" in error


@pytest.mark.parametrize(
    ("months", "content_days", "is_good"),
    [(4, 90, True), (3, 84, False), (3, 83, True), (0, 3650, True), (1, 7, False), (2, 30, True)],
)
def test_history_outlives_content(months: int, content_days: int, *, is_good: bool) -> None:
    if is_good:
        Settings(history_months=months, mail_content_days=content_days)
    else:
        with pytest.raises(ValidationError):
            Settings(history_months=months, mail_content_days=content_days)
