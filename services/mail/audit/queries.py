"""SQL of health and alerts."""

from ..ledger.queries import SETTLED
from ..webhooks.queries import DEAD_DELIVERIES

# Where a reader of the queue begins, for `lane.lane`: the worker has claimed all that was due before (ADR 0026), so
# the rows that died there are not read again.
CLAIMED_UNTIL = """
coalesce((
    SELECT (detail -> 'claimed_until' ->> lane.lane)::timestamptz FROM heartbeats WHERE process = 'mail-worker'
), '-infinity')
"""

# Counts stop at 10,000: more would say no more, and change no alert. The oldest uncertain mails come first.
UNCERTAIN_SINCE = """
SELECT (SELECT coalesce(max(ended_at), m.accepted_at) FROM attempts a WHERE a.mail_id = m.id) AS since
FROM (SELECT id, accepted_at FROM mails WHERE rare_state = 'uncertain' ORDER BY id LIMIT 10000) AS m
"""

# All that /health reads from this database, in one round trip. $1: days for which content is kept.
HEALTH = f"""
SELECT
    (SELECT extract(epoch FROM now() - at) FROM heartbeats WHERE process = 'mail-worker') AS heartbeat_seconds,
    (SELECT detail::text FROM heartbeats WHERE process = 'mail-worker') AS heartbeat_detail,
    (SELECT coalesce(extract(epoch FROM greatest(now() - min(oldest.due_at), interval '0')), 0)
     FROM unnest(ARRAY['live', 'bulk']) AS lane
     CROSS JOIN LATERAL (
         SELECT due_at FROM queue
         WHERE queue.lane = lane.lane AND due_at >= {CLAIMED_UNTIL} AND due_at <= now() AND lease IS NULL
         ORDER BY due_at LIMIT 1
     ) AS oldest) AS oldest_due_seconds,
    in_doubt.uncertain, in_doubt.uncertain_seconds,
    (SELECT extract(epoch FROM now() - ran_at) FROM retention_runs) AS retention_seconds,
    {DEAD_DELIVERIES} AS dead_webhooks,
    EXISTS (
        SELECT FROM (
            -- One day of grace, because workers wipe every few hours.
            SELECT mail_id FROM contents WHERE mail_id < (SELECT uuidv7(make_interval(days => -1 - $1::int)))
            ORDER BY mail_id LIMIT 1000
        ) AS c JOIN mails m ON m.id = c.mail_id
        WHERE m.accepted_at < now() - make_interval(days => 1 + $1::int) AND {SETTLED}
    ) AS content_overdue
FROM (
    SELECT count(*) AS uncertain, coalesce(extract(epoch FROM now() - min(since)), 0) AS uncertain_seconds
    FROM ({UNCERTAIN_SINCE}) AS uncertain
) AS in_doubt
"""

HEARTBEAT = """
SELECT at, floor(extract(epoch FROM greatest(now() - at, interval '0')))::int AS age_seconds, detail::text AS detail
FROM heartbeats WHERE process = 'mail-worker'
"""

# All alert symptoms, in one round trip.
ALERT_SYMPTOMS = f"""
WITH late AS (
    SELECT waiting.due_at FROM unnest(ARRAY['live', 'bulk']) AS lane
    CROSS JOIN LATERAL (
        SELECT due_at FROM queue
        WHERE queue.lane = lane.lane AND due_at >= {CLAIMED_UNTIL} AND lease IS NULL
          AND due_at < now() - interval '15 minutes'
        ORDER BY due_at LIMIT 10000
    ) AS waiting
), old AS (
    SELECT since FROM ({UNCERTAIN_SINCE}) AS uncertain WHERE since < now() - interval '15 minutes'
)
SELECT
    (SELECT count(*) FROM late) AS late,
    (SELECT extract(epoch FROM now() - min(due_at))::float8 FROM late) AS oldest_late_seconds,
    (SELECT count(*) FROM old) AS uncertain,
    (SELECT extract(epoch FROM now() - min(since))::float8 FROM old) AS oldest_uncertain_seconds,
    {DEAD_DELIVERIES} AS dead_webhooks,
    (SELECT extract(epoch FROM now() - at)::float8 FROM heartbeats WHERE process = 'mail-worker') AS beat_seconds,
    (SELECT detail FROM heartbeats WHERE process = 'mail-worker') AS beat_detail,
    (SELECT extract(epoch FROM now() - max(last_run_at))::float8 FROM check_results) AS checks_seconds
"""

# What the gateways answered to their recent recipients, newest first: few rows a gateway.
GATEWAY_RECIPIENTS = """
SELECT gateway, domain, refused, domain_accepted, at FROM gateway_recipients
WHERE at > now() - interval '1 day' ORDER BY gateway, at DESC
"""
