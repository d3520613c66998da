"""What retention wipes after which time, and what stays for ever."""

from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from services.mail.delivery.states import MailState
from services.mail.ledger import retention
from services.mail.ledger.retention import Retention
from shared.contract.ids import uuid7
from shared.db.pool import Pool
from tests.integration.mail.test_interventions import MAIL, SET_STATE
from tests.support.apis import Api
from tests.support.databases import Clone
from tests.support.mails import attempt_rows, mail_row
from tests.support.notices import quoted_header, recipient_fields, report

FINAL = {"sent", "bounced", "failed", "canceled", "expired", "suppressed"}
# A mail accepted $1 days ago (its ID says so too), in state $2, with one attempt.
INSERT_OLD = """
WITH m AS (
    INSERT INTO mails (id, client, request_id, fingerprint, state, to_email, to_key, to_name, metadata, on_uncertain,
        lane, message_id, accepted_at, sent_at, next_attempt_at, expires_at, failure_reason, failure_reply)
    SELECT id, 'tests', id::text, sha256(id::text::bytea), $2::text, id || '@x.example', id || '@x.example', 'Name',
        $3::jsonb, 'hold', 'live', '<m>', now() - make_interval(days => $1::int),
        CASE WHEN $2 IN ('sent', 'bounced') THEN now() END,
        CASE WHEN $2 IN ('queued', 'sending', 'deferred') THEN now() END, now(), 'why', 'words'
    FROM uuidv7(make_interval(days => -$1::int)) AS id
    RETURNING id
), c AS (
    INSERT INTO contents (mail_id, request, sender_email, subject, text)
    SELECT id, '{}', 'a@x.example', 's', 't' FROM m
), a AS (
    INSERT INTO attempts (mail_id, n, lease, phase, outcome, ended_at, reply)
    SELECT id, 1, gen_random_uuid(), 'ended', 'refused', now(), 'words' FROM m
)
SELECT id FROM m
"""


async def _aged(pool: Pool, days: int, state: str = "sent", metadata: dict[str, Any] | None = None) -> UUID:
    mail_id: UUID = await pool.fetchval(INSERT_OLD, days, state, orjson.dumps(metadata or {}).decode())
    return mail_id


async def _run(pool: Pool, *, content_days: int = 30, address_days: int = 0) -> None:
    loop = Retention(pool, content_days=content_days, address_days=address_days)
    while await loop.run_once():
        pass


async def _has_content(pool: Pool, mail_id: UUID) -> bool:
    return bool(await pool.fetchval("SELECT true FROM contents WHERE mail_id = $1", mail_id))


async def test_content_and_replies_are_wiped_of_settled_mails_only(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    old = {state: await _aged(pool, 31, state) for state in MailState}
    await _run(pool)
    for state, mail_id in old.items():
        row, (attempt,) = await mail_row(pool, mail_id), await attempt_rows(pool, mail_id)
        wiped = state in FINAL
        assert await _has_content(pool, mail_id) is not wiped, state
        assert (row["failure_reply"], attempt["reply"]) == ((None, None) if wiped else ("words", "words")), state
        # The recipient stays unless MAIL_ADDRESS_DAYS is set.
        assert row["to_email"] is not None
        assert (row["state"], row["failure_reason"]) == (state, "why")


async def test_content_of_recent_mails_is_kept(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    young = await _aged(pool, 29)
    await _run(pool)
    assert await _has_content(pool, young)
    assert (await mail_row(pool, young))["failure_reply"] == "words"


async def test_addresses_and_names_are_wiped_after_their_own_time_and_ids_stay(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    metadata = {"user_id": "u1", "shoe_size": 39}
    old, young = await _aged(pool, 91, metadata=metadata), await _aged(pool, 89, metadata=metadata)
    held = await _aged(pool, 91, "uncertain", metadata=metadata)
    await _run(pool, address_days=0)
    assert (await mail_row(pool, old))["to_email"] is not None
    await _run(pool, address_days=90)
    row = await mail_row(pool, old)
    assert (row["to_email"], row["to_key"], row["to_name"]) == (None, None, None)
    assert row["metadata"] == '{"user_id": "u1"}'
    assert row["request_id"]
    for kept in (young, held):
        assert (await mail_row(pool, kept))["to_email"] is not None


async def test_a_pass_wipes_batch_after_batch_to_the_end(mail_database: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_BATCH", 2)
    monkeypatch.setattr(retention, "_WINDOW", 2)
    pool = mail_database.database.pool
    old = [await _aged(pool, 40) for _ in range(5)]
    await _run(pool, address_days=35)
    assert await pool.fetchval("SELECT count(*) FROM contents") == 0
    assert await pool.fetchval("SELECT count(*) FROM mails WHERE to_email IS NOT NULL") == 0
    run = await pool.fetchrow("SELECT contents_wiped, addresses_wiped FROM retention_runs")
    assert run is not None
    assert tuple(run) == (len(old), len(old))


async def test_a_locked_mail_is_left_for_the_next_run(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    old = await _aged(pool, 31)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM mails WHERE id = $1 FOR UPDATE", old)
        await _run(pool)
        assert await _has_content(pool, old)
    await _run(pool)
    assert not await _has_content(pool, old)


async def test_the_diagnostic_of_a_notice_is_wiped_after_its_own_time(
    mail_api: Api, client: httpx.AsyncClient, mail_database: Clone
) -> None:
    pool = mail_api.database.pool
    mail_id = (await client.post("/v1/mails", json=MAIL)).json()["id"]
    await pool.execute(SET_STATE, "sent")
    headers = {"Content-Type": "message/rfc822"}
    await client.post("/v1/bounces", content=report(quoted_header(mail_id)), headers=headers)
    unmatched = report(quoted_header(uuid7()), recipient_fields())
    await client.post("/v1/bounces", content=unmatched, headers=headers)
    await _run(pool)
    assert await pool.fetchval("SELECT count(*) FROM bounces WHERE diagnostic IS NOT NULL") == 2
    await mail_database.as_owner("UPDATE bounces SET received_at = now() - interval '31 days'")
    await _run(pool)
    assert await pool.fetchval("SELECT count(*) FROM bounces WHERE diagnostic IS NOT NULL") == 0
    mail = (await client.get(f"/v1/mails/{mail_id}")).json()
    assert mail["failure"] == {"reason": "bounced with 5.1.1", "code": 550, "enhanced_code": "5.1.1", "reply": None}


async def test_health_says_when_retention_last_ran_and_warns_when_that_is_long_ago(mail_api: Api) -> None:
    async def check() -> dict[str, Any]:
        found: dict[str, Any] = (await mail_api.operations.get("/health")).json()["checks"]["retention"]
        return found

    assert (await check())["status"] == "warn"
    await _run(mail_api.database.pool)
    ran = await check()
    assert (ran["status"], ran["observed_unit"]) == ("pass", "s")
    await mail_api.database.pool.execute("UPDATE retention_runs SET ran_at = now() - interval '25 hours'")
    assert (await check())["status"] == "warn"


async def test_health_warns_of_content_that_is_overdue(mail_api: Api) -> None:
    pool = mail_api.database.pool

    async def check() -> tuple[str, bool]:
        found = (await mail_api.operations.get("/health")).json()["checks"]["retention"]
        return found["status"], "older than 30 days" in found["detail"]

    await _run(pool)
    await _aged(pool, 30)
    await _aged(pool, 40, "uncertain")
    assert await check() == ("pass", False), "a day of grace, and uncertain mails keep their content"
    await _aged(pool, 32)
    assert await check() == ("warn", True)
    await _run(pool)
    assert await check() == ("pass", False)
