"""What must never be in the mail ledger and no constraint can say. Each is one query; see `shared.audit.sanity_checks`.

A query is one snapshot, and a mail, its queue row, its attempt and its history change in one statement, so mails under
way are never half seen. The newest mails are looked at, by primary key: `_NEWEST` bounds what a run costs.
"""

from shared.audit.sanity_checks import SanityCheck
from shared.audit.severity import Severity

_NEWEST = "newest AS MATERIALIZED (SELECT id FROM mails ORDER BY id DESC LIMIT 20000)"
_WAITING = "('queued', 'deferred')"

# A claim is in no history: `sending` stands for what was waiting before.
STATE_AGAINST_HISTORY = SanityCheck(
    "state_against_history",
    "Mails whose state is not the one that history last gave them (of those that changed in the last day).",
    """
    SELECT m.id::text AS id, 'is ' || m.state || ', history says ' || last.state AS what
    FROM (
        SELECT DISTINCT subject FROM (
            SELECT subject FROM history
            WHERE id > (SELECT uuidv7('-1 day')) AND at > now() - interval '1 day' AND kind LIKE 'mail.%'
            ORDER BY id DESC LIMIT 20000
        ) AS recent
    ) AS touched
    JOIN mails m ON m.id = touched.subject::uuid
    CROSS JOIN LATERAL (
        SELECT detail ->> 'state' AS state FROM history h
        WHERE h.subject = touched.subject AND h.kind LIKE 'mail.%' AND h.detail ? 'state' ORDER BY h.id DESC LIMIT 1
    ) AS last
    WHERE m.state <> last.state AND NOT (m.state = 'sending' AND last.state IN ('queued', 'deferred'))
    """,
)

STRAY_IN_QUEUE = SanityCheck(
    "stray_in_queue",
    "Queue rows of mails that are not to be sent. Mended: a row that nobody has leased leaves the queue.",
    """
    SELECT q.mail_id::text AS id, 'queued, but the mail is ' || coalesce(m.state, 'deleted') AS what
    FROM (SELECT mail_id FROM queue LIMIT 50000) AS q LEFT JOIN mails m ON m.id = q.mail_id
    WHERE m.id IS NULL OR m.state NOT IN ('queued', 'sending', 'deferred')
    """,
    fix="""
    fixed AS (
        DELETE FROM queue q
        WHERE q.lease IS NULL AND coalesce(
            (SELECT m.state NOT IN ('queued', 'sending', 'deferred') FROM mails m WHERE m.id = q.mail_id), true
        )
        RETURNING q.mail_id::text AS id
    )
    """,
)

# A mail that is `sending` without a queue row may have left: that is for a person to find out (P5).
MISSING_IN_QUEUE = SanityCheck(
    "missing_in_queue",
    "Mails that wait, and nothing will ever send them. Mended: queued and deferred ones are queued again.",
    f"""
    WITH {_NEWEST}
    SELECT m.id::text AS id, 'is ' || m.state || ' and not in the queue' AS what
    FROM newest JOIN mails m USING (id)
    WHERE m.state IN ('queued', 'deferred', 'sending') AND NOT EXISTS (SELECT FROM queue q WHERE q.mail_id = m.id)
    """,
    fix=f"""
    {_NEWEST}, lost AS (
        SELECT m.id, m.lane, m.next_attempt_at FROM mails m
        WHERE m.id IN (SELECT id FROM newest) AND m.state IN {_WAITING}
          AND NOT EXISTS (SELECT FROM queue q WHERE q.mail_id = m.id)
        FOR UPDATE
    ), fixed AS (
        INSERT INTO queue (mail_id, lane, due_at, attempt)
        SELECT id, lane, next_attempt_at, coalesce((SELECT max(n) FROM attempts a WHERE a.mail_id = lost.id), 0)
        FROM lost
        ON CONFLICT DO NOTHING
        RETURNING mail_id::text AS id
    )
    """,
)

LEASE_LONG_PAST = SanityCheck(
    "lease_long_past",
    "Mails whose lease ran out more than 15 minutes ago and that no rescue took over.",
    """
    SELECT mail_id::text AS id, 'leased, overdue since ' || date_trunc('second', due_at) AS what
    FROM queue
    WHERE lane IN ('live', 'bulk') AND due_at < now() - interval '15 minutes' AND lease IS NOT NULL
    """,
)

SENT_WITHOUT_ACCEPTANCE = SanityCheck(
    "sent_without_acceptance",
    "Mails that are called sent although no gateway said 250 and no operator said so (of the newest 20,000).",
    f"""
    WITH {_NEWEST}
    SELECT m.id::text AS id, 'is ' || m.state || ' without an accepted attempt' AS what
    FROM newest JOIN mails m USING (id)
    WHERE m.state IN ('sent', 'bounced') AND NOT m.restored
      -- What an operator said of older ones may have been dropped (HISTORY_MONTHS).
      AND m.accepted_at >= coalesce((SELECT kept_from FROM partition_upkeep WHERE parent = 'history'), '-infinity')
      AND NOT EXISTS (SELECT FROM attempts a WHERE a.mail_id = m.id AND a.outcome = 'accepted')
      AND NOT EXISTS (SELECT FROM history h WHERE h.subject = m.id::text AND h.kind = 'mail.resolved')
    """,
)

ACCEPTED_TWICE = SanityCheck(
    "accepted_twice",
    "Mails that gateways accepted more than once: somebody got the same mail again (of the newest 20,000).",
    f"""
    WITH {_NEWEST}
    SELECT a.mail_id::text AS id, 'accepted ' || count(*) || ' times' AS what
    FROM newest JOIN attempts a ON a.mail_id = newest.id WHERE a.outcome = 'accepted'
    GROUP BY a.mail_id HAVING count(*) > 1
    """,
)

ATTEMPTS_MISCOUNTED = SanityCheck(
    "attempts_miscounted",
    "Mails whose number of attempts is not that of the attempts that count (of the newest 20,000). Mended: recounted.",
    f"""
    WITH {_NEWEST}, counted AS (
        SELECT m.id, m.attempts, (SELECT count(*) FROM attempts a WHERE a.mail_id = m.id AND a.counted) AS n
        FROM newest JOIN mails m USING (id)
    )
    SELECT id::text AS id, format('says %s attempts, %s count', attempts, n) AS what FROM counted WHERE attempts <> n
    """,
    Severity.WARNING,
    # Whatever is being sent now is left to the next run.
    fix=f"""
    {_NEWEST}, held AS (
        SELECT m.id, (SELECT count(*) FROM attempts a WHERE a.mail_id = m.id AND a.counted) AS n
        FROM mails m WHERE m.id IN (SELECT id FROM newest) AND m.state <> 'sending'
    ), fixed AS (
        UPDATE mails m SET attempts = held.n FROM held
        WHERE m.id = held.id AND m.attempts <> held.n AND m.state <> 'sending'
        RETURNING m.id::text AS id
    )
    """,
)

UNCERTAIN_FOR_A_DAY = SanityCheck(
    "uncertain_for_a_day",
    "Mails whose known_state nobody has found out for more than a day.",
    """
    SELECT m.id::text AS id, 'uncertain since ' || date_trunc('second', last.at) AS what
    FROM mails m CROSS JOIN LATERAL (
        SELECT coalesce(max(ended_at), m.accepted_at) AS at FROM attempts a WHERE a.mail_id = m.id
    ) AS last
    WHERE m.rare_state = 'uncertain' AND last.at < now() - interval '1 day'
    """,
    Severity.WARNING,
)

EXPIRED_AND_WAITING = SanityCheck(
    "expired_and_waiting",
    "Mails whose time ran out more than 15 minutes ago and that are in the queue all the same.",
    """
    SELECT m.id::text AS id, 'expired at ' || date_trunc('second', m.expires_at) AS what
    FROM (SELECT mail_id, due_at, lease FROM queue ORDER BY due_at LIMIT 20000) AS q JOIN mails m ON m.id = q.mail_id
    WHERE q.lease IS NULL AND greatest(q.due_at, m.expires_at) < now() - interval '15 minutes'
    """,
)

CONTENT_MISSING = SanityCheck(
    "content_missing",
    "Mails in the queue that have no content to send, and were not erased.",
    """
    SELECT q.mail_id::text AS id, 'waits without content' AS what
    FROM (SELECT mail_id FROM queue LIMIT 50000) AS q JOIN mails m ON m.id = q.mail_id
    WHERE m.to_email IS NOT NULL AND NOT EXISTS (SELECT FROM contents c WHERE c.mail_id = q.mail_id)
    """,
)

SUPPRESSED_AND_WAITING = SanityCheck(
    "suppressed_and_waiting",
    "Mails to suppressed addresses that have been due for more than 15 minutes: a claim should have closed them.",
    """
    SELECT q.mail_id::text AS id, 'due since ' || date_trunc('second', q.due_at) AS what
    FROM (SELECT mail_id, due_at, lease FROM queue ORDER BY due_at LIMIT 20000) AS q
    JOIN mails m ON m.id = q.mail_id JOIN suppressions s ON s.email_key = m.to_key
    WHERE q.lease IS NULL AND greatest(q.due_at, s.created_at) < now() - interval '15 minutes'
    """,
    Severity.WARNING,
)

LOST_MAILS = SanityCheck(
    "lost_mails",
    "Mails whose row somebody deleted in the last day, and that nobody has written back.",
    """
    SELECT l.mail_id::text AS id, 'was ' || l.state || ', deleted at ' || date_trunc('second', l.lost_at) AS what
    FROM (SELECT * FROM lost_mails WHERE lost_at > now() - interval '1 day' ORDER BY lost_at DESC LIMIT 20000) AS l
    WHERE NOT EXISTS (SELECT FROM mails m WHERE m.client = l.client AND m.request_id = l.request_id)
    """,
    Severity.WARNING,
)

PARTITION_MISSING = SanityCheck(
    "partition_missing",
    "Months, this one or the next, that have no partition of history; and entries that lie in the default one.",
    """
    SELECT 'history' || to_char(month, '"_y"YYYY"m"MM') AS id, 'there is no such partition' AS what
    FROM generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'),
                         date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month', '1 month') AS month
    WHERE to_regclass('public.history' || to_char(month, '"_y"YYYY"m"MM')) IS NULL
    UNION ALL
    (SELECT 'history_default', 'holds entries of ' || at::date FROM history_default LIMIT 1)
    """,
)

CHECKS = (
    STATE_AGAINST_HISTORY,
    STRAY_IN_QUEUE,
    MISSING_IN_QUEUE,
    LEASE_LONG_PAST,
    SENT_WITHOUT_ACCEPTANCE,
    ACCEPTED_TWICE,
    ATTEMPTS_MISCOUNTED,
    UNCERTAIN_FOR_A_DAY,
    EXPIRED_AND_WAITING,
    CONTENT_MISSING,
    SUPPRESSED_AND_WAITING,
    LOST_MAILS,
    PARTITION_MISSING,
)
