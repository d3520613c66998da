"""What waits in signup's stages: a stage is an effect, from the outbox to its peer."""

from typing import Any

import orjson

from shared.audit.flow import FlowReader, Now, StageNow
from shared.db.pool import Pool

from ..outbox.effect_registry import EFFECTS
from ..outbox.queries import CLAIMED_UNTIL, OVERDUE_SINCE
from ..process_names import WORKER
from . import queries

# $1 the effects. Counts stop at 10,000.
READ_OUTBOX_STAGES = f"""
WITH dead AS (
    SELECT effect, count(*) AS dead
    FROM (SELECT effect FROM outbox WHERE state = 'dead' ORDER BY dead_at LIMIT 10000) AS buried GROUP BY effect
)
SELECT effect.effect AS name, owed.waiting, owed.in_flight, owed.oldest_seconds, coalesce(dead.dead, 0) AS dead
FROM unnest($1::text[]) WITH ORDINALITY AS effect (effect, place)
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE state = 'pending') AS waiting,
        count(*) FILTER (WHERE state = 'leased') AS in_flight,
        extract(epoch FROM now() - min(since) FILTER (WHERE due_at <= now()))::float8 AS oldest_seconds
    FROM (
        SELECT state, due_at, {OVERDUE_SINCE} AS since FROM outbox
        WHERE outbox.effect = effect.effect AND due_at >= {CLAIMED_UNTIL} ORDER BY due_at LIMIT 10000
    ) AS rows
) AS owed
LEFT JOIN dead ON dead.effect = effect.effect
ORDER BY effect.place
"""


def make_flow_reader() -> FlowReader:
    return FlowReader(_read_now)


async def _read_now(pool: Pool) -> Now:
    rows = await pool.fetch(READ_OUTBOX_STAGES, list(EFFECTS))
    beat = await pool.fetchrow(queries.LAST_BEAT, WORKER)
    effects: dict[str, dict[str, Any]] = orjson.loads(beat["detail"]).get("effects", {}) if beat else {}
    stages = [
        StageNow(
            **row,
            breaker=effects.get(row["name"], {}).get("breaker"),
            last_fault=effects.get(row["name"], {}).get("last_fault"),
        )
        for row in rows
    ]
    return Now(beat["age_seconds"] if beat else None, stages)
