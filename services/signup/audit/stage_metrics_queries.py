"""The statement behind the stages on signup's `/metrics`."""

from shared.observability.stage_metrics import SHARED_COLUMNS

from ..outbox.queries import CLAIMED_UNTIL, OVERDUE_SINCE
from .queries import unreachable

_NEWEST_UNREACHABLE = unreachable(
    "SELECT unreached, state, changed_at FROM mail_outcomes WHERE unreached IS NOT NULL"
    " ORDER BY unreached DESC LIMIT 1000"
)

# $3 the kinds of effect. Counts stop at 10,000, where more would say no more; each part scans an index from where rows
# are still alive.
READ_STAGES = f"""
SELECT jsonb_build_object({SHARED_COLUMNS},
    'outbox', (
        SELECT jsonb_agg(jsonb_build_array(effect, pending, leased, dead, oldest))
        FROM unnest($3::text[]) AS effect
        CROSS JOIN LATERAL (
            SELECT
                count(*) FILTER (WHERE state = 'pending') AS pending,
                count(*) FILTER (WHERE state = 'leased') AS leased,
                extract(epoch FROM now() - least(now(), min(since) FILTER (WHERE due_at <= now()))) AS oldest
            FROM (
                SELECT state, due_at, {OVERDUE_SINCE} AS since FROM outbox
                WHERE outbox.effect = effect.effect AND due_at >= {CLAIMED_UNTIL} ORDER BY due_at LIMIT 10000
            ) AS waiting
        ) AS owed
        CROSS JOIN LATERAL (
            SELECT count(*) AS dead
            FROM (SELECT effect FROM outbox WHERE state = 'dead' ORDER BY dead_at LIMIT 10000) AS buried
            WHERE buried.effect = effect.effect
        ) AS given_up
    ),
    'imports', (
        SELECT coalesce(jsonb_object_agg(state, open), '{{}}')
        FROM (
            SELECT state, count(*) AS open FROM imports WHERE state IN ('receiving', 'running', 'paused') GROUP BY state
        ) AS by_state
    ),
    'unreachable', (SELECT count(DISTINCT user_id) FROM ({_NEWEST_UNREACHABLE}) AS newest),
    'balanced', (
        SELECT extract(epoch FROM now() - max(window_to)) FROM reconciliation_runs WHERE verdict = 'balanced'
    )
)::text
"""
