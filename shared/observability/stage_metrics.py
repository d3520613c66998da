"""Metrics of the stages between the APIs, read from the service's own ledger on each scrape.

The numbers come from the database, so every process of an API reports the same: dashboards and rules take the `max`
over instances, not the sum (docs/metrics.md).
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg
import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..db.pool import UNAVAILABLE, Pool
from .foreign_errors import describe
from .logs import get_logger

_log = get_logger(__name__)

# Prometheus gives up after 10 s, and must get the numbers of the process itself even when the database hangs.
_QUERY_TIMEOUT_SECONDS = 2.0
# The operations port needs no key: however often it is scraped, the database is queried at most once in this time.
_CACHE_SECONDS = 1.0
# A worker beats every 5 s. Numbers of a silent one are out of date.
_SILENT_SECONDS = 60.0
# Any database fault, even a schema of another version than the code: the process still has its own numbers to show.
_QUERY_ERRORS: tuple[type[BaseException], ...] = (*UNAVAILABLE, asyncpg.PostgresError)


@dataclass(frozen=True)
class Stage:
    """One metric; the service's prefix comes before `name`."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    is_counter: bool = False


Sample: TypeAlias = tuple[Stage, tuple[str, ...], float]

DATABASE_UP = Stage("database_up", "1 when the ledger could be read for this scrape; at 0 the other stages are missing")
BEAT_AGE = Stage("worker_heartbeat_age_seconds", "Time since the last heartbeat of any worker; missing when none")
WORKERS = Stage("workers", "Worker processes with a heartbeat in the last minute")
LISTENER_UP = Stage("listener_up", "1 when wake-ups reach the worker, 0 when it only polls", ("worker",))
OLDEST_TRANSACTION = Stage(
    "database_oldest_transaction_age_seconds", "Age of the service's longest open transaction, which holds up vacuum"
)
LIVE_ROWS = Stage("database_live_rows", "Rows of a hot table, estimated by PostgreSQL", ("table",))
DEAD_ROWS = Stage("database_dead_rows", "Rows waiting for vacuum in a hot table, estimated by PostgreSQL", ("table",))
SHARED_STAGES = (DATABASE_UP, BEAT_AGE, WORKERS, LISTENER_UP, OLDEST_TRANSACTION, LIVE_ROWS, DEAD_ROWS)

# Arguments of a `jsonb_build_object`. $1 is the kind of worker, $2 the hot tables.
SHARED_COLUMNS = """
    'beats', (
        SELECT coalesce(jsonb_object_agg(process, jsonb_build_object(
            'age', extract(epoch FROM now() - at), 'detail', detail)), '{}')
        FROM heartbeats WHERE process = $1::text OR process LIKE $1::text || '/%'
    ),
    'oldest_transaction', (
        SELECT coalesce(extract(epoch FROM greatest(clock_timestamp() - min(xact_start), interval '0')), 0)
        FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    ),
    'tables', (
        SELECT coalesce(jsonb_agg(jsonb_build_array(relname, n_live_tup, n_dead_tup)), '[]')
        FROM pg_stat_user_tables WHERE schemaname = 'public' AND relname = ANY ($2::text[])
    )
"""


@dataclass(frozen=True)
class Worker:
    """A worker process with a heartbeat in the last minute, and the detail it reported."""

    name: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class StageSource:
    """Where a service's metrics come from: one statement that returns one JSON object, which `read` converts."""

    prefix: str
    stages: tuple[Stage, ...]
    query: str
    worker: str
    tables: tuple[str, ...]
    arguments: tuple[object, ...]
    read: Callable[[dict[str, Any], Sequence[Worker]], Iterable[Sample]]


class StageMetrics(Collector):
    """Shows what the last `refresh` read; when it failed, only `database_up` at 0."""

    def __init__(
        self, registry: CollectorRegistry, source: StageSource, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._clock = clock
        self._refresh_lock = asyncio.Lock()
        self._read_at: float | None = None
        self._samples: list[Sample] = []
        registry.register(self)

    async def refresh(self, pool: Pool) -> None:
        """Query the database, at most once a second and for at most two seconds. A database fault raises nothing."""
        async with self._refresh_lock:
            if self._read_at is not None and self._clock() - self._read_at < _CACHE_SECONDS:
                return
            try:
                async with asyncio.timeout(_QUERY_TIMEOUT_SECONDS):
                    result = await pool.fetchval(
                        self._source.query, self._source.worker, list(self._source.tables), *self._source.arguments
                    )
            except _QUERY_ERRORS as error:
                _log.warning("stage_metrics_not_read", error=describe(error))
                self._samples = [(DATABASE_UP, (), 0)]
            else:
                self._samples = list(_samples(self._source, orjson.loads(result)))
            self._read_at = self._clock()

    def collect(self) -> Iterator[Metric]:
        families = {stage: _family(self._source.prefix, stage) for stage in (*SHARED_STAGES, *self._source.stages)}
        for stage, labels, value in self._samples:
            families[stage].add_metric(labels, value)
        yield from families.values()


def _family(prefix: str, stage: Stage) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if stage.is_counter else GaugeMetricFamily
    return kind(prefix + stage.name, stage.help, labels=stage.labels)


def _samples(source: StageSource, values: dict[str, Any]) -> Iterator[Sample]:
    yield DATABASE_UP, (), 1
    beats = values["beats"]
    if source.worker in beats:
        yield BEAT_AGE, (), beats[source.worker]["age"]
    workers = [
        Worker(process.removeprefix(f"{source.worker}/"), beat["detail"])
        for process, beat in beats.items()
        if process != source.worker and beat["age"] < _SILENT_SECONDS
    ]
    yield WORKERS, (), len(workers)
    for worker in workers:
        if (listening := worker.detail.get("listening")) is not None:
            yield LISTENER_UP, (worker.name,), listening
    yield OLDEST_TRANSACTION, (), values["oldest_transaction"]
    for table, live, dead in values["tables"]:
        yield LIVE_ROWS, (table,), live
        yield DEAD_ROWS, (table,), dead
    yield from source.read(values, workers)
