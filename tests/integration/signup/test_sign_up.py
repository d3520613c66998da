"""POST /v1/signups; refusals are in `test_nasty_input`."""

import asyncio
from datetime import datetime

import asyncpg
import httpx
import pytest

from services.signup.process_names import OUTBOX_CHANNEL
from shared.contract.correlation import REQUEST_ID_HEADER
from tests.support.apis import Api
from tests.support.databases import Clone
from tests.support.signups import SignupLedger

BO = {"email": "bo@example.org", "name": "Bo"}


@pytest.mark.promise("P1")
async def test_a_signup_commits_the_user_the_mail_and_the_history_together(
    signup_api: Api, ledger: SignupLedger
) -> None:
    traceparent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    body = {"email": "Asa@BÜCHER.example", "name": " Åsa ", "locale": "sv_SE", "metadata": {"plan": "x"}}
    headers = {REQUEST_ID_HEADER: "why", "traceparent": traceparent}
    answer = await signup_api.http.post("/v1/signups", json=body, headers=headers)
    assert (answer.status_code, answer.content) == (202, b'{"status":"accepted"}\n')
    user, owed, entry = await ledger.row("users"), await ledger.row("outbox"), await ledger.row("history")
    assert user["email"] == "Asa@bücher.example"
    assert user["email_key"] == "asa@xn--bcher-kva.example"
    assert (user["status"], user["source"], user["locale"]) == ("pending", "web", "sv-SE")
    assert owed["payload"]["to"] == {"email": "Asa@bücher.example", "name": "Åsa"}
    assert (owed["effect"], owed["state"], owed["user_id"]) == ("mail", "pending", user["id"])
    assert (owed["correlation_id"], owed["traceparent"]) == ("why", traceparent)
    assert (entry["kind"], entry["subject"], entry["actor"]) == ("user.signed_up", str(user["id"]), "anonymous")
    assert (entry["related"], entry["correlation_id"]) == ([str(owed["id"])], "why")
    assert user["created_at"] == owed["created_at"] == user["last_mail_at"], "one transaction wrote them"


async def test_no_row_holds_a_token_or_a_key(signup_api: Api, ledger: SignupLedger) -> None:
    await signup_api.http.post("/v1/signups", json=BO)
    token = await ledger.token(BO["email"])
    stored = str([await ledger.rows(table) for table in ("users", "outbox", "history")])
    assert token not in stored
    assert "k" * 32 not in stored


async def test_history_holds_no_personal_data(signup_api: Api, ledger: SignupLedger) -> None:
    for _ in range(2):
        await signup_api.http.post("/v1/signups", json={"email": "astrid@example.org", "name": "Lindgren"})
    stored = str(await ledger.rows("history"))
    assert not any(word in stored for word in ("astrid", "Lindgren", "example"))


async def test_a_client_with_a_key_gets_the_user(client: httpx.AsyncClient, ledger: SignupLedger) -> None:
    created = await client.post("/v1/signups", json=BO)
    user = created.json()
    assert (created.status_code, created.headers["Location"]) == (201, f"/v1/users/{user['id']}")
    assert list(user) == [
        *("id", "email", "name", "locale", "status", "source", "external_id", "metadata", "created_at", "verified_at")
    ]
    assert (user["source"], user["status"], user["verified_at"]) == ("shop", "pending", None)
    assert user["created_at"].endswith("Z")
    again = await client.post("/v1/signups", json=BO | {"name": "Bosse"})
    assert (again.status_code, again.json()) == (200, user | {"name": "Bosse"})
    actors = [entry["actor"].partition("/")[0] for entry in await ledger.rows("history") if "user" in entry["kind"]]
    assert actors == ["key:shop"] * 3  # signed up, signed up again, no mail so soon


async def test_a_client_with_a_key_gets_409_for_a_verified_address_and_changes_nothing(
    client: httpx.AsyncClient, ledger: SignupLedger
) -> None:
    await client.post("/v1/signups", json=BO)
    await ledger.run("UPDATE users SET status = 'verified', verified_at = now()")
    await ledger.let_the_cooldown_pass()
    before = await ledger.rows("users"), await ledger.counts()
    refused = await client.post("/v1/signups", json={"email": "BO@example.org", "name": "Mallory"})
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/already-verified")
    assert (await ledger.rows("users"), await ledger.counts()) == before


@pytest.mark.parametrize("header", ["Bearer cf_nonsense", "Basic Ym86Ym8=", ""])
async def test_a_bad_key_is_refused_and_not_treated_as_anonymous(
    signup_api: Api, ledger: SignupLedger, header: str
) -> None:
    refused = await signup_api.http.post("/v1/signups", json=BO, headers={"Authorization": header})
    assert (refused.status_code, refused.json()["type"]) == (401, "/problems/unauthorized")
    assert (await ledger.counts())["users"] == 0


async def test_a_key_without_the_scope_is_refused(signup_api: Api, ledger: SignupLedger) -> None:
    async with await signup_api.as_client("reader", ["users:read"]) as reader:
        assert (await reader.post("/v1/signups", json=BO)).status_code == 403
    assert (await ledger.counts())["users"] == 0


async def test_a_repetition_with_a_key_within_the_cooldown_changes_the_details_and_owes_no_mail(
    client: httpx.AsyncClient, ledger: SignupLedger
) -> None:
    await client.post("/v1/signups", json=BO)
    await client.post("/v1/signups", json={"email": "BO@Example.ORG", "name": "Bosse", "locale": "sv"})
    user = await ledger.row("users")
    assert (user["email"], user["name"], user["locale"]) == ("bo@example.org", "Bosse", "sv")
    assert (await ledger.row("outbox"))["payload"]["to"]["name"] == "Bo", "the pinned payload is unchanged"
    kinds = [entry["kind"] for entry in await ledger.rows("history")]
    assert kinds == ["key.created", "user.signed_up", "user.signed_up_again", "user.mail_withheld"]
    withheld = await ledger.row("history", kind="user.mail_withheld")
    assert (withheld["subject"], withheld["detail"]["status"]) == (str(user["id"]), "pending")
    assert datetime.fromisoformat(withheld["detail"]["last_mail_at"]) == user["last_mail_at"]


async def test_a_later_signup_with_a_key_keeps_missing_fields_and_replaces_given_ones(
    client: httpx.AsyncClient,
) -> None:
    first = BO | {"locale": "sv", "metadata": {"plan": "x", "seats": 3}}
    created = (await client.post("/v1/signups", json=first)).json()
    for given, changed in (
        ({}, {}),
        ({"locale": None, "metadata": None}, {}),
        ({"locale": "de"}, {"locale": "de"}),
        ({"metadata": {"plan": "y"}}, {"locale": "de", "metadata": {"plan": "y"}}),
        ({"metadata": {}}, {"locale": "de", "metadata": {}}),
    ):
        again = await client.post("/v1/signups", json=BO | given)
        assert (again.status_code, again.json()) == (200, created | changed), given


async def test_a_first_signup_without_optional_fields_gets_the_defaults(client: httpx.AsyncClient) -> None:
    created = (await client.post("/v1/signups", json=BO)).json()
    assert (created["locale"], created["metadata"]) == ("en", {})


async def test_after_the_cooldown_another_mail_with_the_new_details_goes_to_the_stored_address(
    signup_api: Api, ledger: SignupLedger
) -> None:
    await signup_api.http.post("/v1/signups", json=BO)
    await ledger.let_the_cooldown_pass()
    await signup_api.http.post("/v1/signups", json={"email": "BO@EXAMPLE.org", "name": "Bosse"})
    first, second = await ledger.rows("outbox")
    assert second["payload"]["to"] == {"email": "bo@example.org", "name": "Bosse"}
    assert second["payload"]["template"] == first["payload"]["template"] == "verification"
    assert (await ledger.rows("history"))[1]["related"] == [str(second["id"])]


async def test_a_verified_owner_is_mailed_once_per_cooldown_and_nothing_else_changes(
    signup_api: Api, ledger: SignupLedger
) -> None:
    await signup_api.http.post("/v1/signups", json=BO)
    await ledger.run("UPDATE users SET status = 'verified', verified_at = now(), stranger_mails = 0")
    await ledger.let_the_cooldown_pass()
    before = await ledger.row("users")
    for _ in range(3):
        await signup_api.http.post("/v1/signups", json=BO | {"name": "Mallory", "locale": "de"})
    counted = dict.fromkeys(("last_mail_at", "stranger_mails", "mails_in_window"))
    assert await ledger.row("users") | counted == before | counted
    _, owed = await ledger.rows("outbox")
    assert owed["payload"]["template"] == "already-registered"
    assert owed["payload"]["to"] == {"email": "bo@example.org", "name": "Bo"}
    assert "link" not in owed["payload"]


async def test_new_pending_and_verified_addresses_get_the_same_answer(signup_api: Api, ledger: SignupLedger) -> None:
    async def answer(email: str) -> tuple[int, bytes, dict[str, str]]:
        answered = await signup_api.http.post("/v1/signups", json={"email": email, "name": "X"})
        headers = {name: value for name, value in answered.headers.items() if name != REQUEST_ID_HEADER.lower()}
        return answered.status_code, answered.content, headers

    await ledger.sign_up("pending@example.org", "verified@example.org")
    await ledger.run("UPDATE users SET status = 'verified', verified_at = now() WHERE email LIKE 'verified%'")
    answers = [await answer(f"{kind}@example.org") for kind in ("new", "pending", "verified", "verified")]
    assert answers == [answers[0]] * 4


async def test_a_wake_up_follows_each_signup_whether_it_owes_a_mail_or_not(
    signup_api: Api, signup_database: Clone
) -> None:
    """The other effects wait for it, too, and it tells nobody which address was new."""
    woken = asyncio.Event()
    listener = await asyncpg.connect(signup_database.owner_url)
    await listener.add_listener(OUTBOX_CHANNEL, lambda *_: woken.set())
    for _ in range(2):
        assert (await signup_api.http.post("/v1/signups", json=BO)).status_code == 202
        async with asyncio.timeout(60):
            await woken.wait()
        woken.clear()
    await listener.close()


async def test_two_hundred_concurrent_signups_of_one_address_make_one_user_and_one_mail(
    signup_api: Api, ledger: SignupLedger
) -> None:
    answers = await asyncio.gather(*(signup_api.http.post("/v1/signups", json=BO) for _ in range(200)))
    assert {answer.status_code for answer in answers} == {202}
    counts = await ledger.counts()
    assert (counts["users"], counts["outbox"], counts["history"]) == (1, 1, 200 + 199), "each, and each without a mail"


async def test_concurrent_signups_share_statements_and_each_gets_its_own_answer(
    client: httpx.AsyncClient, ledger: SignupLedger
) -> None:
    people = [{"email": f"p{n}@example.org", "name": f"Person {n}", "metadata": {"n": n}} for n in range(60)]
    answers = await asyncio.gather(*(client.post("/v1/signups", json=person) for person in people))
    assert [(answer.json()["name"], answer.json()["metadata"]["n"]) for answer in answers] == [
        (f"Person {n}", n) for n in range(60)
    ]
    assert len({user["created_at"] for user in await ledger.rows("users")}) < 60, "they shared commits"


async def test_one_refused_signup_does_not_fail_the_rest_of_its_batch(
    signup_api: Api, ledger: SignupLedger, signup_database: Clone
) -> None:
    owner = await asyncpg.connect(signup_database.owner_url)
    await owner.execute("ALTER TABLE users ADD CONSTRAINT no_mallory CHECK (name <> 'Mallory')")
    await owner.close()
    people = [{"email": f"p{n}@example.org", "name": "Mallory" if n == 7 else "Bo"} for n in range(20)]
    answers = await asyncio.gather(*(signup_api.http.post("/v1/signups", json=person) for person in people))
    assert [answer.status_code for answer in answers] == [500 if n == 7 else 202 for n in range(20)]
    counts = await ledger.counts()
    assert (counts["users"], counts["outbox"], counts["history"]) == (19, 19, 19)
