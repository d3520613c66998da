"""The link that `make run` prints: good for one sign-in with the operator's key, and only while it is new."""

from pathlib import Path

import pytest

from local import runenv
from local.console_link import make_link, print_link
from local.credentials import Vault
from local.settings import LocalError, Settings
from services.signup.console.one_time_links import OneTimeLinks
from services.signup.verification_token import TokenRing

FACTS = {"SIGNUP_URL": "http://127.0.0.1:8001", "OPERATOR_KEY": "cf_operator"}


def test_the_link_is_sealed_with_the_keys_of_the_stack(tmp_path: Path) -> None:
    keys = Vault(tmp_path / "secrets.json").get_or_make("SIGNUP_TOKEN_KEYS")
    link = make_link(Settings({}, {}, state=tmp_path), FACTS)
    start, _, sealed = link.partition("?once=")
    assert start == "http://127.0.0.1:8001/console/sign-in"
    assert OneTimeLinks(TokenRing.from_setting(keys)).is_good(sealed)
    assert "cf_operator" not in link
    own = "o" * 32
    link = make_link(Settings({"SIGNUP_TOKEN_KEYS": own}, {}, state=tmp_path), FACTS)
    assert OneTimeLinks(TokenRing.from_setting(own)).is_good(link.partition("?once=")[2])


def test_without_a_console_there_is_no_link(tmp_path: Path) -> None:
    assert make_link(Settings({"CONSOLE": "off"}, {}, state=tmp_path), FACTS) == ""


def test_another_link_needs_a_running_stack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings({}, {}, state=tmp_path)
    with pytest.raises(LocalError, match="no stack runs"):
        print_link(settings)
    Vault(tmp_path / "secrets.json").get_or_make("SIGNUP_TOKEN_KEYS")
    runenv.write(settings.run_env, FACTS)
    assert print_link(settings) == 0
    assert capsys.readouterr().out.startswith("http://127.0.0.1:8001/console/sign-in?once=")
