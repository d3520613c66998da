"""Erasure removes personal data in one commit, and keeps each mail's record and state."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.mail.delivery.claim import claim_due
from services.mail.delivery.gateways.protocol import AboutToTransmit, BodySupplier, Envelope
from services.mail.delivery.smtp_outcomes import Step, Verdict
from tests.integration.mail.test_interventions import SET_STATE
from tests.support.apis import Api
from tests.support.delivery import make_rig
from tests.support.mails import attempt_rows, mail_row, queue_row
from tests.support.memory_gateway import MemoryGateway
from tests.support.stack import eventually

MAIL: dict[str, Any] = {
    "request_id": "one",
    "to": {"email": "Asa@bücher.example", "name": "Åsa"},
    "subject": "S",
    "text": "T",
    "metadata": {"user_id": "u1", "order_id": 7, "shoe_size": 39},
}
BY_USER = {"metadata": {"user_id": "u1"}}


class Slow(MemoryGateway):
    """Does not answer until `go` is set."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.go = asyncio.Event()

    async def send(self, envelope: Envelope, body: BodySupplier, about_to_transmit: AboutToTransmit) -> Verdict:
        await self.go.wait()
        return await super().send(envelope, body, about_to_transmit)


async def _request(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.post("/v1/mails", json=MAIL | changes)
    assert answer.status_code == 202, answer.text
    mail: dict[str, Any] = answer.json()
    return mail


async def _erase(client: httpx.AsyncClient, body: dict[str, Any]) -> int:
    answer = await client.post("/v1/erasures", json=body)
    assert answer.status_code == 200, answer.text
    erased: int = answer.json()["erased"]
    return erased


@pytest.mark.parametrize(
    "body", [BY_USER, {"metadata": {"user_id": "u1", "order_id": 7}}, {"email": "asa@xn--bcher-kva.example"}]
)
async def test_erasure_leaves_nothing_personal_and_keeps_the_tombstone(
    mail_api: Api, client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    mail = await _request(client)
    await mail_api.database.pool.execute(SET_STATE, "failed")
    await mail_api.database.pool.execute("UPDATE mails SET failure_reply = '550 Asa@bücher.example unknown'")
    await mail_api.database.pool.execute(
        "INSERT INTO attempts (mail_id, n, lease, phase, outcome, ended_at, reply)"
        " VALUES ($1, 1, gen_random_uuid(), 'ended', 'refused', now(), 'Asa')",
        UUID(mail["id"]),
    )
    assert await _erase(client, body) == 1
    erased = (await client.get(f"/v1/mails/{mail['id']}?include=content")).json()
    assert (erased["to"], erased["content"], erased["subject"]) == ({"email": None, "name": None}, None, None)
    assert erased["metadata"] == {"user_id": "u1", "order_id": 7}
    assert erased["failure"]["reply"] is None
    assert [attempt["reply"] for attempt in await attempt_rows(mail_api.database.pool, UUID(mail["id"]))] == [None]
    kept = ("id", "client", "request_id", "fingerprint", "message_id")
    assert {name: erased[name] for name in kept} == {name: mail[name] for name in kept}
    assert erased["state"] == "failed"
    newest = (await client.get(f"/v1/mails/{mail['id']}/history")).json()["items"][0]
    assert (newest["kind"], newest["detail"]) == ("mail.erased", {"state": "failed"})
    assert set(newest["related"]) == {"one", "shop", "u1", "7"}
    tables = ("mails", "contents", "attempts", "history")
    whole_ledger = str([await mail_api.database.pool.fetch(f"SELECT * FROM {table}") for table in tables])
    assert "asa" not in whole_ledger.lower()
    assert "bücher" not in whole_ledger


async def test_erasing_again_finds_nothing_and_writes_no_history(mail_api: Api, client: httpx.AsyncClient) -> None:
    await _request(client)
    assert [await _erase(client, BY_USER) for _ in range(3)] == [1, 0, 0]
    lines = await mail_api.database.pool.fetchval("SELECT count(*) FROM history WHERE kind = 'mail.erased'")
    assert lines == 1


async def test_a_replay_after_erasure_is_answered_with_the_current_mail_and_sends_nothing(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    mail = await _request(client)
    await _erase(client, BY_USER)
    answer = await client.post("/v1/mails", json=MAIL)
    assert (answer.status_code, answer.headers["idempotent-replayed"]) == (202, "true")
    assert (answer.json()["id"], answer.json()["state"]) == (mail["id"], "canceled")
    assert await mail_api.database.pool.fetchval("SELECT count(*) FROM queue") == 0
    other = await client.post("/v1/mails", json=MAIL | {"text": "Other"})
    assert (other.status_code, other.json()["type"]) == (422, "/problems/request-id-reused")


async def test_a_waiting_mail_is_canceled_in_the_change_feed_too(mail_api: Api, client: httpx.AsyncClient) -> None:
    mail = await _request(client)
    other = await _request(client, request_id="two", metadata={"user_id": "u2"}, to={"email": "b@x.example"})
    assert await _erase(client, BY_USER) == 1
    assert (await client.get(f"/v1/mails/{mail['id']}")).json()["state"] == "canceled"
    assert [str(row["mail_id"]) for row in await mail_api.database.pool.fetch("SELECT * FROM queue")] == [other["id"]]
    newest = (await client.get("/v1/changes")).json()["items"][-1]
    assert (newest["kind"], newest["mail_id"], newest["state"]) == ("mail.erased", mail["id"], "canceled")


async def test_a_mail_with_an_unknown_attempt_stays_queued_until_a_claim_makes_it_uncertain(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    pool = mail_api.database.pool
    mail_id = UUID((await _request(client, on_uncertain="resend"))["id"])
    gateway = MemoryGateway(answer=lambda _: (Step.BODY, 0, ""))
    rig = make_rig(pool, [gateway])
    await rig.delivery.run_once()
    await rig.finish()
    assert (await mail_row(pool, mail_id))["state"] == "queued"
    await _erase(client, BY_USER)
    assert await queue_row(pool, mail_id) is not None
    await pool.execute("UPDATE queue SET due_at = now()")
    await claim_due(pool, 10, 30)
    row = await mail_row(pool, mail_id)
    assert (row["state"], row["to_email"], row["failure_reply"]) == ("uncertain", None, None)
    await rig.close()


async def test_an_attempt_under_way_finishes_and_its_reply_is_not_kept(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    pool = mail_api.database.pool
    mail_id = UUID((await _request(client))["id"])
    gateway = Slow(answer=lambda _: (Step.RCPT, 450, "4.2.0 Asa@bücher.example is busy"))
    rig = make_rig(pool, [gateway])
    await rig.delivery.run_once()
    assert await _erase(client, BY_USER) == 1
    gateway.go.set()
    await rig.finish()
    row = await mail_row(pool, mail_id)
    assert (row["state"], row["to_email"], row["failure_reply"]) == ("deferred", None, None)
    assert [attempt["reply"] for attempt in await attempt_rows(pool, mail_id)] == [None]
    # The next claim finds no recipient.
    await pool.execute("UPDATE queue SET due_at = now()")
    await claim_due(pool, 10, 30)
    assert (await mail_row(pool, mail_id))["state"] == "canceled"
    await rig.close()


async def test_a_client_erases_its_own_mails_and_a_key_with_mails_all_erases_those_of_all_clients(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    await _request(client)
    async with await mail_api.as_client("other", ["mails:send", "mails:operate"]) as other:
        assert await _erase(other, BY_USER) == 0
        await _request(other)
    async with await mail_api.as_client("ops", ["mails:operate", "mails:all"]) as ops:
        assert await _erase(ops, BY_USER) == 2
    async with await mail_api.as_client("reader", ["mails:read"]) as reader:
        assert (await reader.post("/v1/erasures", json=BY_USER)).status_code == 403


async def test_suppressions_by_bounces_are_deleted_and_requested_ones_stay(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    mail_id = UUID((await _request(client))["id"])
    suppress = "INSERT INTO suppressions (email_key, email, reason, source, mail_id) VALUES ($1, $1, 'r', $1, $2)"
    for source in ("smtp", "bounce", "complaint", "key:shop/k"):
        await mail_api.database.pool.execute(suppress, source, mail_id)
    await _erase(client, BY_USER)
    left = await mail_api.database.pool.fetch("SELECT source FROM suppressions ORDER BY source")
    assert [row["source"] for row in left] == ["complaint", "key:shop/k"]


REFUSED: list[dict[str, Any]] = [
    {},
    {"email": "a@x.example", "metadata": {"user_id": "u1"}},
    {"metadata": {}},
    {"metadata": {"user_id": {}}},
    {"metadata": {"user_id": None}},
    {"metadata": {"user_id": "a\0b"}},
    {"email": "no address"},
    {"email": None},
]


async def test_an_erasure_that_does_not_name_its_mails_is_refused(mail_api: Api, client: httpx.AsyncClient) -> None:
    await _request(client, metadata={"user_id": {}})
    for body in REFUSED:
        assert (await client.post("/v1/erasures", json=body)).status_code == 422, body
    assert await mail_api.database.pool.fetchval("SELECT count(*) FROM mails WHERE to_key IS NOT NULL") == 1


LEASE = "UPDATE queue SET lease = gen_random_uuid(), attempt = attempt + 1"
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
UNKNOWN = """
WITH a AS (
    INSERT INTO attempts (mail_id, n, lease, phase, outcome, transmitting_at, ended_at)
    SELECT mail_id, attempt, lease, 'ended', 'unknown', now(), now() FROM queue
)
UPDATE queue SET lease = NULL
"""


@pytest.mark.parametrize("ends", [False, True])
async def test_a_mail_that_is_claimed_during_its_erasure_is_not_canceled(
    mail_api: Api, client: httpx.AsyncClient, ends: bool
) -> None:
    """Even when that attempt ends `unknown` before the erasure locks the mail."""
    pool = mail_api.database.pool
    mail_id = UUID((await _request(client))["id"])
    async with pool.acquire() as worker, worker.transaction():
        await worker.execute(LEASE)
        erasing = asyncio.create_task(_erase(client, BY_USER))
        await eventually(lambda: pool.fetchval(BLOCKED), bool)
        if ends:
            await worker.execute(UNKNOWN)
    assert await erasing == 1
    row = await mail_row(pool, mail_id)
    assert (row["state"], row["to_email"]) == ("queued", None)
    assert await queue_row(pool, mail_id) is not None
