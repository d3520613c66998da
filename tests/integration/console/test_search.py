"""A person, a mail, or what a request caused is found by anything that identifies it."""

from uuid import uuid4

import httpx
import pytest

from services.signup.console import search
from shared.contract.ids import uuid7

from .conftest import Desk, Operator

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _person(desk: Desk, email: str, name: str, correlation_id: str) -> dict[str, str]:
    """Someone who has signed up and was mailed, by all that identifies them."""
    headers = {"X-Request-ID": correlation_id}
    async with httpx.AsyncClient(base_url=desk.url, headers=headers) as http:
        await http.post("/v1/signups", json={"email": email, "name": name})
    await desk.relay()
    user = await desk.signup.database.pool.fetchval("SELECT id FROM users WHERE email_key = $1", email.lower())
    mail = await desk.mail.database.pool.fetchrow(
        "SELECT id, request_id, message_id FROM mails WHERE to_key = $1", email.lower()
    )
    assert mail is not None
    return {
        "address": email.upper(),
        "user ID": str(user),
        "request ID": mail["request_id"],
        "mail ID": str(mail["id"]),
        "Message-ID": mail["message_id"],
        "Message-ID without brackets": mail["message_id"].strip("<>"),
        "user": str(user),
    }


async def test_a_person_is_found_by_address_and_by_every_id(desk: Desk, operator: Operator) -> None:
    known = await _person(desk, "findme@example.org", "Fiona Finder", str(uuid7()))
    user = known.pop("user")
    for kind, text in known.items():
        page = await operator.get(str(httpx.URL("/console/people", params={"q": text})))
        assert (page.status, page.url.path) == (200, f"/console/people/{user}"), kind


@pytest.mark.parametrize("text", ["Nora", "nora n", "N. <i>Name", "O'", "100%_sure"])
async def test_a_person_is_found_by_a_part_of_the_name(desk: Desk, operator: Operator, text: str) -> None:
    name = f"{text} Nora Nobody" if not text.lower().startswith("nora") else "Nora Nobody"
    email = f"{uuid4().hex}@example.org"
    await desk.signup.database.pool.execute(
        "INSERT INTO users (email, email_key, name, source) VALUES ($1, $1, $2, 'web')", email, name
    )
    page = await operator.get(str(httpx.URL("/console/people", params={"q": text})))
    assert email in page.text


async def test_signs_of_a_pattern_are_looked_for_as_they_are(operator: Operator) -> None:
    for text in ("%%%", "no_ra", "\\"):
        page = await operator.get(str(httpx.URL("/console/people", params={"q": text})))
        assert "Nothing found" in page.text, text


async def test_the_search_for_a_name_goes_on_among_earlier_people(
    desk: Desk, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "PEOPLE_LOOKED_AT", 3)
    for name in ("Zacharias Early", *["Someone Else"] * 3):
        await desk.signup.database.pool.execute(
            "INSERT INTO users (email, email_key, name, source) VALUES ($1, $1, $2, 'web')",
            f"{uuid4().hex}@example.org", name,
        )  # fmt: skip
    page = await operator.get("/console/people?q=Zacharias")
    assert "Zacharias Early" not in page.text
    (further,) = [href for href, text in page.links if text.startswith("Look among")]
    assert "Zacharias Early" in (await operator.get(further)).text


# A UUIDv7 is looked for at its time, so it must be new; its test has the same name in each worker of pytest-xdist.
@pytest.mark.parametrize("kind", ["uuid7", "uuid4", "text"])
async def test_what_a_request_caused_is_found_by_its_correlation_id(desk: Desk, operator: Operator, kind: str) -> None:
    correlation_id = {"uuid7": str(uuid7()), "uuid4": str(uuid4()), "text": "shop-7f3a"}[kind]
    known = await _person(desk, f"{uuid4().hex}@example.org", "Cora", correlation_id)
    page = await operator.get(f"/console/people?q={correlation_id}")
    assert "user.signed_up" in page.text
    assert f"/console/people/{known['user']}" in page.hrefs()


async def test_a_mail_of_another_service_is_found_by_its_request_id(operator: Operator) -> None:
    mail_id = await operator.ask_for_mail("other@example.org", request_id="order-4711")
    page = await operator.get("/console/people?q=order-4711")
    assert f"/console/mails/{mail_id}" in page.hrefs()
    page = await operator.get(f"/console/people?q={mail_id}")
    assert f"/console/mails/{mail_id}" in page.hrefs()
    page = await operator.get("/console/people?q=other@example.org")
    assert f"/console/mails/{mail_id}" in page.hrefs()


async def test_a_person_is_found_by_the_id_that_another_system_gave(desk: Desk, operator: Operator) -> None:
    await desk.signup.database.pool.execute(
        "INSERT INTO users (email, email_key, name, source, external_id) VALUES ($1, $1, 'Xenia', 'crm', 'crm-17')",
        f"{uuid4().hex}@example.org",
    )
    assert "Xenia" in (await operator.get("/console/people?q=crm-17")).text


async def test_nothing_found_says_what_was_searched(operator: Operator) -> None:
    beyond_all_years = "ffffffff-ffff-7fff-bfff-ffffffffffff"
    ids = (str(uuid4()), str(uuid7()), "00000000-0000-7000-8000-000000000000", beyond_all_years)
    for text in (*ids, "nowhere@example.org", "a b@c@d", "<no-such@id>", "no such name", "\u202e{{7*7}}", "x" * 300):
        page = await operator.get(str(httpx.URL("/console/people", params={"q": text})))
        assert page.status == 200
        assert "Nothing found" in page.text, text
        assert "Searched:" in page.text, text
