"""What Prometheus is told about the stages between the APIs: read from the service's own ledger when it asks.

The numbers stand in the database, so every process of an API tells the same ones: dashboards and rules take the `max`
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
from .logs import get_logger

_log = get_logger(__name__)

# Prometheus gives up after 10 s, and the numbers of the process itself must reach it whatever the database does.
_PATIENCE_SECONDS = 2.0
# Nobody needs a key for /metrics: however often it is asked, the database is asked once in this time.
_FRESH_SECONDS = 1.0
# A worker beats every 5 s. What a dead one said last is no news.
_HEARD_SECONDS = 60.0
# Any fault of the database, even a ledger of another version than the code: the process still has numbers to show.
_QUERY_ERRORS: tuple[type[BaseException], ...] = (*UNAVAILABLE, asyncpg.PostgresError)


@dataclass(frozen=True)
class Stage:
    """One metric; the service's prefix comes before `name`."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    is_counter: bool = False


Sample: TypeAlias = tuple[Stage, tuple[str, ...], float]

DATABASE_UP = Stage("database_up", "1 when the ledger could be read for this answer; at 0 the other stages are missing")
BEAT_AGE = Stage("worker_heartbeat_age_seconds", "Since any worker was last heard of; none when none ever was")
WORKERS = Stage("workers", "Worker processes heard of in the last minute")
LISTENER_UP = Stage("listener_up", "1 when wake-ups reach the worker, 0 when it only polls", ("worker",))
OLDEST_TRANSACTION = Stage(
    "database_oldest_transaction_age_seconds", "The longest open transaction of the service's role; it holds up vacuum"
)
LIVE_ROWS = Stage("database_live_rows", "Rows of a hot table, as PostgreSQL estimates", ("table",))
DEAD_ROWS = Stage("database_dead_rows", "Rows of a hot table that wait for vacuum, as estimated", ("table",))
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
    """A worker process heard of in the last minute, and what it said."""

    name: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class StageSource:
    """Where a service's metrics come from: one statement, answering with one JSON object that `read` understands."""

    prefix: str
    stages: tuple[Stage, ...]
    query: str
    worker: str
    tables: tuple[str, ...]
    arguments: tuple[object, ...]
    read: Callable[[dict[str, Any], Sequence[Worker]], Iterable[Sample]]


class StageMetrics(Collector):
    """Shows what `refresh` last read; when that failed, only that it did."""

    def __init__(
        self, registry: CollectorRegistry, ledger: StageSource, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._read_at: float | None = None
        self._samples: list[Sample] = []
        registry.register(self)

    async def refresh(self, pool: Pool) -> None:
        """Asks the database, once a second at most. Never raises for its sake, and takes two seconds at most."""
        async with self._one_at_a_time:
            if self._read_at is not None and self._clock() - self._read_at < _FRESH_SECONDS:
                return
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    answer = await pool.fetchval(
                        self._ledger.query, self._ledger.worker, list(self._ledger.tables), *self._ledger.arguments
                    )
            except _QUERY_ERRORS as error:
                _log.warning("stage_metrics_unread", error=type(error).__name__)
                self._samples = [(DATABASE_UP, (), 0)]
            else:
                self._samples = list(_samples(self._ledger, orjson.loads(answer)))
            self._read_at = self._clock()

    def collect(self) -> Iterator[Metric]:
        families = {stage: _family(self._ledger.prefix, stage) for stage in (*SHARED_STAGES, *self._ledger.stages)}
        for stage, labels, value in self._samples:
            families[stage].add_metric(labels, value)
        yield from families.values()


def _family(prefix: str, stage: Stage) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if stage.is_counter else GaugeMetricFamily
    return kind(prefix + stage.name, stage.help, labels=stage.labels)


def _samples(ledger: StageSource, seen: dict[str, Any]) -> Iterator[Sample]:
    yield DATABASE_UP, (), 1
    beats = seen["beats"]
    if ledger.worker in beats:
        yield BEAT_AGE, (), beats[ledger.worker]["age"]
    workers = [
        Worker(process.removeprefix(f"{ledger.worker}/"), beat["detail"])
        for process, beat in beats.items()
        if process != ledger.worker and beat["age"] < _HEARD_SECONDS
    ]
    yield WORKERS, (), len(workers)
    for worker in workers:
        if (listening := worker.detail.get("listening")) is not None:
            yield LISTENER_UP, (worker.name,), listening
    yield OLDEST_TRANSACTION, (), seen["oldest_transaction"]
    for table, live, dead in seen["tables"]:
        yield LIVE_ROWS, (table,), live
        yield DEAD_ROWS, (table,), dead
    yield from ledger.read(seen, workers)
