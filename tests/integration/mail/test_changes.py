"""The change feed has no gap and shows nothing behind a cursor, in whatever order transactions commit."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from services.mail.ledger.change_feed import changes
from tests.support.apis import Api
from tests.support.databases import Clone
from tests.support.mails import insert_mails

TELL = """
INSERT INTO history (kind, subject, actor, detail)
SELECT 'mail.accepted', id::text, 'test', '{"state": "queued"}' FROM mails WHERE client = 'tests' ORDER BY id
"""


def _mail(request_id: str) -> dict[str, Any]:
    return {"request_id": request_id, "to": {"email": "a@x.example"}, "subject": "S", "text": "T"}


async def test_an_empty_feed_returns_a_cursor_to_continue_from(client: httpx.AsyncClient) -> None:
    empty = (await client.get("/v1/changes")).json()
    assert empty["items"] == []
    await client.post("/v1/mails", json=_mail("one"))
    page = (await client.get("/v1/changes", params={"after": empty["next_cursor"]})).json()
    assert [(change["request_id"], change["state"]) for change in page["items"]] == [("one", "queued")]
    again = (await client.get("/v1/changes", params={"after": page["next_cursor"]})).json()
    assert (again["items"], again["next_cursor"]) == ([], page["next_cursor"])


@pytest.mark.promise("P6")
async def test_a_change_is_shown_only_when_no_earlier_one_can_still_commit(
    mail_database: Clone, client: httpx.AsyncClient
) -> None:
    await client.post("/v1/mails", json=_mail("one"))
    slow = await asyncpg.connect(mail_database.owner_url)
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute(
        "INSERT INTO history (kind, subject, actor, detail)"
        """ SELECT 'mail.sent', id::text, 'test', '{"state": "sent"}' FROM mails"""
    )
    await client.post("/v1/mails", json=_mail("two"))  # begins later, commits first
    before = (await client.get("/v1/changes")).json()
    assert [change["kind"] for change in before["items"]] == ["mail.accepted"]
    await transaction.commit()
    await slow.close()
    after = (await client.get("/v1/changes", params={"after": before["next_cursor"]})).json()
    assert [(change["kind"], change["request_id"]) for change in after["items"]] == [
        ("mail.sent", "one"),
        ("mail.accepted", "two"),
    ]


async def test_a_follower_sees_every_change_once_while_writers_race(client: httpx.AsyncClient) -> None:
    async def write(writer: int) -> None:
        for n in range(20):
            await client.post("/v1/mails", json=_mail(f"{writer}-{n}"))

    seen: list[str] = []

    async def follow() -> None:
        cursor: dict[str, str] = {}
        while len(seen) < 160:
            page = (await client.get("/v1/changes", params={**cursor, "limit": 7})).json()
            seen.extend(change["request_id"] for change in page["items"])
            cursor = {"after": page["next_cursor"]}

    await asyncio.gather(follow(), *(write(writer) for writer in range(8)))
    assert sorted(seen) == sorted(f"{writer}-{n}" for writer in range(8) for n in range(20))


async def test_a_cursor_from_before_a_restore_is_reported_as_lost(
    mail_database: Clone, client: httpx.AsyncClient
) -> None:
    await client.post("/v1/mails", json=_mail("one"))
    cursor = (await client.get("/v1/changes")).json()["next_cursor"]
    owner = await asyncpg.connect(mail_database.owner_url)
    # Stands for a restore to an earlier time; with the trigger on, the database refuses it.
    await owner.execute("ALTER TABLE history DISABLE TRIGGER history_is_append_only")
    await owner.execute("DELETE FROM history")
    await owner.close()
    answer = await client.get("/v1/changes", params={"after": cursor})
    assert (answer.status_code, answer.json()["type"]) == (410, "/problems/cursor-lost")


async def test_positions_keep_rising_after_a_dump_is_restored_into_a_younger_cluster(
    mail_database: Clone, client: httpx.AsyncClient
) -> None:
    await client.post("/v1/mails", json=_mail("one"))
    owner = await asyncpg.connect(mail_database.owner_url)
    # As if a cluster with much higher transaction IDs had written the line.
    await owner.execute("ALTER TABLE history DISABLE TRIGGER history_is_append_only")
    await owner.execute("UPDATE history SET position = position + 1000000000000")
    assert await mail_database.database.pool.fetchval("SELECT rebase_feed()")
    assert not await mail_database.database.pool.fetchval("SELECT rebase_feed()")
    await owner.close()
    await client.post("/v1/mails", json=_mail("two"))
    items = (await client.get("/v1/changes")).json()["items"]
    assert [change["request_id"] for change in items] == ["one", "two"]


async def test_a_client_follows_only_its_own_mails(mail_api: Api, client: httpx.AsyncClient) -> None:
    await client.post("/v1/mails", json=_mail("one"))
    async with await mail_api.as_client("other", ["mails:read"]) as other:
        assert (await other.get("/v1/changes")).json()["items"] == []
    async with await mail_api.as_client("ops", ["mails:read", "mails:all"]) as ops:
        assert [change["client"] for change in (await ops.get("/v1/changes")).json()["items"]] == ["shop"]


async def test_an_empty_page_moves_the_cursor_past_the_changes_of_other_clients(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    all_clients = await mail_api.as_client("ops", ["mails:read", "mails:all"])
    async with all_clients as ops, await mail_api.as_client("other", ["mails:read", "mails:send"]) as other:
        await client.post("/v1/mails", json=_mail("one"))
        newest = (await ops.get("/v1/changes")).json()["next_cursor"]
        first = (await other.get("/v1/changes")).json()
        assert first == {"items": [], "next_cursor": newest, "more": False}
        await client.post("/v1/mails", json=_mail("two"))
        await other.post("/v1/mails", json=_mail("three"))
        second = (await other.get("/v1/changes", params={"after": newest})).json()
        assert [change["request_id"] for change in second["items"]] == ["three"]


async def test_a_cursor_at_another_clients_change_is_reported_as_lost_after_a_restore(
    mail_api: Api, mail_database: Clone, client: httpx.AsyncClient
) -> None:
    await client.post("/v1/mails", json=_mail("one"))
    async with await mail_api.as_client("other", ["mails:read"]) as other:
        after = {"after": (await other.get("/v1/changes")).json()["next_cursor"]}
        assert (await other.get("/v1/changes", params=after)).status_code == 200
        await mail_database.as_owner("ALTER TABLE history DISABLE TRIGGER history_is_append_only")
        await mail_database.as_owner("DELETE FROM history")
        assert (await other.get("/v1/changes", params=after)).status_code == 410


async def test_an_empty_page_does_not_move_the_cursor_past_what_may_still_commit(
    mail_api: Api, mail_database: Clone, client: httpx.AsyncClient
) -> None:
    async with await mail_api.as_client("other", ["mails:read", "mails:send"]) as other:
        await other.post("/v1/mails", json=_mail("one"))
        cursor = (await other.get("/v1/changes")).json()["next_cursor"]
        slow = await asyncpg.connect(mail_database.owner_url)
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute(
            "INSERT INTO history (kind, subject, actor, detail)"
            """ SELECT 'mail.sent', id::text, 'test', '{"state": "sent"}' FROM mails WHERE client = 'other'"""
        )
        await client.post("/v1/mails", json=_mail("two"))  # begins later, commits first
        page = (await other.get("/v1/changes", params={"after": cursor})).json()
        await transaction.commit()
        await slow.close()
        page = (await other.get("/v1/changes", params={"after": page["next_cursor"]})).json()
        assert [change["kind"] for change in page["items"]] == ["mail.sent"]


@pytest.mark.parametrize("looking_seconds", [0, 60])
async def test_a_page_looks_at_a_bounded_number_of_entries_and_says_whether_there_is_more(
    mail_database: Clone, client: httpx.AsyncClient, looking_seconds: float
) -> None:
    database = mail_database.database
    await client.post("/v1/mails", json=_mail("one"))
    await insert_mails(database.pool, 25)
    await database.pool.execute(TELL)
    await client.post("/v1/mails", json=_mail("two"))
    pages: list[dict[str, Any]] = []
    while not pages or pages[-1]["more"]:
        after = pages[-1]["next_cursor"] if pages else None
        pages.append(await changes(database, "shop", after, 2, looked_at=10, looking_seconds=looking_seconds))
    found = [[item["request_id"] for item in page["items"]] for page in pages]
    # 27 entries: the page of the one who looks for long is full.
    assert found == ([["one", "two"]] if looking_seconds else [["one"], [], ["two"]])


@pytest.mark.parametrize(("limit", "pages"), [(2, 3), (3, 2), (6, 1), (7, 1)])
async def test_a_full_page_says_whether_there_is_more(client: httpx.AsyncClient, limit: int, pages: int) -> None:
    for n in range(6):
        await client.post("/v1/mails", json=_mail(str(n)))
    seen: list[str] = []
    params: dict[str, Any] = {"limit": limit}
    for n in range(1, pages + 1):
        page = (await client.get("/v1/changes", params=params)).json()
        assert page["more"] == (n < pages)
        seen += [change["request_id"] for change in page["items"]]
        params["after"] = page["next_cursor"]
    assert seen == [str(n) for n in range(6)]


async def test_an_invalid_cursor_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/changes?after=abc")
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "after")
