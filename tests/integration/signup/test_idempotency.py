"""POST /v1/signups with an Idempotency-Key."""

import asyncio

import httpx
import pytest

from tests.support.apis import Api
from tests.support.signups import SignupLedger

BO = {"email": "bo@example.org", "name": "Bo", "metadata": {"b": 1, "a": [1, {"c": "ö"}]}}
KEY = {"Idempotency-Key": "order-7"}


async def test_the_same_key_and_body_get_the_first_answer_again(
    client: httpx.AsyncClient, ledger: SignupLedger
) -> None:
    first = await client.post("/v1/signups", json=BO, headers=KEY)
    await ledger.run("UPDATE users SET name = 'Renamed', last_mail_at = NULL")
    before = await ledger.counts()
    again = await client.post("/v1/signups", json=BO, headers=KEY)
    assert (again.status_code, again.content) == (first.status_code, first.content) == (201, first.content)
    assert again.headers["Location"] == first.headers["Location"]
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")
    assert await ledger.counts() == before


async def test_an_anonymous_key_is_replayed_too(signup_api: Api, ledger: SignupLedger) -> None:
    first = await signup_api.http.post("/v1/signups", json=BO, headers=KEY)
    await ledger.let_the_cooldown_pass()
    again = await signup_api.http.post("/v1/signups", json=BO, headers=KEY)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (await ledger.counts())["outbox"] == 1


async def test_another_body_under_the_same_key_is_refused_naming_what_differs(
    client: httpx.AsyncClient, ledger: SignupLedger
) -> None:
    await client.post("/v1/signups", json=BO, headers=KEY)
    before = await ledger.rows("users"), await ledger.counts()
    refused = await client.post("/v1/signups", json=BO | {"name": "Bosse", "locale": "sv"}, headers=KEY)
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/request-id-reused")
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/name", "/locale"]
    assert (await ledger.rows("users"), await ledger.counts()) == before


async def test_the_same_key_of_another_client_is_independent(signup_api: Api, client: httpx.AsyncClient) -> None:
    await client.post("/v1/signups", json=BO, headers=KEY)
    async with await signup_api.as_client("other", ["signups:write"]) as other:
        answer = await other.post("/v1/signups", json=BO | {"name": "Bosse"}, headers=KEY)
    assert answer.status_code == 200
    anonymous = await signup_api.http.post("/v1/signups", json=BO | {"name": "B"}, headers=KEY)
    assert (anonymous.status_code, "Idempotent-Replayed" in anonymous.headers) == (202, False)


@pytest.mark.promise("P1")
async def test_a_refused_request_does_not_use_up_its_key(client: httpx.AsyncClient, ledger: SignupLedger) -> None:
    await ledger.sign_up("bo@example.org")
    await ledger.run("UPDATE users SET status = 'verified', verified_at = now()")
    assert (await client.post("/v1/signups", json=BO, headers=KEY)).status_code == 409
    assert (await client.post("/v1/signups", json=BO | {"email": "bo@"}, headers=KEY)).status_code == 422
    assert (await ledger.counts())["idempotency_keys"] == 0
    assert (await client.post("/v1/signups", json=BO | {"email": "io@example.org"}, headers=KEY)).status_code == 201


async def test_the_same_key_at_once_is_one_signup_and_equal_answers(
    client: httpx.AsyncClient, ledger: SignupLedger
) -> None:
    answers = await asyncio.gather(*(client.post("/v1/signups", json=BO, headers=KEY) for _ in range(30)))
    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
    assert sorted(answer.headers.get("Idempotent-Replayed", "") for answer in answers) == ["", *["true"] * 29]
    counts = await ledger.counts()
    assert (counts["users"], counts["outbox"], counts["idempotency_keys"]) == (1, 1, 1)


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel", "tab\tbed"])
async def test_an_invalid_key_is_refused_naming_its_header(signup_api: Api, ledger: SignupLedger, key: str) -> None:
    refused = await signup_api.http.post("/v1/signups", json=BO, headers=[(b"Idempotency-Key", key.encode("latin-1"))])
    assert (refused.status_code, refused.json()["errors"][0]["header"]) == (422, "Idempotency-Key")
    assert (await ledger.counts())["users"] == 0
