"""Attachments are accepted in one commit with their mail, kept once, and fetched until they are wiped."""

import asyncio
from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from services.mail.ledger import retention
from services.mail.ledger.retention import Retention
from tests.support.apis import Api
from tests.support.attachments import PNG, image, pdf, sent
from tests.support.databases import Clone

from .conftest import ALL_SCOPES
from .test_interventions import SET_STATE

MAIL: dict[str, Any] = {
    "request_id": "invoice-1",
    "to": {"email": "asa@example.org"},
    "subject": "Your invoice",
    "text": "It is attached.",
    "html": "<img src='cid:logo'>",
    "metadata": {"user_id": "u1"},
}
PDF = pdf()
WITH_BOTH = MAIL | {"attachments": [sent(PDF), image()]}
HISTORY = "history WHERE kind LIKE 'mail.%'"
TABLES = ("mails", "contents", "queue", HISTORY, "attachments", "attachment_blobs")
NOTHING = dict.fromkeys(TABLES, 0)


async def _rows(api: Api) -> dict[str, int]:
    return {table: await api.database.pool.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}


async def _accepted(client: httpx.AsyncClient, body: dict[str, Any] = WITH_BOTH) -> str:
    answer = await client.post("/v1/mails", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def test_attachments_are_listed_with_the_content_and_fetched_byte_for_byte(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    mail_id = await _accepted(client)
    content = (await client.get(f"/v1/mails/{mail_id}?include=content")).json()["content"]
    assert content["attachments"] == [
        {
            "n": 0,
            "filename": "invoice.pdf",
            "content_type": "application/pdf",
            "content_id": None,
            "size": len(PDF),
            "sha256": sha256(PDF).hexdigest(),
        },
        {
            "n": 1,
            "filename": "logo.png",
            "content_type": "image/png",
            "content_id": "logo",
            "size": len(PNG),
            "sha256": sha256(PNG).hexdigest(),
        },
    ]
    for n, data in enumerate((PDF, PNG)):
        answer = await client.get(f"/v1/mails/{mail_id}/attachments/{n}")
        assert (answer.status_code, answer.content) == (200, data)
        assert answer.headers["content-length"] == str(len(data))
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''logo.png"
    stored = orjson.loads(await mail_api.database.pool.fetchval("SELECT request::text FROM contents"))
    assert stored["attachments"][0]["sha256"] == sha256(PDF).hexdigest()
    assert "content" not in stored["attachments"][0]


async def test_five_megabytes_come_back_byte_for_byte(client: httpx.AsyncClient) -> None:
    data = pdf(5_000_000)
    mail_id = await _accepted(client, MAIL | {"attachments": [sent(data, "Übersicht.pdf")]})
    answer = await client.get(f"/v1/mails/{mail_id}/attachments/0")
    assert answer.content == data
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%9Cbersicht.pdf"


async def test_the_same_request_again_is_one_mail(mail_api: Api, client: httpx.AsyncClient) -> None:
    mail_id = await _accepted(client)
    before = await _rows(mail_api)
    again = await client.post("/v1/mails", json=WITH_BOTH)
    assert (again.status_code, again.headers["Idempotent-Replayed"], again.json()["id"]) == (202, "true", mail_id)
    assert await _rows(mail_api) == before | {"attachments": 2, "attachment_blobs": 2, "mails": 1}


async def test_equal_requests_at_once_make_one_mail(mail_api: Api, client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post("/v1/mails", json=WITH_BOTH) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await _rows(mail_api) == NOTHING | {
        "mails": 1, "contents": 1, "queue": 1, HISTORY: 1, "attachments": 2, "attachment_blobs": 2
    }  # fmt: skip


ONE_BYTE = bytes([PDF[0] ^ 1]) + PDF[1:]
CHANGES: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "one byte": ([sent(ONE_BYTE), image()], ["/attachments/0"]),
    "a name": ([sent(PDF, "other.pdf"), image()], ["/attachments/0"]),
    "a type": ([sent(PDF, content_type="application/x-pdf"), image()], ["/attachments/0"]),
    "a content ID": ([sent(PDF), image(content_id="other")], ["/attachments/1"]),
    "the order": ([image(), sent(PDF)], ["/attachments/0", "/attachments/1"]),
    "one more": ([sent(PDF), image(), sent(b"x")], ["/attachments/2"]),
    "one less": ([sent(PDF)], ["/attachments/1"]),
    "none": ([], ["/attachments/0", "/attachments/1"]),
}


@pytest.mark.parametrize(("attachments", "pointers"), CHANGES.values(), ids=CHANGES.keys())
async def test_another_attachment_under_a_known_request_id_is_refused_by_its_place(
    mail_api: Api, client: httpx.AsyncClient, attachments: list[dict[str, Any]], pointers: list[str]
) -> None:
    await _accepted(client)
    before = await _rows(mail_api)
    answer = await client.post("/v1/mails", json=WITH_BOTH | {"attachments": attachments})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/request-id-reused")
    assert [error["pointer"] for error in answer.json()["errors"]] == pointers
    assert await _rows(mail_api) == before


async def test_equal_bytes_are_kept_once(mail_api: Api, client: httpx.AsyncClient) -> None:
    mails = [
        MAIL | {"request_id": f"r{n}", "attachments": [sent(PDF, f"{n}.pdf"), sent(PDF), image()]} for n in range(20)
    ]
    answers = await asyncio.gather(
        *(client.post("/v1/mails", json=mail) for mail in mails[:10]),
        client.post("/v1/mails/batch", json={"mails": mails[10:]}),
    )
    assert {answer.status_code for answer in answers} == {200, 202}
    rows = await _rows(mail_api)
    assert (rows["mails"], rows["attachments"], rows["attachment_blobs"]) == (20, 60, 2)


def _bad() -> Iterator[tuple[list[dict[str, Any]], str]]:
    """Fifty bad attachments of each of ten kinds, and where the problem points."""
    good = sent(PDF)
    for n in range(50):
        place, before = n % 5, [good] * (n % 5)
        at = f"/attachments/{place}"
        yield [*before, good | {"filename": f"{'../' * (n + 1)}passwd"}], f"{at}/filename"
        yield [*before, good | {"filename": f"a{chr(n % 32)}b"}], f"{at}/filename"
        yield [*before, good | {"filename": "ü" * (128 + n)}], f"{at}/filename"
        yield [*before, good | {"content_type": f"{'pdf' * n}"}], f"{at}/content_type"
        yield [*before, good | {"content_type": f"multipart/x{n}"}], f"{at}/content_type"
        yield [*before, good | {"content": good["content"][: -1 - n % 3]}], f"{at}/content"
        yield [*before, good | {"content": good["content"][:n] + "\n" + good["content"][n + 1 :]}], f"{at}/content"
        yield [*before, good | {"content_id": f"<logo{n}>"}], f"{at}/content_id"
        yield [image(), *before, image()], f"/attachments/{place + 1}/content_id"
        yield [*before, good | {f"field{n}": 1}], f"{at}/field{n}"


async def test_five_hundred_bad_attachments_are_refused_by_name_and_leave_no_row(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    bad = list(_bad())
    assert len(bad) == 500
    for batch in (bad[start : start + 50] for start in range(0, len(bad), 50)):
        answers = await asyncio.gather(
            *(client.post("/v1/mails", json=MAIL | {"attachments": attachments}) for attachments, _ in batch)
        )
        for answer, (_, pointer) in zip(answers, batch, strict=True):
            assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request"), answer.text
            assert [error["pointer"] for error in answer.json()["errors"]] == [pointer], answer.text
        alone = {"mails": [MAIL | {"attachments": attachments} for attachments, _ in batch]}
        results = (await client.post("/v1/mails/batch", json=alone)).json()["results"]
        assert [result["problem"]["errors"][0]["pointer"] for result in results] == [pointer for _, pointer in batch]
    assert await _rows(mail_api) == NOTHING
    await _accepted(client)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"attachments": [sent(b"x")] * 21}, "/attachments"),
        ({"attachments": "x"}, "/attachments"),
        ({"attachments": ["x"]}, "/attachments/0"),
        ({"attachments": [{"filename": "a", "content_type": "a/b"}]}, "/attachments/0/content"),
        ({"attachments": [sent(b"")]}, "/attachments/0/content"),
        ({"attachments": [sent(b"x"), image()], "html": None}, "/attachments/1/content_id"),
    ],
)
async def test_a_bad_list_of_attachments_is_refused_by_name(
    mail_api: Api, client: httpx.AsyncClient, change: dict[str, Any], pointer: str
) -> None:
    answer = await client.post("/v1/mails", json=MAIL | change)
    assert (answer.status_code, [error["pointer"] for error in answer.json()["errors"]]) == (422, [pointer])
    assert await _rows(mail_api) == NOTHING


async def test_a_bad_attachment_spoils_only_its_own_mail_of_a_batch(mail_api: Api, client: httpx.AsyncClient) -> None:
    batch = [
        WITH_BOTH,
        MAIL | {"request_id": "bad", "attachments": [sent(PDF) | {"content": "no!"}]},
        MAIL | {"request_id": "plain"},
        WITH_BOTH,
        MAIL | {"attachments": [sent(ONE_BYTE), image()]},
    ]
    results = (await client.post("/v1/mails/batch", json={"mails": batch})).json()["results"]
    outcomes = [result["outcome"] for result in results]
    assert outcomes == ["accepted", "rejected", "accepted", "replayed", "rejected"]
    assert results[1]["problem"]["errors"][0]["pointer"] == "/attachments/0/content"
    assert results[4]["problem"]["errors"][0]["pointer"] == "/attachments/0"
    rows = await _rows(mail_api)
    assert (rows["mails"], rows["attachments"], rows["attachment_blobs"]) == (2, 2, 2)


async def test_strangers_find_no_attachment(mail_api: Api, client: httpx.AsyncClient) -> None:
    mail_id = await _accepted(client)
    for n in ("2", "20", "-1", "9" * 30):
        answer = await client.get(f"/v1/mails/{mail_id}/attachments/{n}")
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found"), n
    assert (await client.get(f"/v1/mails/{UUID(int=1)}/attachments/0")).status_code == 404
    assert (await client.get(f"/v1/mails/{mail_id}/attachments/x")).status_code == 422
    async with await mail_api.as_client("other", ALL_SCOPES) as other:
        assert (await other.get(f"/v1/mails/{mail_id}/attachments/0")).status_code == 404
    async with await mail_api.as_client("auditor", ["mails:read", "mails:all"]) as auditor:
        assert (await auditor.get(f"/v1/mails/{mail_id}/attachments/0")).content == PDF


async def _retain(api: Api, content_days: int = 30) -> None:
    loop = Retention(api.database.pool, content_days=content_days, address_days=0)
    while await loop.run_once():
        pass


async def test_retention_wipes_attachments_with_the_content_and_bytes_after_their_last_mail(
    mail_api: Api, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_BLOBS", 1)
    settled = await _accepted(client)
    await mail_api.database.pool.execute(SET_STATE, "failed")
    waiting = await _accepted(client, MAIL | {"request_id": "other", "attachments": [sent(PDF)]})
    await _retain(mail_api)
    assert (await client.get(f"/v1/mails/{settled}/attachments/0")).content == PDF
    await _retain(mail_api, content_days=-1)
    gone = await client.get(f"/v1/mails/{settled}/attachments/0")
    assert (gone.status_code, gone.json()["type"]) == (410, "/problems/attachment-gone")
    assert (await client.get(f"/v1/mails/{waiting}/attachments/0")).content == PDF
    kept = await mail_api.database.pool.fetchval("SELECT array_agg(sha256) FROM attachment_blobs")
    assert kept == [sha256(PDF).digest()]
    replayed = await client.post("/v1/mails", json=WITH_BOTH)
    assert (replayed.status_code, replayed.json()["id"]) == (202, settled)
    assert (await _rows(mail_api))["attachment_blobs"] == 1, "a replay stores nothing"


async def test_erasing_a_person_deletes_the_bytes_that_no_other_mail_has(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    erased = await _accepted(client)
    other = MAIL | {"request_id": "other", "metadata": {"user_id": "u2"}, "attachments": [sent(PDF)]}
    kept = await _accepted(client, other)
    assert (await client.post("/v1/erasures", json={"metadata": {"user_id": "u1"}})).json() == {"erased": 1}
    assert (await client.get(f"/v1/mails/{erased}/attachments/1")).status_code == 410
    assert (await client.get(f"/v1/mails/{kept}/attachments/0")).content == PDF
    rows = await _rows(mail_api)
    assert (rows["attachments"], rows["attachment_blobs"]) == (1, 1)
    await client.post("/v1/erasures", json={"email": "asa@example.org"})
    rows = await _rows(mail_api)
    assert (rows["attachments"], rows["attachment_blobs"]) == (0, 0)


async def test_accepting_and_erasing_the_same_bytes_at_once_loses_neither(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    async def accept(n: int) -> int:
        mail = WITH_BOTH | {"request_id": f"r{n}", "metadata": {"user_id": f"u{n % 10}"}}
        return (await client.post("/v1/mails", json=mail)).status_code

    async def erase(n: int) -> int:
        return (await client.post("/v1/erasures", json={"metadata": {"user_id": f"u{n % 10}"}})).status_code

    statuses = await asyncio.gather(*(call(n) for n in range(60) for call in (accept, erase)), return_exceptions=True)
    assert set(statuses) == {200, 202}
    for mail in (await client.get("/v1/mails?limit=500")).json()["items"]:
        status = (await client.get(f"/v1/mails/{mail['id']}/attachments/0")).status_code
        assert status == (200 if mail["to"]["email"] else 410)
    await _retain(mail_api)
    unused = (
        "SELECT count(*) FROM attachment_blobs b WHERE NOT EXISTS (SELECT FROM attachments WHERE sha256 = b.sha256)"
    )
    assert await mail_api.database.pool.fetchval(unused) == 0


async def test_a_lost_mail_that_may_be_sent_again_gets_its_attachments_back(
    mail_api: Api, client: httpx.AsyncClient, mail_database: Clone
) -> None:
    lost = await _accepted(client)
    await mail_api.database.pool.execute(SET_STATE, "sending")
    await mail_database.as_owner("DELETE FROM attachments")
    await mail_database.as_owner("DELETE FROM attachment_blobs")
    for table in ("contents", "queue", "attempts", "mails"):
        await mail_database.as_owner(f"DELETE FROM {table}")
    assert await _accepted(client) == lost
    assert (await client.get(f"/v1/mails/{lost}")).json()["state"] == "uncertain"
    assert (await client.get(f"/v1/mails/{lost}/attachments/0")).content == PDF
