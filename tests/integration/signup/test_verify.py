"""Verification tokens: the API, and the pages for browsers."""

import asyncio
import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from shared.contract.ids import uuid7
from tests.support.apis import Api
from tests.support.relays import LoneRelay
from tests.support.signups import SignupLedger

ASA = "asa@example.org"


async def test_a_token_verifies_once_and_may_be_repeated(signup_api: Api, ledger: SignupLedger) -> None:
    (asa,) = await ledger.sign_up(ASA)
    verification = await ledger.row("outbox")
    body = {"token": await ledger.token(ASA)}
    first = await signup_api.http.post("/v1/verifications", json=body)
    assert (first.status_code, first.json()) == (200, {"status": "verified"})
    user = await ledger.row("users")
    assert (user["status"], user["verified_at"] is not None) == ("verified", True)
    _, welcome = await ledger.rows("outbox")
    assert welcome["payload"] == {"template": "welcome", "to": {"email": ASA, "name": "asa"}, "locale": "en"}
    entry = await ledger.row("history", kind="user.verified")
    assert (entry["subject"], entry["related"]) == (
        str(asa.user["id"]), [str(verification["id"]), str(welcome["id"])],
    )  # fmt: skip
    before = await ledger.counts()
    again = await signup_api.http.post("/v1/verifications", json=body)
    assert (again.status_code, again.json()) == (200, {"status": "already_verified"})
    assert await ledger.counts() == before


async def test_a_token_still_works_after_its_row_was_delivered(
    signup_api: Api, ledger: SignupLedger, relay: LoneRelay
) -> None:
    await ledger.sign_up(ASA)
    token = await ledger.token(ASA)
    await relay.run_once()
    assert await ledger.rows("outbox") == []
    answer = await signup_api.http.post("/v1/verifications", json={"token": token})
    assert answer.json() == {"status": "verified"}


async def test_fifty_concurrent_clicks_verify_once_and_owe_one_welcome(signup_api: Api, ledger: SignupLedger) -> None:
    await ledger.sign_up(ASA)
    body = {"token": await ledger.token(ASA)}
    answers = await asyncio.gather(*(signup_api.http.post("/v1/verifications", json=body) for _ in range(50)))
    statuses = [answer.json()["status"] for answer in answers]
    assert sorted(statuses) == ["already_verified"] * 49 + ["verified"]
    assert [row["payload"]["template"] for row in await ledger.rows("outbox")] == ["verification", "welcome"]
    assert len(await ledger.rows("history", kind="user.verified")) == 1


async def test_an_expired_token_is_410_and_changes_nothing(signup_api: Api, ledger: SignupLedger) -> None:
    await ledger.sign_up(ASA)
    await ledger.run("UPDATE outbox SET created_at = created_at - interval '3 days'")
    before = await ledger.rows("users"), await ledger.counts()
    refused = await signup_api.http.post("/v1/verifications", json={"token": await ledger.token(ASA)})
    assert (refused.status_code, refused.json()["type"]) == (410, "/problems/token-expired")
    assert (await ledger.rows("users"), await ledger.counts()) == before


async def test_tokens_without_a_row_or_user_are_unknown(signup_api: Api, ledger: SignupLedger) -> None:
    await ledger.sign_up(ASA, "erased@example.org")
    erased = await ledger.token("erased@example.org")
    await ledger.run(
        "UPDATE users SET status = 'erased', erased_at = now(), email = NULL, email_key = NULL, name = NULL"
        " WHERE email LIKE 'erased%'"
    )
    key_id = ledger.ring.signing_key_id
    for token in ("x", ledger.ring.sign(uuid7(), key_id), erased, (await ledger.token(ASA))[:-1]):
        refused = await signup_api.http.post("/v1/verifications", json={"token": token})
        assert (refused.status_code, refused.json()["type"]) == (404, "/problems/token-unknown")


async def test_the_token_of_a_welcome_mail_verifies_no_user(signup_api: Api, ledger: SignupLedger) -> None:
    await ledger.sign_up(ASA)
    await ledger.run("""UPDATE outbox SET payload = payload || '{"template": "welcome"}'""")
    row = await ledger.row("outbox")
    token = ledger.ring.sign(row["id"], ledger.ring.signing_key_id)
    assert (await signup_api.http.post("/v1/verifications", json={"token": token})).status_code == 404


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


async def test_opening_the_page_changes_nothing_and_its_button_verifies(signup_api: Api, ledger: SignupLedger) -> None:
    await ledger.sign_up(ASA)
    path = f"/verify/{await ledger.token(ASA)}"
    for _ in range(3):
        page = Page((await signup_api.http.get(path)).text)
    assert (await ledger.row("users"))["status"] == "pending"
    assert page.attributes("form") == [{"method": "post"}], "it posts to its own URL"
    assert page.attributes("button") == [{"type": "submit"}]
    done = await signup_api.http.post(path)
    assert (done.status_code, "Your address is confirmed" in done.text) == (200, True)
    again = await signup_api.http.post(path)
    assert (again.status_code, "confirmed already" in again.text) == (200, True)
    assert (await ledger.row("users"))["status"] == "verified"


async def test_the_page_ignores_query_parameters_that_trackers_and_mail_programs_add(
    signup_api: Api, ledger: SignupLedger
) -> None:
    await ledger.sign_up(ASA)
    path = f"/verify/{await ledger.token(ASA)}?utm_source=mail&fbclid=x&=&utm_source=again"
    page = await signup_api.http.get(path)
    assert (page.status_code, "<form" in page.text) == (200, True)
    done = await signup_api.http.post(path, data={"button": ""})
    assert (done.status_code, "Your address is confirmed" in done.text) == (200, True)
    api = await signup_api.http.post("/v1/verifications?utm_source=mail", json={"token": "x"})
    assert (api.status_code, api.json()["errors"][0]["parameter"]) == (422, "utm_source")


async def test_the_page_shows_that_a_link_is_expired_or_unknown(signup_api: Api, ledger: SignupLedger) -> None:
    await ledger.sign_up(ASA)
    await ledger.run("UPDATE outbox SET created_at = created_at - interval '3 days'")
    expired = await signup_api.http.post(f"/verify/{await ledger.token(ASA)}")
    assert (expired.status_code, "has expired" in expired.text) == (410, True)
    unknown = await signup_api.http.post("/verify/nonsense")
    assert (unknown.status_code, "does not work" in unknown.text) == (404, True)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_pages_send_no_referrer_run_no_script_and_are_accessible(signup_api: Api, method: str) -> None:
    answer = await signup_api.http.request(method, "/verify/whatever")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    page = Page(answer.text)
    assert page.attributes("html") == [{"lang": "en", "dir": "ltr"}]
    assert len(page.attributes("title")) == len(page.attributes("h1")) == len(page.attributes("main")) == 1
    assert page.attributes("script") == page.attributes("img") == page.attributes("link") == []
    assert not re.search(r"https?://|\son\w+=", answer.text)


async def test_pages_are_in_the_language_that_the_browser_prefers(signup_api: Api, ledger: SignupLedger) -> None:
    await ledger.sign_up(ASA)
    path = f"/verify/{await ledger.token(ASA)}"
    arabic = {"Accept-Language": "ar-EG, ar;q=0.9, en;q=0.5"}
    for method, status in (("GET", 200), ("POST", 200), ("POST", 200)):
        answer = await signup_api.http.request(method, path, headers=arabic)
        assert answer.status_code == status
        assert (answer.headers["Content-Language"], answer.headers["Vary"]) == ("ar", "Accept-Language")
        page = Page(answer.text)
        assert page.attributes("html") == [{"lang": "ar", "dir": "rtl"}]
        (style,) = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
        style_hash = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert f"style-src 'sha256-{style_hash}';" in answer.headers["Content-Security-Policy"]
        assert not re.search(r"\sstyle=|https?://", answer.text)
    assert (await ledger.row("users"))["status"] == "verified"


@pytest.mark.parametrize(
    ("headers", "language"),
    [
        ([], "en"),
        ([("Accept-Language", "pt-BR")], "pt"),
        ([("Accept-Language", "zh"), ("Accept-Language", "de;q=0.5")], "de"),
        ([("Accept-Language", "fr;q=none, \xff\xfe")], "en"),
    ],
)
async def test_a_page_of_an_error_names_its_language_too(
    signup_api: Api, headers: list[tuple[str, str]], language: str
) -> None:
    sent = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    answer = await signup_api.http.post("/verify/nonsense", headers=sent)
    assert (answer.status_code, answer.headers["Content-Language"]) == (404, language)


async def test_resend_owes_another_link_once_per_cooldown(signup_api: Api, ledger: SignupLedger) -> None:
    await ledger.sign_up(ASA)
    await ledger.let_the_cooldown_pass()
    first = await ledger.token(ASA)
    for _ in range(3):
        answer = await signup_api.http.post("/v1/verifications/resend", json={"email": "ASA@example.org"})
        assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})
    assert len(await ledger.rows("outbox")) == 2
    for token in (await ledger.token(ASA), first):
        answer = await signup_api.http.post("/v1/verifications", json={"token": token})
        assert answer.status_code == 200


async def test_resend_answers_and_commits_the_same_for_every_address(signup_api: Api, ledger: SignupLedger) -> None:
    await ledger.sign_up("pending@example.org", "verified@example.org")
    await ledger.run("UPDATE users SET status = 'verified', verified_at = now() WHERE email LIKE 'verified%'")
    await ledger.run("DELETE FROM outbox")
    await ledger.let_the_cooldown_pass()
    answers = set()
    for kind in ("pending", "verified", "unknown"):
        answer = await signup_api.http.post("/v1/verifications/resend", json={"email": f"{kind}@example.org"})
        answers.add((answer.status_code, answer.content, answer.headers["Content-Type"]))
    assert len(answers) == 1
    assert len(await ledger.rows("history", kind="verification.resend_asked")) == 3, "each was a commit"
    assert (await ledger.row("outbox"))["payload"]["to"]["email"] == "pending@example.org"
