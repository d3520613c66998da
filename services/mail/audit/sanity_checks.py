"""Sanity checks of the mail ledger, for rows that constraints cannot forbid. See `shared.audit.sanity_checks`.

Each check is one query and so one snapshot. A mail, its queue row, its attempt and its history change in one statement,
so no check sees half a change. Checks read the newest mails, by primary key: `_NEWEST` bounds the cost of a run.
"""

from shared.audit.sanity_checks import SanityCheck, partition_missing
from shared.audit.severity import Severity

_NEWEST = "newest AS MATERIALIZED (SELECT id FROM mails ORDER BY id DESC LIMIT 20000)"
_WAITING = "('queued', 'deferred')"

# A claim writes no history, so `sending` matches the waiting state before it.
STATE_AGAINST_HISTORY = SanityCheck(
    "state_against_history",
    "Mails whose state differs from the last state in their history (of mails that changed in the last day).",
    """
    SELECT m.id::text AS id, 'is ' || m.state || ', history says ' || last.state AS what
    FROM (
        SELECT subject, (array_agg(state ORDER BY id DESC) FILTER (WHERE state IS NOT NULL))[1] AS state
        FROM (
            SELECT id, subject, detail ->> 'state' AS state FROM history
            WHERE id > (SELECT uuidv7('-1 day')) AND at > now() - interval '1 day' AND kind LIKE 'mail.%'
            ORDER BY id DESC LIMIT 20000
        ) AS recent
        GROUP BY subject
    ) AS touched
    JOIN mails m ON m.id = touched.subject::uuid
    CROSS JOIN LATERAL (
        -- The newest entries hold the last state of nearly every mail that they name.
        SELECT coalesce(touched.state, (
            SELECT detail ->> 'state' FROM history h
            WHERE h.subject = touched.subject AND h.kind LIKE 'mail.%' AND h.detail ? 'state' ORDER BY h.id DESC LIMIT 1
        )) AS state
    ) AS last
    WHERE m.state <> last.state AND NOT (m.state = 'sending' AND last.state IN ('queued', 'deferred'))
    """,
)

STRAY_IN_QUEUE = SanityCheck(
    "stray_in_queue",
    "Queue rows of mails that must not be sent. Repair: rows without a lease are deleted.",
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

# A mail that is `sending` without a queue row may have been sent: an operator must find out (P5).
MISSING_IN_QUEUE = SanityCheck(
    "missing_in_queue",
    "Mails that wait but are not in the queue, so no worker sends them. Repair: queued and deferred ones are queued.",
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
    "Mails whose lease ended more than 15 minutes ago and that no rescue took over.",
    """
    SELECT mail_id::text AS id, 'leased, overdue since ' || date_trunc('second', due_at) AS what
    FROM queue
    WHERE lane IN ('live', 'bulk') AND due_at < now() - interval '15 minutes' AND lease IS NOT NULL
    """,
)

SENT_WITHOUT_ACCEPTANCE = SanityCheck(
    "sent_without_acceptance",
    "Mails in state sent or bounced that no gateway accepted and no operator resolved (of the newest 20,000).",
    f"""
    WITH {_NEWEST}
    SELECT m.id::text AS id, 'is ' || m.state || ' without an accepted attempt' AS what
    FROM newest JOIN mails m USING (id)
    WHERE m.state IN ('sent', 'bounced') AND NOT m.restored
      -- The resolution of older ones may have been dropped (HISTORY_MONTHS).
      AND m.accepted_at >= coalesce((SELECT kept_from FROM partition_upkeep WHERE parent = 'history'), '-infinity')
      AND NOT EXISTS (SELECT FROM attempts a WHERE a.mail_id = m.id AND a.outcome = 'accepted')
      AND NOT EXISTS (SELECT FROM history h WHERE h.subject = m.id::text AND h.kind = 'mail.resolved')
    """,
)

ACCEPTED_TWICE = SanityCheck(
    "accepted_twice",
    "Mails that gateways accepted more than once: the recipient got duplicates (of the newest 20,000).",
    f"""
    WITH {_NEWEST}
    SELECT a.mail_id::text AS id, 'accepted ' || count(*) || ' times' AS what
    FROM newest JOIN attempts a ON a.mail_id = newest.id WHERE a.outcome = 'accepted'
    GROUP BY a.mail_id HAVING count(*) > 1
    """,
)

ATTEMPTS_MISCOUNTED = SanityCheck(
    "attempts_miscounted",
    "Mails whose `attempts` differs from their counted attempts (of the newest 20,000). Repair: recounted.",
    f"""
    WITH {_NEWEST}, counted AS (
        SELECT m.id, m.attempts, (SELECT count(*) FROM attempts a WHERE a.mail_id = m.id AND a.counted) AS n
        FROM newest JOIN mails m USING (id)
    )
    SELECT id::text AS id, format('says %s attempts, %s count', attempts, n) AS what FROM counted WHERE attempts <> n
    """,
    Severity.WARNING,
    # Mails that are being sent are left to the next run.
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
    "Mails that have been uncertain for more than a day without an operator's decision.",
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
    "Mails that expired more than 15 minutes ago and are still in the queue.",
    """
    SELECT m.id::text AS id, 'expired at ' || date_trunc('second', m.expires_at) AS what
    FROM (SELECT mail_id, due_at, lease FROM queue ORDER BY due_at LIMIT 20000) AS q JOIN mails m ON m.id = q.mail_id
    WHERE q.lease IS NULL AND greatest(q.due_at, m.expires_at) < now() - interval '15 minutes'
    """,
)

CONTENT_MISSING = SanityCheck(
    "content_missing",
    "Mails in the queue that have no content and were not erased.",
    """
    SELECT q.mail_id::text AS id, 'waits without content' AS what
    FROM (SELECT mail_id FROM queue LIMIT 50000) AS q JOIN mails m ON m.id = q.mail_id
    WHERE m.to_email IS NOT NULL AND NOT EXISTS (SELECT FROM contents c WHERE c.mail_id = q.mail_id)
    """,
)

SUPPRESSED_AND_WAITING = SanityCheck(
    "suppressed_and_waiting",
    "Mails to suppressed addresses that have been due for more than 15 minutes. A claim should have closed them.",
    """
    SELECT q.mail_id::text AS id, 'due since ' || date_trunc('second', q.due_at) AS what
    FROM (SELECT mail_id, due_at, lease FROM queue ORDER BY due_at LIMIT 20000) AS q
    JOIN mails m ON m.id = q.mail_id JOIN suppressions s ON s.email_key = m.to_key
    WHERE q.lease IS NULL AND greatest(q.due_at, s.created_at) < now() - interval '15 minutes'
      AND (s.ends_at IS NULL OR s.ends_at > now())
    """,
    Severity.WARNING,
)

LOST_MAILS = SanityCheck(
    "lost_mails",
    "Mails whose row was deleted in the last day and not written back.",
    """
    SELECT l.mail_id::text AS id, 'was ' || l.state || ', deleted at ' || date_trunc('second', l.lost_at) AS what
    FROM (SELECT * FROM lost_mails WHERE lost_at > now() - interval '1 day' ORDER BY lost_at DESC LIMIT 20000) AS l
    WHERE NOT EXISTS (SELECT FROM mails m WHERE m.client = l.client AND m.request_id = l.request_id)
    """,
    Severity.WARNING,
)

PARTITION_MISSING = partition_missing("history", "webhook_deliveries_settled")

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
