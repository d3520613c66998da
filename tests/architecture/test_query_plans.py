"""The claims walk the index on due time, however long the queue and however stale its statistics."""

from uuid import uuid4

import pytest

from services.mail.delivery.queries import CLAIM_DUE as CLAIM_DUE_MAILS
from services.signup.outbox.queries import CLAIM_DUE as CLAIM_DUE_EFFECTS
from tests.support.databases import Clone

FILL_OUTBOX = """
INSERT INTO outbox (effect, payload, expires_at, due_at)
SELECT 'mail', '{}', now(), now() + make_interval(secs => n - 150000) FROM generate_series(1, 200000) AS n
"""
FILL_QUEUE = """
WITH m AS (
    INSERT INTO mails (
        id, client, request_id, fingerprint, state, on_uncertain, lane, message_id, next_attempt_at, expires_at
    )
    SELECT uuidv7(), 'c', n::text, sha256(''), 'queued', 'hold', 'live', '<m>', now(), now()
    FROM generate_series(1, 100000) AS n RETURNING id, request_id
)
INSERT INTO queue (mail_id, lane, due_at)
SELECT id, 'live', now() + make_interval(secs => request_id::int - 50000) FROM m
"""


async def _plan(clone: Clone, query: str, *arguments: object) -> str:
    return "\n".join(row[0] for row in await clone.database.pool.fetch(f"EXPLAIN {query}", *arguments))


@pytest.mark.parametrize("analyzed", [False, True])
async def test_claiming_effects_reads_no_more_of_the_outbox_than_it_takes(
    signup_database: Clone, *, analyzed: bool
) -> None:
    pool = signup_database.database.pool
    await pool.execute(FILL_OUTBOX)
    if analyzed:
        await pool.execute("ANALYZE outbox")
    plan = await _plan(signup_database, CLAIM_DUE_EFFECTS, "mail", 200, uuid4(), 30.0)
    assert "outbox_due" in plan
    assert "Seq Scan on outbox" not in plan


@pytest.mark.parametrize("analyzed", [False, True])
async def test_claiming_mails_reads_no_more_of_the_queue_than_it_takes(mail_database: Clone, *, analyzed: bool) -> None:
    pool = mail_database.database.pool
    await pool.execute(FILL_QUEUE)
    if analyzed:
        await pool.execute("ANALYZE queue")
        await pool.execute("ANALYZE mails")
    plan = await _plan(mail_database, CLAIM_DUE_MAILS, 100, 25, 30.0)
    assert "queue_due" in plan
    for table in ("queue", "mails", "contents"):
        assert f"Seq Scan on {table}" not in plan, plan
