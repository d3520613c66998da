"""Sealed cookies, tokens of forms and links: only this service makes them, and each is good for one thing."""

import time
from collections.abc import Mapping
from dataclasses import replace

import pytest
from starlette.requests import Request
from starlette.responses import Response

from services.signup.console.forgery import FormTokens, is_foreign
from services.signup.console.one_time_links import OneTimeLinks
from services.signup.console.sealing import Seal
from services.signup.console.sessions import SECURE_COOKIE, Session, Sessions
from services.signup.verification_token import TokenRing

OLD, NEW = "o" * 32, "n" * 32
RING, OLD_RING, BOTH = (TokenRing.from_setting(text) for text in (NEW, OLD, f"{NEW},{OLD}"))
SESSION = Session("an id", 0, key="sk_operator", mail_key="sk_mail")


class Clock:
    """Ahead of the clock that Fernet reads by `ahead` seconds."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def _request(headers: Mapping[str, str]) -> Request:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": pairs})


def _sessions(ring: TokenRing = RING, clock: Clock | None = None) -> Sessions:
    return Sessions(ring, lifetime_seconds=28_800, clock=clock or Clock())


def _cookie(sessions: Sessions, *, secure: bool = True) -> str:
    response = Response()
    sessions.put(response, replace(SESSION, born=int(time.time())), secure=secure)
    return response.headers["set-cookie"]


def _sent(cookie: str) -> Request:
    return _request({"Cookie": cookie.partition(";")[0]})


def test_a_session_is_found_in_its_cookie_and_its_key_cannot_be_read_there() -> None:
    cookie = _cookie(_sessions())
    found = _sessions().find(_sent(cookie), over_tls=True)
    assert found
    assert replace(found.session, born=0) == SESSION
    assert SESSION.key not in cookie


def test_no_script_and_no_other_site_gets_at_the_cookie() -> None:
    secure, plain = _cookie(_sessions()), _cookie(_sessions(), secure=False)
    for cookie in (secure, plain):
        assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
    assert secure.startswith("__Host-")
    assert {"Secure", "Path=/"} <= set(secure.split("; "))
    assert "Path=/console" in plain


def test_over_tls_a_cookie_that_was_set_without_it_does_not_count() -> None:
    assert _sessions().find(_sent(_cookie(_sessions(), secure=False)), over_tls=True) is None


def test_a_cookie_sealed_under_the_old_secret_is_good_until_that_is_removed() -> None:
    cookie = _cookie(_sessions(OLD_RING))
    assert _sessions(BOTH).find(_sent(cookie), over_tls=True)
    assert _sessions(RING).find(_sent(cookie), over_tls=True) is None


def test_a_session_ends_after_its_lifetime_however_much_it_is_used() -> None:
    clock = Clock()
    cookie = _cookie(_sessions())
    clock.ahead = 28_790
    assert _sessions(clock=clock).find(_sent(cookie), over_tls=True)
    clock.ahead = 28_801
    assert _sessions(clock=clock).find(_sent(cookie), over_tls=True) is None


@pytest.mark.parametrize("place", [5, 40, 100, -60])
def test_a_changed_cookie_is_none(place: int) -> None:
    ((name, value),) = _sent(_cookie(_sessions())).cookies.items()
    changed = "A" if value[place] != "A" else "B"
    end = value[place + 1 :]
    assert _sessions().find(_request({"Cookie": f"{name}={value}"}), over_tls=True)
    assert _sessions().find(_request({"Cookie": f"{name}={value[:place]}{changed}{end}"}), over_tls=True) is None


@pytest.mark.parametrize("value", ["", "{}", "gAAA", "\xe4"])
def test_a_cookie_that_is_no_sealed_text_is_none(value: str) -> None:
    request = Request({"type": "http", "headers": [(b"cookie", f"{SECURE_COOKIE}={value}".encode("latin-1"))]})
    assert _sessions().find(request, over_tls=True) is None


def test_what_one_purpose_seals_no_other_opens() -> None:
    sealed = Seal(RING, b"session").seal({"key": "sk"})
    assert Seal(RING, b"session").open(sealed, max_age_seconds=60) == {"key": "sk"}
    assert Seal(RING, b"link").open(sealed, max_age_seconds=60) is None
    link = OneTimeLinks(RING).make("sk").partition("once=")[2]
    assert OneTimeLinks(RING).is_good(link)
    assert not OneTimeLinks(RING).is_good(sealed)


def test_two_links_for_one_key_differ_and_do_not_show_it() -> None:
    one, other = (OneTimeLinks(RING).make("sk_operator") for _ in range(2))
    assert one != other
    assert "sk_operator" not in one


def test_the_token_of_a_form_is_that_of_its_session() -> None:
    tokens = FormTokens(RING)
    assert tokens.is_of("one", tokens.of("one"))
    assert not tokens.is_of("other", tokens.of("one"))
    assert not tokens.is_of("one", "")
    assert FormTokens(BOTH).is_of("one", FormTokens(OLD_RING).of("one"))


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, False),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Host": "api.example", "Origin": "https://api.example"}, False),
        ({"Host": "10.0.0.1:8001", "Origin": "https://signup.example"}, False),
        ({"Host": "api.example", "Origin": "https://evil.example"}, True),
        ({"Host": "api.example", "Origin": "null"}, True),
        ({}, False),
    ],
)
def test_a_post_from_another_origin_is_foreign(headers: dict[str, str], foreign: bool) -> None:
    assert is_foreign(_request(headers), "signup.example") is foreign
