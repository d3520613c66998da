"""An operator's key, typed once, becomes a cookie that only this service can read; nothing else opens the console."""

import re
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.responses import Response

from services.signup.console.one_time_links import OneTimeLinks
from services.signup.console.sessions import PLAIN_COOKIE, SECURE_COOKIE, Session, Sessions
from services.signup.verification_token import TokenRing
from shared.db import api_keys
from tests.support.console import Operated, browsing

from .conftest import TOKEN_KEYS, Desk, Open, Operator

pytestmark = pytest.mark.asyncio(loop_scope="module")

RING = TokenRing.from_setting(TOKEN_KEYS)


def _set_cookie(answer: httpx.Response) -> str:
    found: str = answer.headers["set-cookie"]
    return found


async def _signed_in(desk: Desk, client: str) -> list[str]:
    """How operators with keys of this client signed in."""
    query = "SELECT detail ->> 'by' AS by FROM history WHERE kind = 'console.signed_in' AND actor = $1 ORDER BY id"
    return [row["by"] for row in await desk.signup.database.pool.fetch(query, f"console:{client}")]


async def test_a_typed_key_becomes_a_cookie_that_no_script_and_no_other_site_can_use(
    desk: Desk, stranger: Operated
) -> None:
    key = await desk.key("typed")
    answer = await stranger.http.post("/console/sign-in", data={"key": key.text})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    cookie = _set_cookie(answer)
    assert cookie.startswith(f"{PLAIN_COOKIE}=")
    assert {"HttpOnly", "SameSite=strict", "Path=/console"} <= set(cookie.split("; "))
    assert key.text not in cookie
    assert await _signed_in(desk, "typed") == ["key"]


async def test_over_tls_the_cookie_is_for_this_host_and_tls_alone(desk: Desk, stranger: Operated) -> None:
    key = await desk.key("over-tls")
    origin = desk.url.replace("http://", "https://")
    answer = await stranger.http.post("/console/sign-in", data={"key": key.text}, headers={"Origin": origin})
    cookie = _set_cookie(answer)
    assert cookie.startswith(f"{SECURE_COOKIE}=")
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Secure"} <= set(cookie.split("; "))


async def test_without_a_session_every_page_leads_to_the_sign_in_and_back(desk: Desk, stranger: Operated) -> None:
    for path in ("/console", "/console/mails?state=failed", "/console/no-such-page"):
        page = await stranger.get(path)
        assert (page.url.path, page.status) == ("/console/sign-in", 200)
    page = await stranger.get("/console/mails?state=failed")
    page = await stranger.submit(page, "/console/sign-in", {"key": (await desk.key("led-back")).text})
    assert str(page.url).endswith("/console/mails?state=failed")


@pytest.mark.parametrize(
    "wanted", ["https://evil.example/", "//evil.example", "/consolers", "/v1/users", "/console\\@x"]
)
async def test_signing_in_leads_to_pages_of_the_console_only(desk: Desk, stranger: Operated, wanted: str) -> None:
    key = await desk.key("led-astray")
    answer = await stranger.http.post("/console/sign-in", data={"key": key.text, "next": wanted})
    assert answer.headers["location"] == "/console"


async def test_a_wrong_key_signs_nobody_in(desk: Desk, stranger: Operated) -> None:
    real = (await desk.key("mistyped")).text
    for key, words in (
        (api_keys.mint().text, "does not know the API key"),
        ("not a key", "Type an operator's key"),
        ("", "Type an operator's key"),
        (real[:-1] + ("0" if real[-1] != "0" else "1"), "Type an operator's key"),
    ):
        page = await stranger.sign_in(key)
        assert page.status == 401
        assert words in page.text
        assert not stranger.http.cookies
    assert await _signed_in(desk, "mistyped") == []


async def test_a_mail_key_that_no_header_can_hold_is_refused(desk: Desk, stranger: Operated) -> None:
    page = await stranger.sign_in((await desk.key("pasted")).text, mail_key="cf_\u200babc")
    assert (page.status, bool(stranger.http.cookies)) == (422, False)
    assert "key of the mail service" in page.text


async def test_the_key_of_a_client_that_is_no_operator_is_refused(desk: Desk, stranger: Operated) -> None:
    shop = await desk.key("shop", ("signups:write", "users:read"), ())
    page = await stranger.sign_in(shop.text)
    assert (page.status, bool(stranger.http.cookies)) == (403, False)
    assert "audit:read" in page.text


async def test_scopes_decide_what_is_shown_and_offered(desk: Desk, stranger: Operated) -> None:
    reader = await desk.key("auditor", ("audit:read",), ("mails:read",))
    page = await stranger.sign_in(reader.text)
    shown = {text for href, text in page.links if href.startswith("/console")}
    assert {"Overview", "Mails", "Outbox", "Reconciliation"} <= shown
    assert not shown & {"People", "Imports", "Suppressions", "Webhooks"}
    for path, scope in (
        ("/console/people", "users:read"),
        ("/console/imports", "users:import"),
        ("/console/suppressions", "mails:operate"),
        ("/console/webhooks", "webhooks:manage"),
    ):
        refused = await stranger.get(path)
        assert (refused.status, scope in refused.text) == (403, True), path
    reconciliation = await stranger.get("/console/reconciliation")
    assert "/console/reconciliation/run" not in [form.action for form in reconciliation.forms]
    token = dict(reconciliation.form("/console/sign-out").fields)["token"]
    refused = await stranger.post("/console/reconciliation/run", {"token": token})
    assert (refused.status, "audit:operate" in refused.text) == (403, True)


async def test_a_revoked_key_ends_its_sessions(desk: Desk, operator: Operator) -> None:
    key = api_keys.parse(operator.key)
    assert key is not None
    await desk.signup.database.pool.execute(api_keys.REVOKE_LIVE_KEY, key.key_id, "test")
    desk.app.state.authenticator._cache.clear()  # as after some seconds
    page = await operator.get("/console/outbox")
    assert (page.status, "expired or was revoked" in page.text) == (401, True)
    assert not operator.http.cookies


async def test_an_expired_cookie_and_one_of_others_open_nothing(desk: Desk, stranger: Operated) -> None:
    early = Sessions(RING, lifetime_seconds=3600, clock=lambda: 1_000_000.0)
    foreign = Sessions(TokenRing.from_setting("f" * 32), lifetime_seconds=3600)
    key = (await desk.key("early")).text
    session = Session.new(key=key)
    for sessions, made in ((early, Session(session.id, 996_000, key)), (foreign, session)):
        response = Response()
        sessions.put(response, made, secure=False)
        name, _, value = response.headers["set-cookie"].partition(";")[0].partition("=")
        stranger.http.cookies.set(name, value)
        assert (await stranger.get("/console")).url.path == "/console/sign-in"
    stranger.http.cookies.set(PLAIN_COOKIE, "gAAAA-nonsense")
    assert (await stranger.get("/console")).url.path == "/console/sign-in"


async def test_a_form_without_a_session_does_nothing_and_says_so(desk: Desk, stranger: Operated) -> None:
    page = await stranger.post("/console/checks/run", {"service": "signup"})
    assert (page.status, "session has ended" in page.text) == (401, True)
    assert await desk.signup.database.pool.fetchval("SELECT count(*) FROM check_results") == 0, "no test here runs them"


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        ("", {}),
        ("0" * 64, {}),
        ("own", {"Sec-Fetch-Site": "cross-site"}),
        ("own", {"Sec-Fetch-Site": "same-site"}),
        ("own", {"Origin": "https://evil.example"}),
        ("own", {"Origin": "null"}),
        ("of another session", {}),
    ],
)
async def test_a_forged_post_does_nothing(desk: Desk, operator: Operator, token: str, headers: dict[str, str]) -> None:
    own = dict((await operator.get("/console")).form("/console/sign-out").fields)["token"]
    if token == "of another session":
        async with browsing(desk.url) as other:
            page = await other.sign_in(operator.key)
            token = dict(page.form("/console/sign-out").fields)["token"]
            assert token != own
    fields = {"service": "signup", "token": own if token == "own" else token}
    page = await operator.post("/console/checks/run", fields, **headers)
    assert (page.status, "Nothing was done" in page.text) == (403, True)
    assert await desk.signup.database.pool.fetchval("SELECT count(*) FROM check_results") == 0


async def test_signing_in_from_a_form_of_another_site_is_refused(desk: Desk, stranger: Operated) -> None:
    key = await desk.key("lured")
    page = await stranger.post("/console/sign-in", {"key": key.text}, Origin="https://evil.example")
    assert (page.status, bool(stranger.http.cookies)) == (403, False)


async def test_signing_out_takes_the_cookie_away(operator: Operator) -> None:
    page = await operator.submit(await operator.get("/console"), "/console/sign-out")
    assert page.url.path == "/console/sign-in"
    assert not operator.http.cookies


async def test_a_link_signs_in_once_whatever_process_answers(desk: Desk, open_desk: Open) -> None:
    key = await desk.key("linked")
    link = OneTimeLinks(RING).make(key.text)
    assert key.text not in link
    again = await open_desk()
    async with browsing(desk.url) as first, browsing(again.url) as second:
        opened = await first.get(link)
        assert (await second.get(link)).status == 200, "opening does not use it up"
        page = await first.submit(opened, "/console/sign-in")
        assert page.url.path == "/console"
        late = await second.submit(await second.get(link), "/console/sign-in")
        assert (late.status, "This link was used" in late.text) == (410, True)
        assert not second.http.cookies
    assert await _signed_in(desk, "linked") == ["link"]


async def test_a_link_of_others_signs_nobody_in(desk: Desk, stranger: Operated) -> None:
    foreign = OneTimeLinks(TokenRing.from_setting("f" * 32)).make((await desk.key("foreign")).text)
    for link in (foreign, "/console/sign-in?once=nonsense"):
        page = await stranger.get(link)
        assert page.status == 410
        once = urlsplit(link).query.partition("=")[2]
        assert (await stranger.post("/console/sign-in", {"once": once})).status == 410
    assert not stranger.http.cookies


async def test_a_link_from_elsewhere_asks_again_itself_so_that_the_cookie_comes_along(
    desk: Desk, stranger: Operated
) -> None:
    page = await stranger.get("/console/outbox?state=dead", **{"Sec-Fetch-Site": "cross-site"})
    (refresh,) = [values["content"] for tag, values in page.tags if values.get("http-equiv") == "refresh"]
    assert refresh == "0;url=/console/outbox?state=dead"
    assert desk.url in str(page.url)


async def test_a_part_that_changes_by_itself_reloads_the_page_when_the_session_has_ended(stranger: Operated) -> None:
    answer = await stranger.http.get("/console", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-refresh"]) == (401, "true")


async def test_console_off_takes_it_away(open_desk: Open) -> None:
    desk = await open_desk(console="off")
    async with httpx.AsyncClient(base_url=desk.url) as http:
        answer = await http.get("/console")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        assert "/console" not in [link["path"] for link in (await http.get("/")).json()["links"]]


async def test_the_root_page_leads_to_the_console(desk: Desk, stranger: Operated) -> None:
    del desk
    answer = await stranger.http.get("/")
    assert "/console" in [link["path"] for link in answer.json()["links"]]


async def test_two_keys_sign_in_to_two_services(desk: Desk, stranger: Operated) -> None:
    here = await desk.key("alice", ("audit:read", "users:read"), ())
    there = await desk.key("alice", (), ("mails:read", "audit:read"))
    page = await stranger.sign_in(here.text)
    assert "does not know this key" in page.text
    page = await stranger.sign_in(here.text, mail_key=there.text)
    assert "Only signup" not in page.text
    assert "/console/mails" in page.hrefs()


async def test_no_page_and_no_url_has_the_key(operator: Operator) -> None:
    secret = re.compile(re.escape(operator.key[20:40]))
    seen, waiting = set[str](), ["/console"]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        page = await operator.get(path)
        assert not secret.search(page.html), path
        waiting += [
            href for href in page.hrefs() if href.startswith("/console") and href.partition("?")[0] not in
            {each.partition("?")[0] for each in seen | set(waiting)}
        ]  # fmt: skip
    assert len(seen) > 12
