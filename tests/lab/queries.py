"""The SQL of the lab: it reads both databases as their owners, and tries to change history as a process."""

USERS = """
SELECT u.id::text AS id, u.email, u.status, coalesce(h.kinds, '{}') AS kinds
FROM users u LEFT JOIN (
    SELECT subject, array_agg(DISTINCT kind) AS kinds FROM history WHERE kind LIKE 'user.%' GROUP BY subject
) AS h ON h.subject = u.id::text
WHERE u.email IS NOT NULL
"""

EFFECTS = """
SELECT id::text AS id, effect, user_id::text AS user_id,
       coalesce(payload ->> 'event', payload ->> 'template', '') AS what, state, attempts,
       payload ->> 'subscriber_id' AS subscriber, 0 AS settled, 0 AS noted, NULL AS mail_id,
       NULL AS fingerprint
FROM outbox
UNION ALL
SELECT s.id::text, s.effect, max(s.user_id::text), max(coalesce(s.payload ->> 'event', s.payload ->> 'template', '')),
       max(s.outcome), max(s.attempts), max(s.payload ->> 'subscriber_id'),
       (count(*) FILTER (WHERE s.outcome = 'delivered'))::int, coalesce(max(h.noted), 0)::int,
       max(s.result ->> 'mail_id'), max(s.result ->> 'fingerprint')
FROM outbox_settled s LEFT JOIN (
    SELECT subject, count(*) AS noted FROM history WHERE kind = 'outbox.delivered' GROUP BY subject
) AS h ON h.subject = s.id::text
GROUP BY s.id, s.effect
"""

# `now()` of the database: the leases are its own times.
OUTBOX_LEASES = "SELECT 'outbox' AS table, id::text AS row FROM outbox WHERE state = 'leased' AND due_at < now()"

MAIL_LEASES = """
SELECT 'queue' AS table, mail_id::text AS row FROM queue WHERE lease IS NOT NULL AND due_at < now()
UNION ALL
SELECT 'webhook_deliveries', id::text FROM webhook_deliveries WHERE lease IS NOT NULL AND due_at < now()
"""

OUTCOMES = """
SELECT request_id, mail_id::text AS mail_id, state, fingerprint, message_id FROM mail_outcomes
"""

STATISTICS = "SELECT kind, sum(count)::bigint AS count FROM signup_statistics GROUP BY kind"

SUBSCRIBERS = """
SELECT id::text AS id, client, url, events FROM webhook_subscribers WHERE disabled_at IS NULL
"""

MAILS = """
SELECT m.id::text AS id, m.client, m.request_id, m.state, m.message_id, encode(m.fingerprint, 'hex') AS fingerprint,
       m.to_email AS to, m.on_uncertain, m.attempts, q.mail_id IS NOT NULL AS is_queued, h.state AS history_state
FROM mails m LEFT JOIN queue q ON q.mail_id = m.id LEFT JOIN (
    SELECT DISTINCT ON (subject) subject, detail ->> 'state' AS state FROM history
    WHERE kind LIKE 'mail.%' AND detail ? 'state' ORDER BY subject, id DESC
) AS h ON h.subject = m.id::text
"""

ATTEMPTS = "SELECT mail_id::text AS mail_id, n, phase, outcome, counted FROM attempts ORDER BY mail_id, n"

# In the order of the feed.
ENTRIES = """
SELECT h.id::text AS id, h.subject AS mail_id, m.client,
       CASE WHEN h.kind = 'mail.resolved' AND h.detail ->> 'state' = 'sent' THEN 'mail.sent' ELSE h.kind END AS kind,
       h.detail ->> 'state' AS state
FROM history h JOIN mails m ON m.id = h.subject::uuid
WHERE h.kind LIKE 'mail.%' ORDER BY h.position, h.id
"""

TAMPERING = (
    "UPDATE history SET kind = 'mail.sent' WHERE id = (SELECT id FROM history LIMIT 1)",
    "DELETE FROM history WHERE id = (SELECT id FROM history LIMIT 1)",
    "TRUNCATE history",
)

SIGNUP_BACKLOG = """
SELECT (SELECT count(*) FROM outbox WHERE state <> 'dead')
     + (SELECT count(*) FROM imports WHERE state IN ('receiving', 'running'))
"""
# What waits to be sent, and what subscribers wait for.
MAIL_BACKLOG = "SELECT (SELECT count(*) FROM queue) + (SELECT count(*) FROM webhook_deliveries)"
# Changes that signup's ledger has not read yet.
UNREAD_OUTCOMES = "SELECT count(*) FROM mail_outcomes WHERE state IN ('queued', 'sending', 'deferred')"
