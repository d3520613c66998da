"""A trusted proxy that does single sign-on names the operator; no other caller can."""

import httpx
import pytest

from services.signup.settings import Settings
from tests.support.console import browsing

from .conftest import Desk, Open

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEADER = "X-Forwarded-User"
PROXIED = ("audit:read", "audit:operate", "users:read")


async def _behind_a_proxy(open_desk: Open, desk: Desk, *, proxies: str = "127.0.0.0/8", names: bool = True) -> Desk:
    """The console with single sign-on, and keys for those whom the proxy names."""
    mail = ("mails:read", "mails:operate", "mails:all", *(("operators:name",) if names else ()))
    key, mail_key = await desk.key("sso", PROXIED, ()), await desk.key("sso", (), mail)
    return await open_desk(
        console_proxy_header=HEADER,
        signup_trusted_proxies=proxies,
        console_api_key=key.text,
        console_mail_api_key=mail_key.text,
    )


async def test_the_named_operator_needs_no_key_and_stands_in_both_histories(open_desk: Open, desk: Desk) -> None:
    behind = await _behind_a_proxy(open_desk, desk)
    named = {HEADER: "zo%C3%AB@example.com"}
    async with browsing(behind.url) as browser:
        page = await browser.get("/console/checks", **named)
        assert (page.status, "zoë@example.com" in page.text) == (200, True)
        form = page.form("/console/checks/run", {"service": "signup"})
        await browser.post("/console/checks/run", dict(form.fields), **named)
        page = await browser.get("/console/suppressions", **named)
        fields = dict(page.form("/console/suppressions/add").fields) | {"email": "a@example.org", "reason": "asked"}
        assert "is not mailed any more" in (await browser.post("/console/suppressions/add", fields, **named)).text
    assert await desk.done_by("console:zoë@example.com") == ["checks.requested"]
    assert await desk.done_by("console:zoë@example.com", service="mail") == ["address.suppressed"]


async def test_a_caller_who_is_no_proxy_can_name_nobody(open_desk: Open, desk: Desk) -> None:
    behind = await _behind_a_proxy(open_desk, desk, proxies="192.0.2.0/24")
    async with browsing(behind.url) as browser:
        page = await browser.get("/console", **{HEADER: "root"})
        assert page.url.path == "/console/sign-in"
        assert not browser.http.cookies


@pytest.mark.parametrize("name", ["", "%20", "a%0Ab", "a" * 201, "%00", "%E2%80%AE"])
async def test_a_proxy_that_names_nobody_is_refused(open_desk: Open, desk: Desk, name: str) -> None:
    behind = await _behind_a_proxy(open_desk, desk)
    async with browsing(behind.url) as browser:
        assert (await browser.get("/console", **{HEADER: name})).status == 401
        assert (await browser.get("/console")).status == 401


async def test_the_session_of_one_operator_is_of_no_use_to_another(open_desk: Open, desk: Desk) -> None:
    behind = await _behind_a_proxy(open_desk, desk)
    async with browsing(behind.url) as browser:
        page = await browser.get("/console/checks", **{HEADER: "ann"})
        form = page.form("/console/checks/run", {"service": "signup"})
        refused = await browser.post("/console/checks/run", dict(form.fields), **{HEADER: "ben"})
        assert refused.status == 403
    assert await desk.done_by("console:ben") == []
    # The cookie alone, without the proxy, opens nothing: no header, no name.
    async with browsing(desk.url) as direct:
        direct.http.cookies = browser.http.cookies
        assert (await direct.get("/console")).url.path == "/console/sign-in"


async def test_the_mail_service_takes_a_name_from_a_key_that_may_give_one_only(open_desk: Open, desk: Desk) -> None:
    behind = await _behind_a_proxy(open_desk, desk, names=False)
    async with browsing(behind.url) as browser:
        page = await browser.get("/console/mails", **{HEADER: "ann"})
        assert "operators:name" in page.text


async def _suppress(desk: Desk, key: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=desk.mail_url, headers={"Authorization": f"Bearer {key}"}) as http:
        return await http.put("/v1/suppressions/x@example.org", json={"reason": "r"}, headers=headers)


async def test_the_header_of_the_console_changes_what_history_calls_a_key_and_nothing_else(desk: Desk) -> None:
    key = await desk.key("curl", (), ("mails:operate",))
    assert (await _suppress(desk, key.text, **{"X-Counterfoil-Interface": "console"})).is_success
    assert await desk.done_by("console:curl", service="mail") == ["address.suppressed"]
    refused = await _suppress(desk, key.text, **{"X-Counterfoil-Interface": "console", "X-Counterfoil-Operator": "ann"})
    assert (refused.status_code, "operators:name" in refused.json()["detail"]) == (403, True)
    for other in ("Console", "cli"):
        assert (await _suppress(desk, key.text, **{"X-Counterfoil-Interface": other})).is_success
    assert await desk.done_by("console:ann", service="mail") == []


async def test_a_name_that_history_cannot_hold_is_refused(desk: Desk) -> None:
    key = await desk.key("namer", (), ("mails:operate", "operators:name"))
    for name in ("", "a%0Ab", "a" * 201):
        answer = await _suppress(
            desk, key.text, **{"X-Counterfoil-Interface": "console", "X-Counterfoil-Operator": name}
        )
        assert (answer.status_code, answer.json()["errors"][0]["header"]) == (422, "X-Counterfoil-Operator")


async def test_any_key_is_told_what_it_may_do(desk: Desk) -> None:
    key = await desk.key("curious", ("stats:read",), ("mails:read", "audit:read"))
    for url, scopes in ((desk.url, ["stats:read"]), (desk.mail_url, ["audit:read", "mails:read"])):
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.get("/v1/key")).status_code == 401
            answer = await http.get("/v1/key", headers={"Authorization": f"Bearer {key.text}"})
            assert answer.json() == {"client": "curious", "key_id": key.key_id, "scopes": scopes}


@pytest.mark.parametrize("missing", ["signup_trusted_proxies", "console_api_key"])
async def test_a_header_without_what_it_needs_stops_the_start(missing: str) -> None:
    given = {"console_proxy_header": HEADER, "signup_trusted_proxies": "10.0.0.0/8", "console_api_key": "cf_x"}
    with pytest.raises(ValueError, match=missing.upper()):
        Settings(**given | {missing: ""})  # type: ignore[arg-type] # texts
