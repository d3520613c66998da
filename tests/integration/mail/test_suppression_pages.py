"""Pages of suppressed addresses, which may be deleted while they are read."""

import base64
from typing import Any

import httpx
import pytest

from tests.support.apis import Api
from tests.support.databases import Clone

# One statement, so all of the same time.
SUPPRESS = """
INSERT INTO suppressions (email_key, email, reason, source)
SELECT 'p' || n || '@x.example', 'p' || n || '@x.example', 'why', 'bounce' FROM generate_series(1, $1::int) AS n
"""
LONG = "l" * 60 + "@" + ".".join(["d" * 50] * 3) + ".example"


async def _page(client: httpx.AsyncClient, cursor: str | None, limit: int) -> dict[str, Any]:
    answer = await client.get("/v1/suppressions", params={"limit": limit} | ({"cursor": cursor} if cursor else {}))
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


@pytest.mark.parametrize("deleting", [False, True])
async def test_pages_show_each_address_once_also_when_those_shown_are_deleted(
    mail_database: Clone, client: httpx.AsyncClient, *, deleting: bool
) -> None:
    await mail_database.database.pool.execute(SUPPRESS, 5)
    await client.put("/v1/suppressions/newest@x.example")
    seen: list[str] = []
    cursor = None
    while True:
        page = await _page(client, cursor, 2)
        seen += [item["email"] for item in page["items"]]
        for item in page["items"] if deleting else ():
            assert (await client.delete(f"/v1/suppressions/{item['email']}")).status_code == 204
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen[0] == "newest@x.example"
    assert sorted(seen[1:]) == [f"p{n}@x.example" for n in range(1, 6)]


async def test_a_cursor_is_as_short_for_a_long_address_and_does_not_hold_it(client: httpx.AsyncClient) -> None:
    for email in ("first@x.example", LONG):
        assert (await client.put(f"/v1/suppressions/{email}")).status_code == 201
    first = await _page(client, None, 1)
    assert [item["email"] for item in first["items"]] == [LONG]
    assert len(first["next_cursor"]) < 40
    assert b"l" * 4 not in base64.urlsafe_b64decode(first["next_cursor"])
    second = await _page(client, first["next_cursor"], 1)
    assert [item["email"] for item in second["items"]] == ["first@x.example"]


@pytest.mark.parametrize(
    "content",
    [
        b"a@x.example",  # as cursors were in 0.1.0
        b"a@eightn.example",
        b"ab@eightn.example",
        b"\x7f" + bytes(16),
        b"\x80" + bytes(16),
        bytes(16),
        b"\xff",
    ],
)
async def test_a_cursor_of_another_form_is_refused(mail_api: Api, client: httpx.AsyncClient, content: bytes) -> None:
    await mail_api.database.pool.execute(SUPPRESS, 1)
    cursor = base64.urlsafe_b64encode(content).decode()
    answer = await client.get("/v1/suppressions", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
    assert answer.json()["errors"] == [{"parameter": "cursor", "detail": "Not a cursor of this list"}]
