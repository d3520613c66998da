"""The SQL of single effects, and of reading the statistics that one of them writes."""

# What the profile cache shows, and `updated_at` to detect changes.
READ_PROFILES = """
SELECT id, name, locale, status, created_at, verified_at, updated_at
FROM users WHERE id = ANY ($1::uuid[]) AND status <> 'erased'
"""

# $1 webhook rows, $2 their users, $3 their subscribers. Those for which an earlier event of the same user waits that is
# not among them. A dead one holds up nothing.
FIND_EARLY_WEBHOOKS = """
SELECT asked.id FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS asked (id, user_id, subscriber_id)
WHERE EXISTS (
    SELECT FROM outbox earlier
    WHERE earlier.user_id = asked.user_id AND earlier.effect = 'webhook'
      AND earlier.payload ->> 'subscriber_id' = asked.subscriber_id
      AND earlier.id < asked.id AND earlier.state <> 'dead' AND earlier.id <> ALL ($1)
)
"""

TODAY = "SELECT (now() AT TIME ZONE 'UTC')::date"

# Days are passed as text: asyncpg turns the first and last day that Python knows into infinity.
READ_STATISTICS = """
SELECT
    days.day::date AS day,
    coalesce(sum(count) FILTER (WHERE kind = 'signups'), 0)::bigint AS signups,
    coalesce(sum(count) FILTER (WHERE kind = 'verifications'), 0)::bigint AS verifications
FROM generate_series($1::text::timestamp, $2::text::timestamp, interval '1 day') AS days (day)
LEFT JOIN signup_statistics ON signup_statistics.day = days.day::date
GROUP BY 1 ORDER BY 1
"""
