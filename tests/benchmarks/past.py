"""Writes old rows straight into both ledgers: people who signed up and were mailed this month.

Rows, indexes and page fill are those of the product. Only the contents of mails are shorter: no question reads them.
"""

import shutil
from datetime import datetime

from services.mail.ledger.change_feed import cursor_of
from shared.contract.ids import UUID

from .bulk_load import load_both
from .product import STATE, Product

# Several transactions, so that the rows have several positions in the change feed.
CHUNK = 10_000
# Measured with a million, with all indexes; and the server's log while it loads.
BYTES_A_PERSON, BYTES_BESIDE = 4_500, 5_000_000_000
# The one mail with this tag, in the middle of the smallest past.
RARE_TAG, RARE = "rare", 5_000


def _id(seed: str) -> str:
    """A UUIDv7 of the time `at`, the same in both databases."""
    digest = f"md5({seed})"
    return (
        "(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || "
        f"substr({digest}, 1, 3) || '8' || substr({digest}, 4, 15))::uuid"
    )


# $1 rows written before, $2 last row, $3 total, $4 now: spread over the month, in order. The outbox row's ID is the
# request ID in the mail ledger; `other_id` is the user's.
_MADE = f"""
WITH n AS (
    SELECT n, 'past-' || n || '@bench.example' AS address,
           $4::timestamptz - ($4::timestamptz - date_trunc('month', $4::timestamptz)) * (1 - n / $3::float8) AS at
    FROM generate_series($1::int + 1, $2::int) n
), made AS MATERIALIZED (
    SELECT n, address, at, {_id("'user' || n")} AS other_id, {_id("n::text")} AS id FROM n
)
"""

_SIGNUP = {
    "users": """
        SELECT other_id AS id, address AS email, address AS email_key, 'Åsa Öberg' AS name, 'web' AS source,
               at AS created_at, at AS updated_at, at AS last_mail_at, 'verified' AS status, at AS verified_at
        FROM made""",
    "outbox_settled": """
        SELECT id, 'mail' AS effect, other_id AS user_id,
               jsonb_build_object('to', jsonb_build_object('email', address, 'name', 'Åsa Öberg'), 'locale', 'en',
                                  'template', 'verification',
                                  'link', jsonb_build_object('base', 'https://bench.example', 'key_id', '0a1b2c3d',
                                                             'ttl_seconds', 259200)) AS payload,
               'delivered' AS outcome,
               jsonb_build_object('mail_id', id, 'state', 'queued', 'fingerprint', repeat('f', 64)) AS result,
               1 AS attempts, at AS created_at, at AS settled_at
        FROM made""",
    "mail_outcomes": """
        SELECT id AS request_id, id AS mail_id, 'sent' AS state, '<' || id || '@bench.example>' AS message_id,
               repeat('f', 64) AS fingerprint, at AS sent_at, at AS changed_at
        FROM made""",
    "history": """
        SELECT at, 'user.signed_up' AS kind, other_id AS subject, ARRAY[id] AS related, 'anonymous' AS actor FROM made
        UNION ALL
        SELECT at, 'outbox.delivered', id, ARRAY[other_id], 'signup-worker' FROM made""",
}

_MAIL = {
    "mails": f"""
        SELECT id, 'signup' AS client, id AS request_id, decode(repeat('f', 64), 'hex') AS fingerprint,
               'sent' AS state, address AS to_email, address AS to_key, 'verification' AS template,
               jsonb_build_object('user_id', other_id) AS metadata, 'resend' AS on_uncertain, 'live' AS lane,
               1 AS attempts, 'sink' AS gateway, '<' || id || '@bench.example>' AS message_id, at AS accepted_at,
               at AS sent_at, at + interval '2 days' AS expires_at, 'en' AS locale,
               CASE WHEN n = {RARE} THEN ARRAY['verification', '{RARE_TAG}'] ELSE ARRAY['verification'] END AS tags
        FROM made""",
    "contents": """
        SELECT id AS mail_id, '{}' AS request, 'no-reply@bench.example' AS sender_email, 'Please confirm' AS subject,
               repeat('Hello. ', 5) AS text, repeat('<p>Hello.</p>', 5) AS html
        FROM made""",
    "attempts": """
        SELECT id AS mail_id, 1 AS n, gen_random_uuid() AS lease, 'sink' AS gateway, 'ended' AS phase,
               'accepted' AS outcome, true AS counted, at AS claimed_at, at AS transmitting_at, at AS ended_at,
               250 AS code, 'Ok' AS reply
        FROM made""",
    "history": """
        SELECT at, kind, id AS subject, ARRAY[id::text, 'signup'] AS related, 'mail-worker' AS actor
        FROM made CROSS JOIN (VALUES ('mail.accepted'), ('mail.sent')) AS kinds (kind)""",
}

# The run of this hour, as it was before each hour's people: else the first worker compares a day of mails at once.
_RECONCILED = """
INSERT INTO reconciliation_runs (
    state, verdict, window_from, window_to, repair, actor, phase, compared, due_at, started_at, finished_at
)
VALUES (
    'done', 'balanced', date_trunc('month', $1::timestamptz), $1, true, 'signup-worker', 'finished', $2, NULL, $1, $1
)
"""
# The feed follower's cursor goes behind these rows, as if it had read them.
_NEWEST = "SELECT ARRAY[position::text, id::text] FROM history ORDER BY position DESC, id DESC LIMIT 1"


def write_past(product: Product, count: int) -> None:
    """Write `count` people, each with one settled row, one sent mail, and the history of both.

    Raises:
        RuntimeError: the disk has no room for them.
    """
    free, needed = shutil.disk_usage(STATE).free, count * BYTES_A_PERSON + BYTES_BESIDE
    if free < needed:
        raise RuntimeError(f"{count:,} people need {needed / 1e9:.0f} GB in {STATE}; {free / 1e9:.0f} GB are free")
    now: datetime = product.fetchval("postgres", "SELECT now()")
    chunks = [(before, min(before + CHUNK, count), count, now) for before in range(0, count, CHUNK)]
    load_both(product, {"signup": _from_made(_SIGNUP), "mail": _from_made(_MAIL)}, chunks)
    position, line = product.fetchval("mail", _NEWEST)
    product.fetchval("signup", "UPDATE mail_feed SET cursor = $1", cursor_of(int(position), UUID(line)))
    product.fetchval("signup", _RECONCILED, now, count)
    product.fetchval("postgres", "CHECKPOINT")


def _from_made(rows: dict[str, str]) -> dict[str, str]:
    return {table: _MADE + query for table, query in rows.items()}
