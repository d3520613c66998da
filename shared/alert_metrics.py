"""Alerts and findings as Prometheus sees them: as the book stood when this process last looked."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .database import Pool
from .incidents import COUNT_ALERTS
from .severity import Severity


class AlertMetrics(Collector):
    """Counts stand in the database, so they are the same whichever process is asked, and outlive it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._alerts: Mapping[tuple[str, str], tuple[int, int]] = {}
        self._checks: Sequence[Mapping[str, Any]] = ()
        registry.register(self)

    async def refresh(
        self, pool: Pool, checks: Sequence[Mapping[str, Any]], severities: Mapping[str, Severity]
    ) -> None:
        """`severities` are those of everything that can be found wrong: a series that is missing is no zero."""
        nothing = dict.fromkeys(((name, str(severity)) for name, severity in severities.items()), (0, 0))
        rows = await pool.fetch(COUNT_ALERTS)
        self._alerts = nothing | {(row["name"], row["severity"]): (row["opened"], row["open"]) for row in rows}
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
        fixed = CounterMetricFamily("check_fixed", "Rows that a sanity check ever mended", labels=("name",))
        for check in self._checks:
            found.add_metric((check["name"], check["severity"]), check["violations"])
            fixed.add_metric((check["name"],), check["fixed_total"])
        yield from (opened, now_open, found, fixed)
