"""A mail whose row is deleted leaves a record, and the same request again does not send it again."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from tests.support.apis import Api
from tests.support.databases import Clone, Server
from tests.support.reconciliation_lab import DELETE_MAILS, SENT
from tests.support.stack import eventually

MAIL: dict[str, Any] = {"request_id": "one", "to": {"email": "a@x.example"}, "subject": "S", "text": "T"}
SET_STATE = """
UPDATE mails SET state = $1, failure_reason = 'why', next_attempt_at = NULL,
    sent_at = CASE WHEN $1 IN ('sent', 'bounced') THEN now() END
"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
END_STATES = ["sent", "bounced", "uncertain", "failed", "canceled", "expired", "suppressed"]


async def _lose(clone: Clone, *statements: str) -> None:
    owner = await asyncpg.connect(clone.owner_url)
    ids = [row["id"] for row in await owner.fetch("SELECT id FROM mails")]
    for statement in statements or DELETE_MAILS:
        await owner.execute(statement, *([ids] if "$1" in statement else []))
    await owner.close()


async def _mail_in(api: Api, client: httpx.AsyncClient, state: str) -> dict[str, Any]:
    mail = (await client.post("/v1/mails", json=MAIL)).json()
    await api.database.pool.execute("DELETE FROM queue")
    await api.database.pool.execute(SET_STATE, state)
    stored: dict[str, Any] = (await client.get(f"/v1/mails/{mail['id']}")).json()
    return stored


async def _queued(api: Api) -> int:
    count: int = await api.database.pool.fetchval("SELECT count(*) FROM queue")
    return count


@pytest.mark.promise("P4")
@pytest.mark.parametrize("state", END_STATES)
async def test_a_mail_whose_row_was_deleted_is_restored_when_it_is_requested_again(
    mail_api: Api, client: httpx.AsyncClient, mail_database: Clone, state: str
) -> None:
    before = await _mail_in(mail_api, client, state)
    await _lose(mail_database)
    answer = await client.post("/v1/mails", json=MAIL)
    after = answer.json()
    assert (answer.status_code, answer.headers["Idempotent-Replayed"]) == (202, "true")
    kept = ("id", "request_id", "state", "to", "message_id", "accepted_at", "sent_at", "fingerprint")
    assert [after[name] for name in kept] == [before[name] for name in kept]
    assert after["restored"]
    assert await _queued(mail_api) == 0, "nothing is sent again"
    newest = (await client.get(f"/v1/mails/{after['id']}/history")).json()["items"][0]
    assert (newest["kind"], newest["detail"]) == ("mail.restored", {"state": state})
    again = await client.post("/v1/mails", json=MAIL)
    assert again.json() == after


async def test_a_request_that_waits_while_the_row_is_deleted_gets_the_restored_mail(
    mail_api: Api, client: httpx.AsyncClient, mail_database: Clone
) -> None:
    before = await _mail_in(mail_api, client, "sent")
    owner = await asyncpg.connect(mail_database.owner_url)
    async with owner.transaction():
        for statement in DELETE_MAILS:
            await owner.execute(statement, *([[UUID(before["id"])]] if "$1" in statement else []))
        asking = asyncio.create_task(client.post("/v1/mails", json=MAIL))
        await eventually(lambda: mail_api.database.pool.fetchval(WAITING), lambda waiting: waiting == 1)
    answer = await asking
    await owner.close()
    assert (answer.status_code, answer.json()["state"], answer.json()["id"]) == (202, "sent", before["id"])
    assert await _queued(mail_api) == 0


async def test_other_content_under_a_lost_request_id_is_refused(
    mail_api: Api, client: httpx.AsyncClient, mail_database: Clone
) -> None:
    await _mail_in(mail_api, client, "sent")
    await _lose(mail_database)
    batch = {"mails": [MAIL | {"text": "other"}, MAIL | {"request_id": "two"}]}
    refused, taken = (await client.post("/v1/mails/batch", json=batch)).json()["results"]
    assert (refused["outcome"], refused["problem"]["type"]) == ("rejected", "/problems/request-id-reused")
    assert taken["outcome"] == "accepted"
    assert (await client.get("/v1/mails?request_id=one")).json()["items"] == []


async def test_a_deleted_mail_that_had_not_been_sent_is_sent_when_it_is_requested_again(
    mail_api: Api, client: httpx.AsyncClient, mail_database: Clone
) -> None:
    first = (await client.post("/v1/mails", json=MAIL)).json()
    await _lose(mail_database)
    again = await client.post("/v1/mails", json=MAIL)
    assert (again.json()["state"], again.json()["id"] == first["id"]) == ("queued", False)
    await mail_api.database.pool.execute(SENT)
    await _lose(mail_database)
    assert (await client.post("/v1/mails", json=MAIL)).json()["state"] == "sent", "the last loss counts"
    assert await _queued(mail_api) == 0


async def _lose_while_sending(
    api: Api, client: httpx.AsyncClient, clone: Clone, mail: dict[str, Any]
) -> dict[str, Any]:
    accepted: dict[str, Any] = (await client.post("/v1/mails", json=mail)).json()
    await api.database.pool.execute("UPDATE mails SET state = 'sending'")
    await _lose(clone)
    return accepted


async def test_a_deleted_mail_that_was_being_sent_is_uncertain_when_it_is_requested_again(
    mail_api: Api, client: httpx.AsyncClient, mail_database: Clone
) -> None:
    before = await _lose_while_sending(mail_api, client, mail_database, MAIL)
    answer = await client.post("/v1/mails", json=MAIL)
    after = answer.json()
    assert (after["state"], answer.headers["Idempotent-Replayed"]) == ("uncertain", "true")
    assert after["failure"]["reason"] == "its record was lost while it was being sent"
    assert [after[name] for name in ("id", "message_id")] == [before[name] for name in ("id", "message_id")]
    assert await _queued(mail_api) == 0, "it may have left"
    resolved = await client.post(f"/v1/mails/{after['id']}/resolve", json={"as": "resend", "reason": "not in the log"})
    assert (resolved.status_code, resolved.json()["state"]) == (200, "queued")
    assert await _queued(mail_api) == 1


async def test_a_deleted_mail_that_was_being_sent_is_sent_again_where_its_policy_allows_it(
    mail_api: Api, client: httpx.AsyncClient, mail_database: Clone
) -> None:
    mail = MAIL | {"on_uncertain": "resend"}
    await _lose_while_sending(mail_api, client, mail_database, mail)
    other = await client.post("/v1/mails", json=mail | {"text": "other"})
    assert (other.status_code, await _queued(mail_api)) == (422, 0)
    assert (await client.post("/v1/mails", json=mail)).json()["state"] == "queued"
    assert await _queued(mail_api) == 1


async def test_a_lookup_returns_the_record_of_deleted_mails_to_their_client_only(
    mail_api: Api, client: httpx.AsyncClient, mail_database: Clone
) -> None:
    before = await _mail_in(mail_api, client, "sent")
    await _lose(mail_database)
    request = {"request_ids": ["one", "two"]}
    answer = (await client.post("/v1/mails/lookup", json=request)).json()
    lost = answer["lost"].pop("one")
    assert answer == {"found": {}, "missing": ["one", "two"], "lost": {}}
    assert (lost["mail_id"], lost["client"], lost["state"]) == (before["id"], "shop", "sent")
    same = ("request_id", "message_id", "fingerprint", "accepted_at", "sent_at")
    assert [lost[name] for name in same] == [before[name] for name in same]
    async with await mail_api.as_client("other", ["mails:read"]) as other:
        assert (await other.post("/v1/mails/lookup", json=request)).json() == {"found": {}, "missing": ["one", "two"]}


async def test_a_mail_restored_by_its_client_keeps_its_id(
    mail_api: Api, client: httpx.AsyncClient, mail_database: Clone
) -> None:
    before = await _mail_in(mail_api, client, "sent")
    await _lose(mail_database)
    known = {name: before[name] for name in ("request_id", "fingerprint", "to", "sent_at", "message_id")}
    assert (await client.post("/v1/mails/restore", json={"mails": [known]})).json()["restored"] == ["one"]
    (after,) = (await client.get("/v1/mails?request_id=one")).json()["items"]
    assert (after["id"], after["accepted_at"]) == (before["id"], before["accepted_at"])


@pytest.mark.parametrize("deletion", ["TRUNCATE mails CASCADE", "SET session_replication_role = replica; {}"])
async def test_every_way_of_deleting_mails_leaves_a_record(
    mail_api: Api, client: httpx.AsyncClient, mail_database: Clone, postgres_server: Server, deletion: str
) -> None:
    await client.post("/v1/mails", json=MAIL)
    await _lose(mail_database)  # once while it waited: the later loss, as sent, must count
    await _mail_in(mail_api, client, "sent")
    await client.post("/v1/mails", json=MAIL | {"request_id": "waiting"})
    name = mail_database.owner_url.rpartition("/")[2]
    superuser = await asyncpg.connect(postgres_server.superuser_url, database=name)
    await superuser.execute(deletion.format("DELETE FROM mails"))
    await superuser.close()
    assert await mail_api.database.pool.fetchval("SELECT count(*) FROM mails") == 0
    assert await _queued(mail_api) == 0
    assert (await client.post("/v1/mails", json=MAIL)).json()["state"] == "sent"
