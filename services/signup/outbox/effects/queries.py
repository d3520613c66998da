"""The SQL of single effects, and of reading the statistics that one of them writes."""

# What the profile cache shows, and `updated_at` to detect changes.
READ_PROFILES = """
SELECT id, name, locale, status, created_at, verified_at, updated_at
FROM users WHERE id = ANY ($1::uuid[]) AND status <> 'erased'
"""

FIND_SUBSCRIBERS = """
SELECT
    id, url, key_id, secret_version, disabled_at,
    CASE WHEN rotated_at > now() - make_interval(secs => $2) THEN previous_key_id END AS previous_key_id
FROM webhook_subscribers WHERE id = ANY ($1::uuid[])
"""

DISABLE_SUBSCRIBER_IF_ACTIVE = """
WITH disabled AS (
    UPDATE webhook_subscribers SET disabled_at = now(), disabled_reason = $2 WHERE id = $1 AND disabled_at IS NULL
    RETURNING id
)
INSERT INTO history (kind, subject, actor, detail)
SELECT 'webhook.disabled', id::text, 'signup-worker', jsonb_build_object('reason', $2::text) FROM disabled
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
