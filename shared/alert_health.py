"""What `/health` says about sanity checks and alerts, the same in both services."""

from .database import Pool
from .health import Check, Status
from .incidents import OPEN_ALERTS
from .severity import Severity

_LATE_SECONDS = 900

_LAST_CHECKS = """
SELECT extract(epoch FROM now() - max(last_run_at))::float8 AS age_seconds,
       coalesce(string_agg(name, ', ' ORDER BY name) FILTER (WHERE violations > fixed OR error IS NOT NULL), '') AS bad
FROM check_results
"""


async def finding_checks(pool: Pool) -> dict[str, Check]:
    """`sanity_checks` and `alerts`. They warn and never fail: whoever is to be woken is woken by the alert itself."""
    row = await pool.fetchrow(_LAST_CHECKS)
    assert row is not None
    age, bad = row["age_seconds"], row["bad"]
    if age is None:
        # `worker` says why, and the alert `checks_late` when it lasts.
        sanity = Check(Status.PASS, detail="They have not been run yet: a worker runs them when it starts")
    else:
        status = Status.WARN if bad or age > _LATE_SECONDS else Status.PASS
        detail = f"Since the last run, which found: {bad or 'nothing'}"
        sanity = Check(status, round(age, 1), "s", detail)
    alerts = await pool.fetch(OPEN_ALERTS)
    red = sum(alert["severity"] == Severity.RED for alert in alerts)
    said = "; ".join(f"{alert['name']} ({alert['severity']}): {alert['subject']}" for alert in alerts)
    return {
        "sanity_checks": sanity,
        "alerts": Check(Status.WARN if alerts else Status.PASS, len(alerts), "open", said and f"{red} red. {said}"),
    }
