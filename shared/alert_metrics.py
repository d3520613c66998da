"""Alerts and findings as Prometheus sees them: as the book stood when this process last looked."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .database import Pool, Record
from .incidents import COUNT_ALERTS


class AlertMetrics(Collector):
    """Counts stand in the database, so they are the same whichever process is asked, and outlive it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._alerts: Sequence[Record] = ()
        self._checks: Sequence[Mapping[str, Any]] = ()
        registry.register(self)

    async def refresh(self, pool: Pool, checks: Sequence[Mapping[str, Any]]) -> None:
        self._alerts = await pool.fetch(COUNT_ALERTS)
        self._checks = checks

    def collect(self) -> Iterator[Metric]:
        opened = CounterMetricFamily("alerts_opened", "Incidents ever opened", labels=("name", "severity"))
        now_open = GaugeMetricFamily("alerts_open", "Incidents open now", labels=("name", "severity"))
        for row in self._alerts:
            opened.add_metric((row["name"], row["severity"]), row["opened"])
            now_open.add_metric((row["name"], row["severity"]), row["open"])
        found = GaugeMetricFamily(
            "check_violations", "Rows that the last run of a sanity check found", labels=("name", "severity")
        )
        fixed = CounterMetricFamily("check_fixed", "Rows that a sanity check ever mended", labels=("name",))
        for check in self._checks:
            found.add_metric((check["name"], check["severity"]), check["violations"])
            fixed.add_metric((check["name"],), check["fixed_total"])
        yield from (opened, now_open, found, fixed)
