"""Writes old rows straight into both ledgers: people who signed up and were mailed this month."""

from services.mail.ledger.change_feed import cursor_of
from shared.contract.ids import UUID

from .product import Product

# Several transactions, so that the rows have several positions in the change feed.
CHUNK = 10_000

# $1 rows written before, $2 last row, $3 total, $4 now: spread over the month, in order. The outbox row's ID is the
# request ID in the mail ledger; both are a UUIDv7 made from the row number and its time.
_MADE = """
WITH n AS (
    SELECT n, 'past-' || n || '@bench.example' AS address,
           $4::timestamptz - ($4::timestamptz - date_trunc('month', $4::timestamptz)) * (1 - n / $3::float8) AS at
    FROM generate_series($1::int + 1, $2::int) n
), made AS MATERIALIZED (
    SELECT n, address, at, uuidv7(at - now()) AS other_id,
           (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)
            || '8' || substr(md5(n::text), 4, 15))::uuid AS id
    FROM n
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
                       lane, attempts, gateway, message_id, accepted_at, sent_at, expires_at)
    SELECT id, 'signup', id::text, decode(repeat('f', 64), 'hex'), 'sent', address, address, 'verification',
           jsonb_build_object('user_id', other_id), 'resend', 'live', 1, 'sink', '<' || id || '@bench.example>', at, at,
           at + interval '2 days'
    FROM made
), c AS (
    INSERT INTO contents (mail_id, request, sender_email, subject, text, html)
    SELECT id, '{{}}', 'no-reply@bench.example', 'Please confirm', repeat('Hello. ', 50), repeat('<p>Hello.</p>', 50)
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

# The feed follower's cursor goes behind these rows, as if it had read them.
_NEWEST = "SELECT ARRAY[position::text, id::text] FROM history ORDER BY position DESC, id DESC LIMIT 1"


def write_past(product: Product, count: int) -> None:
    """Write `count` people, each with one settled row, one sent mail, and the history of both."""
    now = product.fetchval("postgres", "SELECT now()")
    for database, query in (("signup", _SIGNUP), ("mail", _MAIL)):
        for before in range(0, count, CHUNK):
            product.fetchval(database, query, before, min(before + CHUNK, count), count, now)
        product.fetchval(database, "VACUUM (ANALYZE)")
    position, line = product.fetchval("mail", _NEWEST)
    product.fetchval("signup", "UPDATE mail_feed SET cursor = $1", cursor_of(int(position), UUID(line)))
    product.fetchval("postgres", "CHECKPOINT")
