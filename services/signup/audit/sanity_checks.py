"""Checks for rows that constraints cannot forbid. Each check is one query; see `shared.audit.sanity_checks`.

A query is one snapshot, and rows that belong together are written in one statement, so no check sees half of a write.
Margins of minutes only allow for work done in several steps. IDs are UUIDv7, so `id > uuidv7(interval)` reads the
recent end of a primary key, however long the ledger is.
"""

from shared.audit.sanity_checks import SanityCheck, partition_missing
from shared.audit.severity import Severity

from .queries import unreachable

_RECENT = "(SELECT uuidv7('-3 days'))"

PENDING_WITHOUT_MAIL = SanityCheck(
    "pending_without_mail",
    "Pending users to whom no verification mail was ever owed: they can never verify (the newest 100,000 of 3 days).",
    f"""
    SELECT u.id::text AS id, 'pending since ' || date_trunc('second', u.created_at) AS what
    FROM (SELECT id, status, created_at FROM users WHERE id > {_RECENT} ORDER BY id DESC LIMIT 100000) AS u
    WHERE u.status = 'pending' AND u.created_at < now() - interval '5 minutes'
      AND NOT EXISTS (
          SELECT FROM outbox o WHERE o.user_id = u.id AND o.effect = 'mail'
            AND o.payload ->> 'template' = 'verification'
      ) AND NOT EXISTS (
          SELECT FROM outbox_settled s WHERE s.user_id = u.id AND s.effect = 'mail'
            AND s.payload ->> 'template' = 'verification'
      )
    """,
)

# History names the outbox rows that were owed. Related IDs that are no outbox rows, like imports, are excluded.
OWED_AND_GONE = SanityCheck(
    "owed_and_gone",
    "Effects that history says were owed and that are neither in the outbox nor settled (of the last 3 days).",
    f"""
    SELECT owed.id AS id, 'owed by ' || h.kind || ' of ' || h.subject AS what
    FROM (
        SELECT kind, subject, related FROM history
        WHERE id > {_RECENT} AND at > now() - interval '3 days' AND at < now() - interval '5 minutes'
          AND kind IN ('user.signed_up', 'user.signed_up_again', 'user.verified', 'user.imported',
                       'verification.resend_asked')
        ORDER BY id DESC LIMIT 20000
    ) AS h CROSS JOIN LATERAL unnest(h.related) AS owed (id)
    WHERE owed.id ~ '^[0-9a-f]{{8}}-([0-9a-f]{{4}}-){{3}}[0-9a-f]{{12}}$'
      AND NOT EXISTS (SELECT FROM outbox o WHERE o.id = owed.id::uuid)
      AND NOT EXISTS (SELECT FROM outbox_settled s WHERE s.id = owed.id::uuid)
      AND NOT EXISTS (SELECT FROM imports i WHERE i.id = owed.id::uuid)
    """,
)

# A webhook that is replayed has its settled row beside it.
SETTLED_AND_OWED = SanityCheck(
    "settled_and_owed",
    "Outbox rows that are settled already and would be performed again. Repaired: settled rows leave the outbox.",
    """
    SELECT o.id::text AS id, o.effect || ' is ' || o.state || ' and settled' AS what
    FROM (SELECT id, effect, state FROM outbox WHERE effect <> 'webhook' ORDER BY id LIMIT 20000) AS o
    WHERE EXISTS (SELECT FROM outbox_settled s WHERE s.id = o.id)
    """,
    fix="""
    fixed AS (
        DELETE FROM outbox o WHERE o.state <> 'leased' AND o.id IN (
            SELECT w.id FROM (SELECT id FROM outbox WHERE effect <> 'webhook' ORDER BY id LIMIT 20000) AS w
            WHERE EXISTS (SELECT FROM outbox_settled s WHERE s.id = w.id)
        )
        RETURNING o.id::text AS id
    )
    """,
)

LEASE_LONG_PAST = SanityCheck(
    "lease_long_past",
    "Outbox rows whose lease ended more than 15 minutes ago and that no worker has claimed since.",
    """
    SELECT id::text AS id, effect || ' leased, overdue since ' || date_trunc('second', due_at) AS what
    FROM outbox WHERE state = 'leased' AND due_at < now() - interval '15 minutes'
    """,
)

VERIFIED_WITHOUT_HISTORY = SanityCheck(
    "verified_without_history",
    "Verified users for whom history names no link or import that verified them (users of the last 3 days; hourly).",
    f"""
    SELECT u.id::text AS id, 'verified at ' || date_trunc('second', u.verified_at) AS what
    FROM users u
    WHERE u.status = 'verified' AND u.id > {_RECENT}
      AND NOT EXISTS (
          SELECT FROM history h
          WHERE h.subject = u.id::text
            AND (h.kind = 'user.verified' OR (h.kind = 'user.imported' AND h.detail ->> 'status' = 'verified'))
      )
    """,
    # A million users of three days are all of a month's history to read: 4 GB.
    every_seconds=3600,
)

STATISTICS_DIFFER = SanityCheck(
    "statistics_differ",
    "Statistics of today and yesterday that differ from the settled rows (days of up to 300,000).",
    """
    SELECT day.day::text AS id, format('%s: counted %s, settled %s', kind, counted, settled) AS what
    FROM (
        SELECT (now() AT TIME ZONE 'UTC')::date - n AS day FROM generate_series(0, 1) AS n
    ) AS day
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(count) FILTER (WHERE kind = 'signups'), 0) AS signups,
               coalesce(sum(count) FILTER (WHERE kind = 'verifications'), 0) AS verifications
        FROM signup_statistics s WHERE s.day = day.day
    ) AS counts
    CROSS JOIN LATERAL (
        SELECT count(DISTINCT o.id) FILTER (WHERE o.payload ->> 'event' IN ('user.signed_up', 'user.imported'))
                   AS signups,
               count(DISTINCT o.id) FILTER (WHERE o.payload ->> 'event' = 'user.verified') AS verifications
        FROM outbox_settled o
        WHERE greatest(counts.signups, counts.verifications) < 300000
          AND o.id > (SELECT uuidv7('-2 days')) AND o.effect = 'stats' AND o.outcome = 'delivered'
          AND (o.created_at AT TIME ZONE 'UTC')::date = day.day
    ) AS found
    CROSS JOIN LATERAL (VALUES
        ('signups', counts.signups, found.signups), ('verifications', counts.verifications, found.verifications)
    ) AS each (kind, counted, settled)
    WHERE greatest(counts.signups, counts.verifications) < 300000 AND counted <> settled
    """,
    Severity.WARNING,
)

PARTITION_MISSING = partition_missing("history", "outbox_settled")

DEAD_FOR_A_DAY = SanityCheck(
    "dead_for_a_day",
    "Outbox rows that have been dead for more than a day: an operator must retry or cancel them.",
    """
    SELECT id::text AS id, effect || ' dead since ' || date_trunc('second', dead_at) AS what
    FROM outbox WHERE state = 'dead' AND dead_at < now() - interval '1 day'
    """,
    Severity.WARNING,
)

ERASED_AND_REMEMBERED = SanityCheck(
    "erased_and_remembered",
    "Users erased more than 5 minutes ago whose name, address or details are still in outbox rows.",
    """
    SELECT id, what FROM (
        SELECT o.id::text AS id, o.effect || ' of user ' || u.id AS what, u.erased_at
        FROM users u JOIN outbox o ON o.user_id = u.id
        WHERE o.payload ?| ARRAY['to', 'details'] AND u.erased_at IS NOT NULL
        UNION ALL
        SELECT s.id::text, s.effect || ' of user ' || u.id, u.erased_at
        FROM users u JOIN outbox_settled s ON s.user_id = u.id
        WHERE s.payload ?| ARRAY['to', 'details'] AND u.erased_at IS NOT NULL
    ) AS remembered
    WHERE erased_at BETWEEN now() - interval '7 days' AND now() - interval '5 minutes'
    """,
)

KEY_WITHOUT_ANSWER = SanityCheck(
    "key_without_answer",
    "Idempotency keys without a stored answer: their client cannot retry. Repaired: the key can be used again.",
    """
    SELECT encode(sha256((scope || key)::bytea), 'hex') AS id, 'taken at ' || date_trunc('second', created_at) AS what
    FROM idempotency_keys
    WHERE status IS NULL AND created_at BETWEEN now() - interval '3 days' AND now() - interval '5 minutes'
    """,
    fix="""
    fixed AS (
        DELETE FROM idempotency_keys
        WHERE status IS NULL AND created_at BETWEEN now() - interval '3 days' AND now() - interval '5 minutes'
        RETURNING encode(sha256((scope || key)::bytea), 'hex') AS id
    )
    """,
)

# By the ID of the outbox row, which has its time. Mails that bounced or expired are in GET /v1/users?unreachable=true.
UNREACHABLE = SanityCheck(
    "unreachable_users",
    "Pending users whose latest verification mail was suppressed or failed: they wait for it (mails of 3 days).",
    f"""
    SELECT user_id::text AS id, 'verification mail ' || state || ' at ' || date_trunc('second', changed_at) AS what
    FROM ({
        unreachable(
            f"SELECT unreached, state, changed_at FROM mail_outcomes WHERE unreached > {_RECENT}"
            " AND state IN ('suppressed', 'failed')"
        )
    }) AS unreachable
    """,
    Severity.WARNING,
)

CHECKS = (
    PENDING_WITHOUT_MAIL,
    OWED_AND_GONE,
    SETTLED_AND_OWED,
    LEASE_LONG_PAST,
    VERIFIED_WITHOUT_HISTORY,
    STATISTICS_DIFFER,
    PARTITION_MISSING,
    DEAD_FOR_A_DAY,
    ERASED_AND_REMEMBERED,
    KEY_WITHOUT_ANSWER,
    UNREACHABLE,
)
