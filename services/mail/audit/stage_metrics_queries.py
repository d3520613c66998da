"""SQL of the stage metrics on the mail service's `/metrics`."""

from shared.observability.stage_metrics import SHARED_COLUMNS

from ..ledger.queries import FEED_LAG_SECONDS

# Counts are capped, and each part scans an index.
READ_STAGES = f"""
SELECT jsonb_build_object({SHARED_COLUMNS},
    'queue', (
        SELECT jsonb_agg(jsonb_build_array(lane, waiting, leased, oldest))
        FROM unnest(ARRAY['live', 'bulk']) AS lane
        CROSS JOIN LATERAL (
            SELECT
                count(*) FILTER (WHERE lease IS NULL) AS waiting,
                count(*) FILTER (WHERE lease IS NOT NULL) AS leased,
                extract(epoch FROM now() - least(now(), min(due_at) FILTER (WHERE lease IS NULL))) AS oldest
            FROM (
                SELECT lease, due_at FROM queue WHERE queue.lane = lane.lane ORDER BY due_at LIMIT 100000
            ) AS counted
        ) AS queued
    ),
    'uncertain', (
        SELECT jsonb_build_array(count(*), extract(epoch FROM now() - least(now(), min(since))))
        FROM (
            SELECT (SELECT coalesce(max(ended_at), m.accepted_at) FROM attempts a WHERE a.mail_id = m.id) AS since
            FROM (SELECT id, accepted_at FROM mails WHERE rare_state = 'uncertain' ORDER BY id LIMIT 10000) AS m
        ) AS in_doubt
    ),
    'feed_lag', {FEED_LAG_SECONDS},
    'retention', (SELECT extract(epoch FROM now() - ran_at) FROM retention_runs)
)::text
"""
