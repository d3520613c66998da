"""An anonymous signup changes nothing that an import wrote."""

from typing import Any

import httpx
import pytest

from tests.support.apis import Api
from tests.support.imports import Imports, person
from tests.support.signups import SignupLedger

STRANGER: dict[str, Any] = {"email": "person-1@x.example", "name": "Eve", "locale": "de", "metadata": {}}


async def stored(client: httpx.AsyncClient) -> dict[str, object]:
    (user,) = (await client.get("/v1/users", params={"email": STRANGER["email"]})).json()["items"]
    return {field: user[field] for field in ("name", "locale", "metadata", "external_id", "source")}


@pytest.mark.parametrize("after_the_cooldown", [False, True])
async def test_the_links_of_an_imported_person_confirm_what_the_import_wrote(
    signup_api: Api, client: httpx.AsyncClient, imports: Imports, ledger: SignupLedger, *, after_the_cooldown: bool
) -> None:
    await imports.run([person(1, locale="sv", metadata={"plan": "gold"})])
    imported = await stored(client)
    if after_the_cooldown:
        await ledger.let_the_cooldown_pass()
    answer = await signup_api.http.post("/v1/signups", json=STRANGER)
    assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})
    mails = await ledger.rows("outbox", effect="mail")
    assert [mail["payload"]["to"]["name"] for mail in mails] == ["Person 1"] * (2 if after_the_cooldown else 1)
    for mail in mails:
        token = ledger.ring.sign(mail["id"], ledger.ring.signing_key_id)
        assert (await signup_api.http.post("/v1/verifications", json={"token": token})).status_code == 200
    assert await stored(client) == imported
    (welcome,) = [
        row["payload"] for row in await ledger.rows("outbox", effect="mail") if row["payload"]["template"] == "welcome"
    ]
    assert (welcome["to"]["name"], welcome["locale"]) == ("Person 1", "sv")
    verified = await ledger.row("history", kind="user.verified")
    assert verified["detail"] == {"changed": []}
    assert "Eve" not in str([await ledger.rows(table) for table in ("users", "outbox", "history")])
