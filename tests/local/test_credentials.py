"""Secrets are created once, kept, and readable only by their owner."""

from pathlib import Path

import pytest

from local.credentials import Vault
from local.settings import CHECKOUT, LocalError, read_settings


def test_a_secret_is_created_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    created = Vault(path).get_or_make("password")
    assert Vault(path).get_or_make("password") == created
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["secrets.json"]


def test_a_vault_that_others_can_read_is_made_private_again(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text("{}")
    path.chmod(0o644)
    Vault(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_state_dir_is_relative_to_the_checkout() -> None:
    assert read_settings({"STATE_DIR": "elsewhere"}).state == CHECKOUT / "elsewhere"
    assert read_settings({}).state == CHECKOUT / "var"


@pytest.mark.parametrize(
    "environment",
    [{"SIGNUP_PORT": "x"}, {"MAIL_PORT": "70000"}, {"MAIL_PORT": "8001"}, {"SIGNUP_DATABASE_URL": "postgresql://x/y"}],
)
def test_invalid_settings_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(LocalError):
        read_settings(environment)
