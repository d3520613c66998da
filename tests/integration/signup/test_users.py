"""GET /v1/users."""

from typing import Any

import httpx
import pytest

from shared.contract.ids import uuid7
from tests.support.apis import Api
from tests.support.signups import SignupLedger


async def emails(client: httpx.AsyncClient, **params: Any) -> list[str]:
    answer = await client.get("/v1/users", params=params)
    assert answer.status_code == 200, answer.text
    return [user["email"] for user in answer.json()["items"]]


async def test_an_address_is_found_in_every_spelling(client: httpx.AsyncClient, ledger: SignupLedger) -> None:
    await ledger.sign_up("Asa@bücher.example", "bo@example.org")
    for spelling in ("asa@BÜCHER.example", "ASA@xn--bcher-kva.example", "Asa@bücher.example"):
        assert await emails(client, email=spelling) == ["Asa@bücher.example"]
    assert sorted(await emails(client, email=["asa@bücher.example", "BO@example.org"])) == [
        "Asa@bücher.example", "bo@example.org",
    ]  # fmt: skip
    assert await emails(client, email="unknown@example.org") == []


async def test_filters_combine_and_pages_follow_each_other_without_gaps(
    client: httpx.AsyncClient, ledger: SignupLedger
) -> None:
    await ledger.sign_up(*(f"p{n}@example.org" for n in range(7)))
    await ledger.run("UPDATE users SET status = 'verified', verified_at = now() WHERE email LIKE 'p3%'")
    expected = await emails(client)
    seen, cursor, pages = [], None, 0
    while cursor or not pages:
        params = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/v1/users", params=params)).json()
        seen += [user["email"] for user in page["items"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert (seen, pages) == (expected, 3)
    assert await emails(client, status="verified") == ["p3@example.org"]
    assert await emails(client, status="verified", source="shop") == []
    assert len(await emails(client, status=["verified", "pending"], source=["web", "shop"])) == 7
    assert await emails(client, created_after="2099-01-01T00:00:00Z") == []
    assert len(await emails(client, created_before="2099-01-01T00:00:00+02:00", limit=9999)) == 7


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("email", "asa"),
        ("email", "asa@\0"),
        ("status", "gone"),
        ("source", "a\0"),
        ("created_after", "yesterday"),
        ("created_after", "0"),
        ("created_after", "2026-01-01T00:00:00"),
        ("created_before", "0001-01-01T00:00:00+14:00"),
        ("limit", "0"),
        ("limit", "x"),
        ("cursor", "nonsense"),
        ("cursor", "ü"),
        ("emial", "asa@example.org"),
    ],
)
async def test_an_invalid_filter_is_refused_by_name(client: httpx.AsyncClient, parameter: str, value: str) -> None:
    refused = await client.get("/v1/users", params={parameter: value})
    assert (refused.status_code, refused.headers["Content-Type"]) == (422, "application/problem+json")
    assert [error["parameter"] for error in refused.json()["errors"]] == [parameter]


async def test_get_user_equals_its_list_entry(client: httpx.AsyncClient, ledger: SignupLedger) -> None:
    (asa,) = await ledger.sign_up("asa@example.org")
    user = await client.get(f"/v1/users/{asa.user['id']}")
    listed = (await client.get("/v1/users")).json()["items"]
    assert (user.status_code, [user.json()]) == (200, listed)


async def test_an_unknown_id_is_404_an_invalid_one_422_and_an_erased_user_410(
    client: httpx.AsyncClient, ledger: SignupLedger
) -> None:
    (asa,) = await ledger.sign_up("asa@example.org")
    await ledger.run(
        "UPDATE users SET status = 'erased', erased_at = now(), email = NULL, email_key = NULL, name = NULL"
    )
    answers = [await client.get(f"/v1/users/{user_id}") for user_id in (uuid7(), "x", asa.user["id"])]
    assert [(answer.status_code, answer.json()["type"]) for answer in answers] == [
        (404, "/problems/not-found"), (422, "/problems/invalid-request"), (410, "/problems/user-erased"),
    ]  # fmt: skip
    assert await emails(client) == []
    assert await emails(client, status="erased") == [None]


async def test_reading_users_needs_a_key_with_the_scope(signup_api: Api) -> None:
    for path in ("/v1/users", f"/v1/users/{uuid7()}"):
        assert (await signup_api.http.get(path)).status_code == 401
        async with await signup_api.as_client("shop", ["signups:write"]) as other:
            assert (await other.get(path)).status_code == 403
