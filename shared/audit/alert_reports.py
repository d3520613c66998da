"""Alerts and findings as metrics and health checks. Metrics show the last refresh of this process."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..db.pool import Pool
from ..observability.health_checks import Check, Status
from .incidents import COUNT_ALERTS, OPEN_ALERTS
from .severity import Severity


class AlertMetrics(Collector):
    """The counts come from the database, so every process reports the same ones and they survive restarts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._alerts: Mapping[tuple[str, str], tuple[int, int]] = {}
        self._checks: Sequence[Mapping[str, Any]] = ()
        registry.register(self)

    async def refresh(
        self, pool: Pool, checks: Sequence[Mapping[str, Any]], severities: Mapping[str, Severity]
    ) -> None:
        """`severities` lists everything that can be found wrong: a missing series would not read as zero."""
        zeros = dict.fromkeys(((name, str(severity)) for name, severity in severities.items()), (0, 0))
        rows = await pool.fetch(COUNT_ALERTS)
        self._alerts = zeros | {(row["name"], row["severity"]): (row["opened"], row["open"]) for row in rows}
        self._checks = checks

    def collect(self) -> Iterator[Metric]:
        opened = CounterMetricFamily("alerts_opened", "Incidents ever opened", labels=("name", "severity"))
        now_open = GaugeMetricFamily("alerts_open", "Incidents open now", labels=("name", "severity"))
        for labels, (ever, now) in self._alerts.items():
            opened.add_metric(labels, ever)
            now_open.add_metric(labels, now)
        found = GaugeMetricFamily(
            "check_violations", "Rows that the last run of a sanity check found", labels=("name", "severity")
        )
        fixed = CounterMetricFamily("check_fixed", "Rows that a sanity check ever repaired", labels=("name",))
        for check in self._checks:
            found.add_metric((check["name"], check["severity"]), check["violations"])
            fixed.add_metric((check["name"],), check["fixed_total"])
        yield from (opened, now_open, found, fixed)


_LATE_SECONDS = 900

_LAST_CHECKS = """
SELECT extract(epoch FROM now() - max(last_run_at))::float8 AS age_seconds,
       coalesce(string_agg(name, ', ' ORDER BY name) FILTER (WHERE violations > fixed OR error IS NOT NULL), '') AS bad
FROM check_results
"""


async def finding_checks(pool: Pool) -> dict[str, Check]:
    """`sanity_checks` and `alerts`. They warn and never fail: the alert itself notifies the operators."""
    row = await pool.fetchrow(_LAST_CHECKS)
    assert row is not None
    age, bad = row["age_seconds"], row["bad"]
    if age is None:
        # The check of the worker says why. The alert `checks_late` opens when it lasts.
        sanity = Check(Status.PASS, detail="Not run yet: a worker runs them when it starts")
    else:
        status = Status.WARN if bad or age > _LATE_SECONDS else Status.PASS
        detail = f"Time since the last run. Checks with findings: {bad or 'none'}"
        sanity = Check(status, round(age, 1), "s", detail)
    alerts = await pool.fetch(OPEN_ALERTS)
    red = sum(alert["severity"] == Severity.RED for alert in alerts)
    listed = "; ".join(f"{alert['name']} ({alert['severity']}): {alert['subject']}" for alert in alerts)
    return {
        "sanity_checks": sanity,
        "alerts": Check(Status.WARN if alerts else Status.PASS, len(alerts), "open", listed and f"{red} red. {listed}"),
    }
