"""Inserts mails straight into the ledger, as intake leaves them, and reads their rows."""

from typing import Any
from uuid import UUID

import orjson

from shared.contract.ids import uuid7
from shared.db.pool import Database, Pool

_INSERT = """
WITH m AS (
    INSERT INTO mails (id, client, request_id, fingerprint, state, to_email, to_key, metadata, on_uncertain, lane,
                       message_id, next_attempt_at, expires_at)
    SELECT id, 'tests', id::text, sha256(id::text::bytea), 'queued', email, lower(email), $3::jsonb, $4, $5,
           '<' || id || '@counterfoil.test>', now(), now() + make_interval(secs => $6::float8)
    FROM unnest($1::uuid[], $2::text[]) AS g(id, email)
), c AS (
    INSERT INTO contents (mail_id, request, sender_email, sender_name, subject, text, html)
    SELECT id, '{}', 'no-reply@counterfoil.test', 'Counterfoil', 'Please confirm your address', $7::text, $8::text
    FROM unnest($1::uuid[]) AS g(id)
)
INSERT INTO queue (mail_id, lane, due_at) SELECT id, $5, now() FROM unnest($1::uuid[]) AS g(id)
"""


async def insert_mails(
    pool: Pool,
    count: int = 1,
    *,
    to: str | None = None,
    on_uncertain: str = "hold",
    lane: str = "live",
    metadata: dict[str, Any] | None = None,
    expires_in_seconds: float = 172_800,
    text: str = "Hello,\n.a line that begins with a dot\n",
    html: str | None = None,
) -> list[UUID]:
    """Queue and commit `count` mails, due now, all to `to` or each to its own address."""
    ids = [uuid7() for _ in range(count)]
    addresses = [to or f"{mail_id.hex}@example.test" for mail_id in ids]
    details = orjson.dumps(metadata or {}).decode()
    await pool.execute(_INSERT, ids, addresses, details, on_uncertain, lane, expires_in_seconds, text, html)
    return ids


async def mail_row(pool: Pool, mail_id: UUID) -> dict[str, Any]:
    row = await pool.fetchrow("SELECT * FROM mails WHERE id = $1", mail_id)
    assert row is not None
    return dict(row)


async def attempt_rows(pool: Pool, mail_id: UUID) -> list[dict[str, Any]]:
    return [dict(row) for row in await pool.fetch("SELECT * FROM attempts WHERE mail_id = $1 ORDER BY n", mail_id)]


async def queue_row(pool: Pool, mail_id: UUID) -> dict[str, Any] | None:
    row = await pool.fetchrow("SELECT *, due_at <= now() AS due FROM queue WHERE mail_id = $1", mail_id)
    return dict(row) if row else None


async def make_due(pool: Pool, mail_id: UUID) -> None:
    """Make a waiting row due, or let the lease of a claimed row expire."""
    await pool.execute("UPDATE queue SET due_at = now() WHERE mail_id = $1", mail_id)


async def history_kinds(pool: Pool, mail_id: UUID) -> list[str]:
    rows = await pool.fetch("SELECT kind FROM history WHERE subject = $1 ORDER BY id", str(mail_id))
    return [row["kind"] for row in rows]


async def states(database: Database) -> dict[str, int]:
    """The number of mails in each state."""
    rows = await database.pool.fetch("SELECT state, count(*) AS n FROM mails GROUP BY state")
    return {row["state"]: row["n"] for row in rows}
