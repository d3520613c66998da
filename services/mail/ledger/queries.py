"""SQL of reading the mail book. What depends on the caller's filters is put together in `book.py`."""

from .resource import COLUMNS

# $2 is the client, or NULL for a key that may see every client's mails.
FIND_MAIL = f"""
SELECT {COLUMNS} FROM mails m LEFT JOIN contents c ON c.mail_id = m.id
WHERE m.id = $1 AND ($2::text IS NULL OR m.client = $2)
"""

# $3 is whose own mails are preferred where request IDs of several clients are the same.
LOOK_UP = f"""
SELECT DISTINCT ON (m.request_id) {COLUMNS}
FROM mails m LEFT JOIN contents c ON c.mail_id = m.id
WHERE m.request_id = ANY($1::text[]) AND ($2::text IS NULL OR m.client = $2)
ORDER BY m.request_id, m.client = $3 DESC, m.id DESC
"""

FIND_CONTENT = """
SELECT subject, text, html, headers::text AS headers, sender_email, sender_name, reply_to_email, reply_to_name
FROM contents WHERE mail_id = $1
"""

ATTEMPTS = """
SELECT n, gateway, phase, outcome, counted, claimed_at, transmitting_at, ended_at, code, enhanced_code, reply
FROM attempts WHERE mail_id = $1 AND ($2::integer IS NULL OR n < $2) ORDER BY n DESC LIMIT $3
"""

HISTORY_OF_MAIL = """
SELECT id, at, kind, subject, related, actor, correlation_id, detail::text AS detail
FROM history WHERE subject = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
"""

# Everything that /health asks of this database, in one round trip.
HEALTH = """
SELECT
    (SELECT extract(epoch FROM now() - at) FROM heartbeats WHERE process = 'mail-worker') AS heartbeat_seconds,
    (SELECT detail::text FROM heartbeats WHERE process = 'mail-worker') AS heartbeat_detail,
    (SELECT coalesce(extract(epoch FROM greatest(now() - min(due_at), interval '0')), 0)
     FROM queue WHERE lease IS NULL) AS oldest_due_seconds,
    (SELECT count(*) FROM mails WHERE state = 'uncertain') AS uncertain,
    (SELECT coalesce(extract(epoch FROM now() - min(a.ended_at)), 0)
     FROM mails m JOIN attempts a ON a.mail_id = m.id
     WHERE m.state = 'uncertain' AND a.outcome = 'unknown') AS uncertain_seconds
"""

HEARTBEAT = """
SELECT at, detail::text AS detail FROM heartbeats WHERE process = 'mail-worker'
"""

# Oldest first, from where a reader stopped ($1, $2), and only below every transaction that is still writing: so no
# line can appear later behind a cursor that was given out. $3 is the client, or NULL for all.
CHANGES_IN_COMMIT_SAFE_ORDER = """
SELECT h.position, h.id, h.at, h.kind, m.id AS mail_id, m.request_id, m.client, h.detail ->> 'state' AS state,
       m.message_id, m.sent_at, encode(m.fingerprint, 'hex') AS fingerprint, m.template, h.correlation_id,
       h.detail::text AS detail
FROM history h JOIN mails m ON m.id = h.subject::uuid
WHERE (h.position, h.id) > ($1::bigint, $2::uuid) AND h.position < feed_horizon()
  AND h.kind LIKE 'mail.%' AND h.detail ? 'state' AND ($3::text IS NULL OR m.client = $3)
ORDER BY h.position, h.id LIMIT $4
"""

# Whether the line that a cursor stands on is in this book; it is not after the book went back in time.
IS_IN_BOOK = "SELECT true FROM history WHERE id = $2 AND position = $1"

# $2 is the key of the last address of the page before.
SUPPRESSIONS = """
SELECT s.email, s.reason, s.source, s.mail_id, s.created_at, s.email_key
FROM suppressions s LEFT JOIN suppressions last ON last.email_key = $2
WHERE (cardinality($1::text[]) = 0 OR s.email_key = ANY($1::text[]))
  AND ($2::text IS NULL OR (s.created_at, s.email_key) < (last.created_at, last.email_key))
ORDER BY s.created_at DESC, s.email_key DESC LIMIT $3
"""

# The first reason stays; whoever says it again learns it.
SUPPRESS = """
WITH new AS (
    INSERT INTO suppressions (email_key, email, reason, source) VALUES ($1, $2, $3, $4)
    ON CONFLICT (email_key) DO NOTHING
    RETURNING email, reason, source, mail_id, created_at
), told AS (
    INSERT INTO history (kind, subject, actor) SELECT 'address.suppressed', $5, $4 FROM new
)
SELECT *, true AS is_new FROM new
UNION ALL
SELECT email, reason, source, mail_id, created_at, false FROM suppressions
WHERE email_key = $1 AND NOT EXISTS (SELECT FROM new)
"""

ALLOW_IF_SUPPRESSED = """
WITH gone AS (DELETE FROM suppressions WHERE email_key = $1 RETURNING email_key)
INSERT INTO history (kind, subject, actor, detail) SELECT 'address.allowed', $3, $2, $4::jsonb FROM gone
RETURNING true
"""
