"""The SQL of health, alerts and the timeline."""

from ..outbox.queries import CLAIMED_UNTIL, OVERDUE_SINCE

LAST_BEAT = """
SELECT extract(epoch FROM now() - at)::float8 AS age_seconds, detail FROM heartbeats WHERE process = $1
"""

# Everything that can raise an alert, in one round trip. Counts stop at 10,000: more would say no more. $1 the worker,
# $2 the effects.
ALERT_SYMPTOMS = f"""
WITH late AS (
    SELECT since FROM unnest($2::text[]) AS effect
    CROSS JOIN LATERAL (
        SELECT {OVERDUE_SINCE} AS since FROM outbox
        WHERE outbox.effect = effect.effect AND due_at >= {CLAIMED_UNTIL} AND due_at <= now()
        ORDER BY due_at LIMIT 10000
    ) AS due
    WHERE since < now() - interval '15 minutes'
), dead AS (
    SELECT effect FROM outbox WHERE state = 'dead' LIMIT 10000
), latest AS (
    SELECT missing + lost_records + unexpected + different + stuck + unserved_users AS found, repaired
    FROM reconciliation_runs WHERE state = 'done' AND verdict = 'out_of_balance'
      AND id = (SELECT id FROM reconciliation_runs WHERE state = 'done' ORDER BY id DESC LIMIT 1)
)
SELECT
    (SELECT count(*) FROM late) AS late,
    (SELECT extract(epoch FROM now() - min(since))::float8 FROM late) AS oldest_late_seconds,
    (SELECT count(*) FROM dead WHERE effect <> 'webhook') AS dead,
    (SELECT count(*) FROM dead WHERE effect = 'webhook') AS dead_webhooks,
    (SELECT extract(epoch FROM now() - at)::float8 FROM heartbeats WHERE process = $1) AS beat_seconds,
    (SELECT detail FROM heartbeats WHERE process = $1) AS beat_detail,
    (SELECT extract(epoch FROM now() - max(last_run_at))::float8 FROM check_results) AS checks_seconds,
    (SELECT extract(epoch FROM spent_until - now())::float8 / 3600 FROM stranger_mail_budget) AS stranger_mails_spent,
    (SELECT greatest(found - coalesce((SELECT sum(value::numeric) FROM jsonb_each_text(repaired)), 0), 0)::bigint
     FROM latest) AS unbalanced
"""

# --- users who cannot be reached


def unreachable(mails: str) -> str:
    """Pending users whose latest verification mail is one of `mails`: (unreached, state, changed_at) of mail_outcomes.

    The times only choose the month partitions: a row is settled after it was written, and a mail changes after that.
    """
    return f"""
    SELECT s.user_id, o.state, o.changed_at
    FROM ({mails}) AS o
    CROSS JOIN LATERAL (
        SELECT user_id, created_at, id FROM outbox_settled
        WHERE id = o.unreached AND effect = 'mail' AND payload ->> 'template' = 'verification'
          AND settled_at > o.changed_at - interval '2 months' AND settled_at < o.changed_at + interval '1 month'
        LIMIT 1
    ) AS s
    JOIN users u ON u.id = s.user_id
    WHERE u.status = 'pending' AND NOT EXISTS (
        SELECT FROM outbox_settled newer
        WHERE newer.user_id = s.user_id AND newer.settled_at >= s.created_at AND newer.outcome = 'delivered'
          AND newer.effect = 'mail' AND newer.payload ->> 'template' = 'verification'
          AND (newer.created_at, newer.id) > (s.created_at, s.id)
    ) AND NOT EXISTS (
        SELECT FROM outbox newer
        WHERE newer.user_id = s.user_id AND newer.effect = 'mail' AND newer.payload ->> 'template' = 'verification'
    )
    """


# Newest first, so that the cost is bounded however many mails ever failed.
UNREACHABLE_USERS = unreachable(
    "SELECT unreached, state, changed_at FROM mail_outcomes WHERE unreached IS NOT NULL"
    " ORDER BY unreached DESC LIMIT 10000"
)

# --- the timeline of one user

# `kept_from` is when the records begin, if they begin after the user does.
FIND_PERSON = """
SELECT (SELECT max(kept_from) FROM partition_upkeep WHERE kept_from > users.created_at) AS kept_from
FROM users WHERE id = $1
"""

# What was owed to a user, settled or not. Of the payload, only what is not personal.
OWED_TO_USER = """
SELECT id, effect, created_at, state, attempts, last_error, due_at, correlation_id,
       payload ->> 'template' AS template, payload ->> 'event' AS event
FROM outbox WHERE user_id = $1
UNION ALL
SELECT id, effect, created_at, outcome, attempts, NULL, NULL, correlation_id,
       payload ->> 'template', payload ->> 'event'
FROM outbox_settled WHERE user_id = $1
ORDER BY created_at DESC LIMIT $2
"""

# Materialized, because the planner expects thousands of entries and would read all history by ID to find them.
HISTORY_OF_SUBJECTS = """
WITH found AS MATERIALIZED (
    SELECT id, at, kind, subject, actor, correlation_id, detail::text AS detail
    FROM history WHERE subject = ANY ($1::text[]) OR related && $1::text[]
)
SELECT at, kind, subject, actor, correlation_id, detail FROM found ORDER BY id DESC LIMIT $2
"""
