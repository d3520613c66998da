"""docs/deploying.md says what strangers may reach; its examples for nginx and Caddy let exactly these calls through."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from services.mail.app import create_app as create_mail_app
from services.mail.settings import Settings as MailSettings
from services.signup.app import create_app as create_signup_app
from services.signup.settings import Settings as SignupSettings
from tests.support.databases import ROOT

PAGE = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
SECTION = re.split(r"^## ", PAGE.partition("## What strangers may reach")[2], maxsplit=1, flags=re.MULTILINE)[0]
PUBLIC_TABLE, INTERNAL_TABLE = re.findall(r"(?:^\|.*\n)+", SECTION, re.MULTILINE)
# A stranger needs none of these, which are named on the page.
INTERNAL = {"/", "/health/live", "/health/ready", "/version", "/signup/example"}


def _block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    return str(found)


def _paths(table: str) -> set[str]:
    """The paths of a table's first column; `…` stands for everything below."""
    cells = " ".join(row.split("|")[1] for row in table.splitlines()[2:])
    return {path.replace("…", "*") for path in re.findall(r"(/[\w./…-]*)", cells)}


def _nginx() -> set[str]:
    locations = re.findall(r"location (= )?(\S+) \{(.*?)\}", _block("nginx"), re.DOTALL)
    return {path if exact else f"{path}*" for exact, path, body in locations if "proxy_pass http://signup;" in body}


def _caddy() -> set[str]:
    (matcher,) = re.findall(r"@public path (.+)", _block("caddy"))
    return set(matcher.split())


def _lets_through(path: str) -> bool:
    allowed = _nginx()
    return path in allowed or any(path.startswith(prefix[:-1]) for prefix in allowed if prefix.endswith("*"))


def _calls(document: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Each path with whether a caller needs a key."""
    for path, methods in document["paths"].items():
        for operation in methods.values():
            security = operation.get("security")
            yield path, bool(security) and {} not in security


SIGNUP = list(_calls(create_signup_app(SignupSettings(signup_token_keys="k" * 32)).openapi()))
MAIL = list(_calls(create_mail_app(MailSettings()).openapi()))


@pytest.mark.parametrize("example", [_nginx, _caddy])
def test_an_example_lets_through_the_paths_of_the_table(example: Any) -> None:
    assert example() == _paths(PUBLIC_TABLE)


@pytest.mark.parametrize("path", sorted({path for path, keyed in SIGNUP if not keyed} - INTERNAL))
def test_a_call_of_signup_that_needs_no_key_is_let_through_or_named_as_internal(path: str) -> None:
    assert _lets_through(path), f"name {path} in docs/deploying.md, in both examples, or in INTERNAL here"


@pytest.mark.parametrize("path", sorted({path for path, keyed in SIGNUP if keyed}))
def test_a_call_of_signup_that_always_needs_a_key_is_not_let_through(path: str) -> None:
    assert not _lets_through(path)


def test_everything_that_needs_no_key_and_is_not_for_strangers_is_named() -> None:
    assert _paths(INTERNAL_TABLE) >= INTERNAL | {"/metrics", "/docs", "/openapi.json"}
    assert not _paths(INTERNAL_TABLE) & _paths(PUBLIC_TABLE)


def test_the_mail_api_has_no_call_for_strangers() -> None:
    open_calls = {path for path, keyed in MAIL if not keyed}
    # Events carry their provider's own signature or secret.
    assert open_calls - INTERNAL == {"/health", "/problems/{slug}", "/v1/events/{provider}"}
