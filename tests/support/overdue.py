"""For how long the most overdue row of an effect has waited, as each reader of signup's outbox says."""

import orjson

from services.signup.audit.flow import READ_OUTBOX_STAGES
from services.signup.audit.queries import ALERT_SYMPTOMS
from services.signup.audit.stage_metrics_queries import READ_STAGES
from services.signup.outbox.queries import OUTBOX_HEALTH
from shared.db.pool import Pool


async def overdue_seconds(pool: Pool, effect: str) -> dict[str, float]:
    """By reader; 0: none is due. The alert says 0 for 15 minutes."""
    effects = [effect]
    alert = await pool.fetchrow(ALERT_SYMPTOMS, "signup-worker", effects)
    health = await pool.fetchrow(OUTBOX_HEALTH, effects)
    flow = await pool.fetchrow(READ_OUTBOX_STAGES, effects)
    assert alert
    assert health
    assert flow
    ((_, _, _, _, metric),) = orjson.loads(await pool.fetchval(READ_STAGES, "signup-worker", [], effects))["outbox"]
    return {
        "alert": alert["oldest_late_seconds"] or 0.0,
        "health": health["oldest_due_seconds"] or 0.0,
        "flow": flow["oldest_seconds"] or 0.0,
        "metric": metric,
    }
