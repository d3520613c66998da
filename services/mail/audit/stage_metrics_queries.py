"""SQL of the stage metrics on the mail service's `/metrics`."""

from shared.observability.stage_metrics import SHARED_COLUMNS

from ..ledger.queries import FEED_LAG_SECONDS
from ..webhooks.queries import DEAD_DELIVERIES
from .queries import CLAIMED_UNTIL, UNCERTAIN_SINCE

# Counts stop at 10,000, and each part scans an index from where rows are still alive.
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
                SELECT lease, due_at FROM queue
                WHERE queue.lane = lane.lane AND due_at >= {CLAIMED_UNTIL} ORDER BY due_at LIMIT 10000
            ) AS counted
        ) AS queued
    ),
    'uncertain', (
        SELECT jsonb_build_array(count(*), extract(epoch FROM now() - least(now(), min(since))))
        FROM ({UNCERTAIN_SINCE}) AS in_doubt
    ),
    'feed_lag', {FEED_LAG_SECONDS},
    'dead_webhooks', {DEAD_DELIVERIES},
    'retention', (SELECT extract(epoch FROM now() - ran_at) FROM retention_runs)
)::text
"""
