"""After the mail ledger is restored to an earlier time, a waiting mail that its client knows as sent becomes sent."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest

from services.mail.delivery import queries as delivery
from services.mail.delivery.states import MAIL_TRANSITIONS, MailState
from services.mail.operator_actions import queries as interventions
from shared.worker.claim_floor import BEGINNING
from tests.support.apis import Api
from tests.support.stack import eventually

MAIL: dict[str, Any] = {"request_id": "one", "to": {"email": "a@x.example"}, "subject": "S", "text": "T"}
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
SET_STATE = """
WITH dequeued AS (DELETE FROM queue WHERE $1 NOT IN ('queued', 'deferred', 'sending'))
UPDATE mails SET state = $1, failure_reason = 'why',
    sent_at = CASE WHEN $1 IN ('sent', 'bounced') THEN now() END,
    next_attempt_at = CASE WHEN $1 IN ('queued', 'deferred', 'sending') THEN now() END
"""
CORRECTED = [state for state in MailState if "restore" in MAIL_TRANSITIONS[state] and state != MailState.SENDING]


async def _mail_in(api: Api, client: httpx.AsyncClient, state: str) -> dict[str, Any]:
    mail: dict[str, Any] = (await client.post("/v1/mails", json=MAIL)).json()
    await api.database.pool.execute(SET_STATE, state)
    return mail


def _known(mail: dict[str, Any], **changed: object) -> dict[str, Any]:
    known = {
        "request_id": "one",
        "fingerprint": mail["fingerprint"],
        "to": {"email": "a@x.example"},
        "sent_at": "2026-01-01T00:00:00Z",
        "message_id": "<first@x.example>",
        "even_if_known": True,
    }
    return {"mails": [known | changed]}


async def _state(api: Api) -> tuple[str, int]:
    row = await api.database.pool.fetchrow("SELECT state, (SELECT count(*) FROM queue) AS queued FROM mails")
    assert row is not None
    return row["state"], row["queued"]


@pytest.mark.parametrize("state", list(MailState))
async def test_a_mail_that_is_not_sent_here_becomes_sent_where_its_state_allows_it(
    mail_api: Api, client: httpx.AsyncClient, state: MailState
) -> None:
    mail = await _mail_in(mail_api, client, state)
    if state == MailState.SENDING:
        await mail_api.database.pool.execute("UPDATE queue SET lease = gen_random_uuid(), due_at = now() + '1 hour'")
    answer = (await client.post("/v1/mails/restore", json=_known(mail))).json()
    if state not in CORRECTED:
        assert answer == {"restored": [], "known": ["one"]}
        assert (await _state(mail_api))[0] == state
        return
    assert answer == {"restored": ["one"], "known": []}
    after = (await client.get(f"/v1/mails/{mail['id']}")).json()
    assert (after["state"], after["restored"], after["sent_at"]) == ("sent", True, "2026-01-01T00:00:00Z")
    assert after["message_id"] == "<first@x.example>"
    assert await _state(mail_api) == ("sent", 0), "nothing is sent again"
    newest = (await client.get(f"/v1/mails/{mail['id']}/history")).json()["items"][0]
    assert (newest["kind"], newest["detail"]) == ("mail.restored", {"state": "sent", "was": state})


@pytest.mark.parametrize(
    "changed", [{"even_if_known": False}, {"fingerprint": "ab" * 32}, {"to": {"email": "b@x.example"}}]
)
async def test_without_the_flag_or_for_another_mail_nothing_changes(
    mail_api: Api, client: httpx.AsyncClient, changed: dict[str, object]
) -> None:
    mail = await _mail_in(mail_api, client, "queued")
    answer = (await client.post("/v1/mails/restore", json=_known(mail, **changed))).json()
    assert answer == {"restored": [], "known": ["one"]}
    assert await _state(mail_api) == ("queued", 1)


@pytest.mark.parametrize(
    ("phase", "outcome", "counted"), [("claimed", "gateway_fault", 0), ("transmitting", "unknown", 1)]
)
async def test_a_mail_whose_worker_is_lost_is_corrected_and_late_writes_change_nothing(
    mail_api: Api, client: httpx.AsyncClient, phase: str, outcome: str, counted: int
) -> None:
    mail = (await client.post("/v1/mails", json=MAIL)).json()
    pool = mail_api.database.pool
    (claimed,) = await pool.fetch(delivery.CLAIM_DUE, 10, 0, 30.0, BEGINNING, BEGINNING)
    transmission = [claimed["id"]], [1], [claimed["lease"]], ["gateway"], [None], [None], [None]
    if phase == "transmitting":
        await pool.fetch(delivery.TRANSMIT_IF_LEASED, *transmission)
    await pool.execute("UPDATE queue SET due_at = now() - interval '1 second'")
    assert (await client.post("/v1/mails/restore", json=_known(mail))).json()["restored"] == ["one"]
    (attempt,) = (await client.get(f"/v1/mails/{mail['id']}/attempts")).json()["items"]
    assert (attempt["phase"], attempt["outcome"], attempt["counted"]) == ("ended", outcome, bool(counted))
    assert (await client.get(f"/v1/mails/{mail['id']}")).json()["attempts"] == counted
    assert await pool.fetch(delivery.RENEW_IF_LEASED, [claimed["id"]], [claimed["lease"]], 30.0) == []
    assert await pool.fetch(delivery.TRANSMIT_IF_LEASED, *transmission) == []
    assert await _state(mail_api) == ("sent", 0)


async def test_a_slow_worker_sends_no_body_of_a_mail_that_is_being_corrected(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    mail = (await client.post("/v1/mails", json=MAIL)).json()
    pool = mail_api.database.pool
    (claimed,) = await pool.fetch(delivery.CLAIM_DUE, 10, 0, 30.0, BEGINNING, BEGINNING)
    await pool.execute("UPDATE queue SET due_at = now() - interval '1 second'")
    (known,) = _known(mail)["mails"]
    row = known | {"id": mail["id"], "to_email": "a@x.example", "to_key": "a@x.example"}
    late = [claimed["id"]], [1], [claimed["lease"]], ["gateway"], [None], [None], [None]
    async with pool.acquire() as correcting, correcting.transaction():
        rows = orjson.dumps([row]).decode()
        assert await correcting.fetch(interventions.CORRECT_IF_NOT_SENT, mail["client"], rows, "key")
        # Its statement still sees the row of the queue.
        transmitting = asyncio.create_task(pool.fetch(delivery.TRANSMIT_IF_LEASED, *late))
        await eventually(lambda: pool.fetchval(WAITING), lambda waiting: waiting == 1)
    assert await transmitting == []
    assert await _state(mail_api) == ("sent", 0)


async def test_a_mail_that_its_slow_worker_releases_at_the_same_time_is_corrected(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    mail = (await client.post("/v1/mails", json=MAIL)).json()
    pool = mail_api.database.pool
    await pool.fetch(delivery.CLAIM_DUE, 10, 0, 30.0, BEGINNING, BEGINNING)
    await pool.execute("UPDATE queue SET due_at = now() - interval '1 second'")
    (known,) = _known(mail)["mails"]
    row = known | {"id": mail["id"], "to_email": "a@x.example", "to_key": "a@x.example"}
    async with pool.acquire() as worker, worker.transaction():
        await worker.execute("UPDATE queue SET lease = NULL, due_at = now() + interval '1 hour'")
        await worker.execute("UPDATE mails SET state = 'deferred', failure_reason = 'later'")
        rows = orjson.dumps([row]).decode()
        correcting = asyncio.create_task(pool.fetch(interventions.CORRECT_IF_NOT_SENT, mail["client"], rows, "key"))
        await eventually(lambda: pool.fetchval(WAITING), lambda waiting: waiting == 1)
    assert [corrected["request_id"] for corrected in await correcting] == ["one"]
    assert await _state(mail_api) == ("sent", 0)


async def test_a_mail_restored_by_a_clock_that_is_ahead_was_accepted_now_and_is_found_by_that_time(
    client: httpx.AsyncClient,
) -> None:
    now = datetime.now(UTC)
    known = _known({"fingerprint": "f" * 64}, sent_at=(now + timedelta(hours=3)).isoformat())
    assert (await client.post("/v1/mails/restore", json=known)).json()["restored"] == ["one"]
    for minutes, found in ((-1, ["one"]), (1, [])):
        page = await client.get("/v1/mails", params={"accepted_after": (now + timedelta(minutes=minutes)).isoformat()})
        assert [mail["request_id"] for mail in page.json()["items"]] == found, minutes
