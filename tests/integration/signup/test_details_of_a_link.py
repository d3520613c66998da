"""A link confirms the details that it was made for, and an anonymous signup changes nothing that a key wrote."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from shared.contract.ids import UUID
from tests.support.apis import Api
from tests.support.mail_stand_in import MailStandIn
from tests.support.relays import LoneRelay
from tests.support.signups import SignupLedger

ASA = "asa@example.org"
OF_ASA = {"name": "Åsa", "locale": "sv", "metadata": {"plan": "gold"}}
OF_EVE = {"name": "Eve", "locale": "de", "metadata": {}}
NAMES_OF_ALL = ["name", "locale", "metadata"]


@pytest.fixture
def people(signup_api: Api, ledger: SignupLedger) -> "People":
    return People(signup_api.http, ledger)


class People:
    """What strangers do: sign an address up, and press the links that were mailed to it."""

    def __init__(self, http: httpx.AsyncClient, ledger: SignupLedger) -> None:
        self.http = http
        self.ledger = ledger

    async def sign_up(self, details: dict[str, Any], *, after_the_cooldown: bool = True) -> UUID | None:
        """The ID that the link of the newly owed mail names, if one is owed."""
        if after_the_cooldown:
            await self.ledger.let_the_cooldown_pass()
        before = {row["id"] for row in await self.ledger.rows("outbox")}
        answer = await self.http.post("/v1/signups", json={"email": "ASA@Example.org"} | details)
        assert (answer.status_code, answer.content) == (202, b'{"status":"accepted"}\n')
        new = [row["id"] for row in await self.ledger.rows("outbox") if row["id"] not in before]
        return new[0] if new else None

    async def press(self, link: UUID | None) -> str:
        assert link is not None
        token = self.ledger.ring.sign(link, self.ledger.ring.signing_key_id)
        answer = await self.http.post("/v1/verifications", json={"token": token})
        assert answer.status_code == 200, answer.text
        status: str = answer.json()["status"]
        return status

    async def details(self) -> dict[str, Any]:
        user = await self.ledger.row("users")
        return {"name": user["name"], "locale": user["locale"], "metadata": orjson.loads(user["metadata"])}

    async def payload(self, link: UUID | None) -> dict[str, Any]:
        payload: dict[str, Any] = (await self.ledger.row("outbox", id=link))["payload"]
        return payload

    async def welcome(self) -> dict[str, Any]:
        (welcome,) = [
            row["payload"] for row in await self.ledger.rows("outbox") if row["payload"].get("template") == "welcome"
        ]
        return {"name": welcome["to"]["name"], "locale": welcome["locale"]}

    async def changes(self, kind: str) -> list[list[str]]:
        return [entry["detail"]["changed"] for entry in await self.ledger.rows("history", kind=kind)]


def greeting(details: dict[str, Any]) -> dict[str, Any]:
    return {"name": details["name"], "locale": details["locale"]}


@pytest.mark.parametrize(("pressed", "confirmed", "changed"), [(0, OF_ASA, []), (1, OF_EVE, NAMES_OF_ALL)])
@pytest.mark.parametrize("delivered", [False, True])
async def test_between_anonymous_callers_each_link_confirms_what_it_was_made_for(
    people: People, relay: LoneRelay, *, delivered: bool, pressed: int, confirmed: dict[str, Any], changed: list[str]
) -> None:
    links = [await people.sign_up(OF_ASA), await people.sign_up(OF_EVE)]
    greeted = [await people.payload(link) for link in links]
    assert [{"name": mail["to"]["name"], "locale": mail["locale"]} for mail in greeted] == [
        greeting(OF_ASA),
        greeting(OF_EVE),
    ]
    assert {mail["to"]["email"] for mail in greeted} == {"ASA@example.org"}
    assert await people.details() == OF_ASA, "what was said later is held beside its link"
    if delivered:
        await relay.run_once()
        assert await people.ledger.rows("outbox") == []
    assert await people.press(links[pressed]) == "verified"
    assert await people.details() == confirmed
    assert await people.welcome() == greeting(confirmed)
    assert await people.changes("user.verified") == [changed]
    assert await people.changes("user.signed_up_again") == [[]], "nothing changed before a link was pressed"
    assert await people.press(links[1 - pressed]) == "already_verified"
    assert await people.details() == confirmed


async def test_the_link_of_an_anonymous_repetition_confirms_nothing_that_another_caller_said(people: People) -> None:
    await people.sign_up(OF_EVE | {"metadata": {"referrer": "eve"}})
    link = await people.sign_up({"name": "Åsa"})
    await people.press(link)
    assert await people.details() == {"name": "Åsa", "locale": "en", "metadata": {}}


async def test_an_anonymous_repetition_within_the_cooldown_changes_nothing(people: People) -> None:
    link = await people.sign_up(OF_ASA)
    before = await people.ledger.rows("users"), await people.ledger.rows("outbox")
    assert await people.sign_up(OF_EVE, after_the_cooldown=False) is None
    assert (await people.ledger.rows("users"), await people.ledger.rows("outbox")) == before
    await people.press(link)
    assert await people.details() == OF_ASA
    assert await people.welcome() == greeting(OF_ASA)


@pytest.mark.parametrize("after_the_cooldown", [False, True])
async def test_an_anonymous_repetition_changes_nothing_of_a_user_whom_a_key_signed_up(
    people: People, client: httpx.AsyncClient, *, after_the_cooldown: bool
) -> None:
    created = (await client.post("/v1/signups", json={"email": ASA} | OF_ASA)).json()
    first = (await people.ledger.row("outbox"))["id"]
    again = await people.sign_up(OF_EVE, after_the_cooldown=after_the_cooldown)
    assert (again is not None) == after_the_cooldown
    assert (await client.get(f"/v1/users/{created['id']}")).json() == created
    if again:
        assert (await people.payload(again))["to"]["name"] == "Åsa"
        assert "Eve" not in str(await people.ledger.rows("outbox"))
    await people.press(again or first)
    assert await people.details() == OF_ASA
    assert await people.welcome() == greeting(OF_ASA)
    assert await people.changes("user.verified") == [[]]


async def test_a_client_named_like_anonymous_signups_has_its_users_kept_too(people: People, signup_api: Api) -> None:
    async with await signup_api.as_client("web", ["signups:write"]) as keyed:
        await keyed.post("/v1/signups", json={"email": ASA} | OF_ASA)
    await people.press(await people.sign_up(OF_EVE))
    assert await people.details() == OF_ASA


async def test_a_key_changes_a_pending_user_and_no_anonymous_link_changes_it_back(
    people: People, client: httpx.AsyncClient
) -> None:
    links = [await people.sign_up(OF_EVE), await people.sign_up({"name": "Mallory", "metadata": {"n": 1}})]
    again = await client.post("/v1/signups", json={"email": ASA} | OF_ASA)
    assert {field: again.json()[field] for field in OF_ASA} == OF_ASA
    assert await people.changes("user.signed_up_again") == [[], NAMES_OF_ALL]
    await client.post("/v1/signups", json={"email": ASA, "name": "Åsa", "locale": "en"})
    assert await people.changes("user.signed_up_again") == [[], NAMES_OF_ALL, ["locale"]]
    await people.press(links[1])
    assert await people.details() == OF_ASA | {"locale": "en"}
    assert await people.welcome() == {"name": "Åsa", "locale": "en"}


async def test_the_link_of_a_resend_confirms_the_user_as_stored(people: People) -> None:
    await people.sign_up(OF_ASA)
    await people.sign_up(OF_EVE)
    await people.ledger.let_the_cooldown_pass()
    await people.http.post("/v1/verifications/resend", json={"email": ASA})
    resent = (await people.ledger.rows("outbox"))[-1]["id"]
    assert (await people.payload(resent))["to"]["name"] == "Åsa"
    await people.press(resent)
    assert await people.details() == OF_ASA


async def test_history_names_changed_fields_and_holds_no_values(people: People) -> None:
    await people.sign_up(OF_ASA)
    await people.press(await people.sign_up(OF_EVE))
    stored = str(await people.ledger.rows("history"))
    assert not any(value in stored for value in ("Åsa", "Eve", "gold", "'sv'", "'de'"))


async def test_the_mail_service_is_told_the_greeting_of_the_link_and_not_the_details_held_beside_it(
    people: People, relay: LoneRelay, mail_api: MailStandIn
) -> None:
    await people.sign_up(OF_ASA)
    await people.sign_up(OF_EVE | {"metadata": {"note": "s3cret-note"}})
    await relay.run_once()
    requests = [mail for request in mail_api.requests for mail in request["mails"]]
    assert [(mail["to"]["name"], mail["locale"]) for mail in requests] == [("Åsa", "sv"), ("Eve", "de")]
    assert "s3cret-note" not in str(requests)


async def test_links_that_are_pressed_at_once_confirm_the_details_of_one_of_them(people: People) -> None:
    links = [await people.sign_up(OF_ASA), await people.sign_up(OF_EVE)]
    statuses = await asyncio.gather(*(people.press(link) for link in links * 20))
    assert sorted(statuses) == ["already_verified"] * 39 + ["verified"]
    confirmed = await people.details()
    assert confirmed in (OF_ASA, OF_EVE)
    assert await people.welcome() == greeting(confirmed)
