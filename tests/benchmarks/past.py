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

_SIGNUP = f"""
{_MADE}, people AS (
    INSERT INTO users (id, email, email_key, name, source, created_at, updated_at, last_mail_at, status, verified_at)
    SELECT other_id, address, address, 'Åsa Öberg', 'web', at, at, at, 'verified', at FROM made
), settled AS (
    INSERT INTO outbox_settled (id, effect, user_id, payload, outcome, result, attempts, created_at, settled_at)
    SELECT id, 'mail', other_id,
           jsonb_build_object('to', jsonb_build_object('email', address, 'name', 'Åsa Öberg'), 'locale', 'en',
                              'template', 'verification',
                              'link', jsonb_build_object('base', 'https://bench.example', 'key_id', '0a1b2c3d',
                                                         'ttl_seconds', 259200)),
           'delivered', jsonb_build_object('mail_id', id, 'state', 'queued', 'fingerprint', repeat('f', 64)), 1, at, at
    FROM made
), outcomes AS (
    INSERT INTO mail_outcomes (request_id, mail_id, state, message_id, fingerprint, sent_at, changed_at)
    SELECT id::text, id, 'sent', '<' || id || '@bench.example>', repeat('f', 64), at, at FROM made
)
INSERT INTO history (at, kind, subject, related, actor)
SELECT at, 'user.signed_up', other_id::text, ARRAY[id::text], 'anonymous' FROM made
UNION ALL
SELECT at, 'outbox.delivered', id::text, ARRAY[other_id::text], 'signup-worker' FROM made
"""

_MAIL = f"""
{_MADE}, m AS (
    INSERT INTO mails (id, client, request_id, fingerprint, state, to_email, to_key, template, metadata, on_uncertain,
                       lane, attempts, gateway, message_id, accepted_at, sent_at, expires_at, locale, tags)
    SELECT id, 'signup', id::text, decode(repeat('f', 64), 'hex'), 'sent', address, address, 'verification',
           jsonb_build_object('user_id', other_id), 'resend', 'live', 1, 'sink', '<' || id || '@bench.example>', at, at,
           at + interval '2 days', 'en',
           CASE WHEN n = {RARE} THEN ARRAY['verification', '{RARE_TAG}'] ELSE ARRAY['verification'] END
    FROM made
), c AS (
    INSERT INTO contents (mail_id, request, sender_email, subject, text, html)
    SELECT id, '{{}}', 'no-reply@bench.example', 'Please confirm', repeat('Hello. ', 5), repeat('<p>Hello.</p>', 5)
    FROM made
), a AS (
    INSERT INTO attempts (mail_id, n, lease, gateway, phase, outcome, counted, claimed_at, transmitting_at, ended_at,
                          code, reply)
    SELECT id, 1, gen_random_uuid(), 'sink', 'ended', 'accepted', true, at, at, at, 250, 'Ok' FROM made
)
INSERT INTO history (at, kind, subject, related, actor)
SELECT at, kind, id::text, ARRAY[id::text, 'signup'], 'mail-worker'
FROM made CROSS JOIN (VALUES ('mail.accepted'), ('mail.sent')) AS kinds (kind)
"""

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
    load_both(product, {"signup": _SIGNUP, "mail": _MAIL}, chunks)
    position, line = product.fetchval("mail", _NEWEST)
    product.fetchval("signup", "UPDATE mail_feed SET cursor = $1", cursor_of(int(position), UUID(line)))
    product.fetchval("signup", _RECONCILED, now, count)
    product.fetchval("postgres", "CHECKPOINT")
