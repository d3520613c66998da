"""The mail worker: puts delivery together and keeps it running, beside an arq worker that only helps.

Every loop goes on while Valkey is down, and waits while PostgreSQL is. SIGTERM drains; `kill -9` loses nothing.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import orjson
from arq.cron import CronJob, cron

from shared.alerts import Watch
from shared.arq_host import run_arq
from shared.database import Database, DatabaseOptions, Pool, open_database
from shared.heartbeats import BEAT, process_name
from shared.log import configure, get_logger
from shared.loops import Loop, keep_running, run_until_signalled
from shared.partitions import Partitions
from shared.tracing import Tracing, tracing_of
from shared.wakeup import Listener

from .delivery.deliver import Delivery
from .delivery.gateways.connection import Timeouts
from .delivery.gateways.failover import Gateways, Route
from .delivery.gateways.pace import Pace
from .delivery.gateways.settings import GatewaySettings, parse_gateways
from .delivery.gateways.smtp import SmtpGateway
from .delivery.leases import Leases
from .delivery.mail import RetryPolicy
from .delivery.recorder import Recorder
from .delivery.rescue import Expiry, Rescue
from .ledger.alerts import make_watch
from .ledger.retention import Retention
from .resources import intake_of
from .settings import Settings

_log = get_logger(__name__)

PROCESS = "mail-worker"
QUEUE_CHANNEL = "mail_queue"
ARQ_QUEUE = "counterfoil:mail"

_BEAT_SECONDS = 5.0
_EXPIRY_SECONDS = 30.0
# Longer than most conversations, shorter than the time that supervisors give before they kill.
_DRAIN_SECONDS = 15.0
_END_SECONDS = 3.0
_PARTITIONS_SECONDS = 3600.0
# Retention counts in days.
_RETENTION_SECONDS = 6 * 3600.0


@dataclass(frozen=True)
class Parts:
    """What a running worker is made of."""

    database: Database
    tracing: Tracing
    gateways: Gateways
    recorder: Recorder
    leases: Leases
    delivery: Delivery
    rescue: Rescue
    expiry: Expiry
    retention: Retention
    partitions: Partitions
    listener: Listener | None
    wake: asyncio.Event
    wake_retention: asyncio.Event
    wake_partitions: asyncio.Event
    watch: Watch
    wake_watch: asyncio.Event


class Heartbeat:
    """A loop: tells the API, through the database, that this worker lives and how its gateways are."""

    name = "heartbeat"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def run_once(self) -> bool:
        parts = self._parts
        await parts.gateways.close_idle()
        detail = {
            "gateways": [route.describe() for route in parts.gateways.routes],
            "listening": parts.listener.listening if parts.listener else None,
            "in_flight": parts.delivery.in_flight,
            "lease_lost": parts.leases.lost,
            "rescued": parts.rescue.rescued,
            "outcomes": {str(outcome): count for outcome, count in parts.delivery.outcomes.items()},
            "states": {
                str(state): count
                for state, count in (parts.recorder.states + parts.delivery.closed + parts.expiry.closed).items()
            },
        }
        await parts.database.pool.execute(BEAT, PROCESS, process_name(), orjson.dumps(detail).decode())
        return False


async def run(settings: Settings) -> None:
    """Deliver until SIGTERM or SIGINT, then drain. Returns when everything is closed.

    Raises:
        ValueError: MAIL_GATEWAYS, or a setting of alerts, cannot be read.
    """
    configure(PROCESS, settings.log_level, personal_data=settings.log_personal_data)
    parts = await assemble(settings)
    _log.info("started", gateways=[route.name for route in parts.gateways.routes])
    await run_until_signalled(lambda stop: serve(parts, settings, stop), wakes=(parts.wake,))


async def assemble(settings: Settings) -> Parts:
    """Build everything; connects nowhere yet."""
    options = DatabaseOptions(
        settings.process_database_url,
        PROCESS,
        pool_size=settings.database_pool_size,
        statement_cache_size=settings.database_statement_cache_size,
    )
    policy = RetryPolicy(settings.mail_retry_base_seconds, settings.mail_retry_cap_seconds)
    lease_seconds = settings.mail_lease_seconds
    described = parse_gateways(settings.mail_gateways)
    wake = asyncio.Event()
    database = await open_database(options)
    pool = database.pool
    gateways = Gateways([Route(_gateway(gateway, settings, pool)) for gateway in described])
    recorder = Recorder(pool)
    leases = Leases(pool, recorder.queue_lock, lease_seconds)
    tracing = tracing_of(settings, PROCESS)
    return Parts(
        database,
        tracing,
        gateways,
        recorder,
        leases,
        Delivery(
            pool,
            gateways,
            recorder,
            leases,
            policy,
            lease_seconds=lease_seconds,
            wake=wake,
            bounce_domain=settings.mail_bounce_domain,
            tracing=tracing,
        ),
        # A sixth of the lease, and never less than a renewal may take to be tried again after an outage (2 s).
        Rescue(
            pool,
            recorder,
            policy,
            lease_seconds=lease_seconds,
            grace_seconds=max(lease_seconds / 6, 2.5),
            tracing=tracing,
        ),
        Expiry(pool),
        Retention(pool, content_days=settings.mail_content_days, address_days=settings.mail_address_days),
        Partitions(pool, settings.kept),
        Listener(options, QUEUE_CHANNEL, wake) if settings.wakeup == "listen" else None,
        wake,
        asyncio.Event(),
        asyncio.Event(),
        make_watch(settings, intake_of(settings, database, tracing), runs_checks=True),
        asyncio.Event(),
    )


def _gateway(gateway: GatewaySettings, settings: Settings, pool: Pool) -> SmtpGateway:
    timeouts = Timeouts(settings.mail_command_timeout_seconds, settings.mail_reply_timeout_seconds)
    pace = Pace(pool, gateway.name, gateway.per_second) if gateway.per_second else None
    return SmtpGateway(gateway, timeouts, settings.mail_ehlo_name, pace=pace)


async def serve(parts: Parts, settings: Settings, stop: asyncio.Event) -> None:
    """Run all loops until `stop`, drain, close. Leases are renewed and hearts beat until the last mail is out."""
    drained = asyncio.Event()
    claiming = _start(parts.delivery, parts.wake, stop, settings.mail_poll_seconds)
    tasks = [
        claiming,
        _every(parts.rescue, stop, settings.mail_lease_seconds / 6),
        _every(parts.expiry, stop, _EXPIRY_SECONDS),
        _every(parts.retention, stop, _RETENTION_SECONDS, parts.wake_retention),
        _every(parts.partitions, stop, _PARTITIONS_SECONDS, parts.wake_partitions),
        _every(parts.watch, stop, settings.alert_seconds, parts.wake_watch),
        _task(_arq(parts, settings, stop)),
        _every(parts.leases, drained, settings.mail_lease_seconds / 3),
        _every(Heartbeat(parts), drained, _BEAT_SECONDS),
    ]
    listening = [_task(parts.listener.run())] if parts.listener else []
    try:
        await _first_failure_or(stop, [*tasks, *listening])
        await asyncio.wait([claiming], timeout=_DRAIN_SECONDS)
        await parts.delivery.drain(_DRAIN_SECONDS)
    finally:
        stop.set()
        drained.set()
        # Those that wait for a database that is away are cut; the others end by themselves.
        await asyncio.wait(tasks, timeout=_END_SECONDS)
        for task in (*tasks, *listening):
            task.cancel()
        await asyncio.gather(*tasks, *listening, return_exceptions=True)
        await parts.recorder.close()
        await parts.gateways.close()
        await parts.database.close()
        await parts.tracing.close()
        _log.info("stopped")


def _task(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    return asyncio.get_running_loop().create_task(work)


def _start(loop: Loop, wake: asyncio.Event, stop: asyncio.Event, seconds: float) -> "asyncio.Task[None]":
    return _task(keep_running(loop, wake=wake, stop=stop, poll_seconds=seconds))


def _every(loop: Loop, stop: asyncio.Event, seconds: float, wake: asyncio.Event | None = None) -> "asyncio.Task[None]":
    """A loop that seldom anybody wakes: its pauses end with `stop`."""
    wake = wake or asyncio.Event()

    async def run() -> None:
        running = _start(loop, wake, stop, seconds)
        await stop.wait()
        wake.set()
        await running

    return _task(run())


async def _first_failure_or(stop: asyncio.Event, tasks: list["asyncio.Task[None]"]) -> None:
    """Until `stop`; a task that ends before that has failed, and the process must not go on without it."""
    stopping = asyncio.get_running_loop().create_task(stop.wait())
    done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stopping
    if not stop.is_set():
        for task in done:
            task.result()


async def _arq(parts: Parts, settings: Settings, stop: asyncio.Event) -> None:
    await run_arq(
        redis_url=str(settings.redis_url),
        queue_name=ARQ_QUEUE,
        functions=[],
        cron_jobs=_cron_jobs(),
        context={
            "wake": parts.wake,
            "wake_retention": parts.wake_retention,
            "wake_watch": parts.wake_watch,
            "wake_partitions": parts.wake_partitions,
        },
        stop=stop,
    )


def _cron_jobs() -> list[CronJob]:
    return [
        cron(wake_delivery, second=set(range(60)), max_tries=1, keep_result=0),
        cron(wake_partitions, minute=7, second=0, max_tries=1),
        cron(wake_retention, hour=3, minute=17, second=0, max_tries=1),
        cron(wake_watch, minute=set(range(0, 60, 5)), second=0, max_tries=1, keep_result=0),
    ]


async def wake_delivery(ctx: dict[Any, Any]) -> None:
    """Once a second: a safety net under the wake-ups and the poll."""
    wake: asyncio.Event = ctx["wake"]
    wake.set()
    await asyncio.sleep(0)


async def wake_retention(ctx: dict[Any, Any]) -> None:
    """Once a night, when there is least to do; a worker that runs on also does it every few hours."""
    wake: asyncio.Event = ctx["wake_retention"]
    wake.set()
    await asyncio.sleep(0)


async def wake_watch(ctx: dict[Any, Any]) -> None:
    """Sanity checks are due every 5 minutes; which worker runs them, the database decides."""
    wake: asyncio.Event = ctx["wake_watch"]
    wake.set()
    await asyncio.sleep(0)


async def wake_partitions(ctx: dict[Any, Any]) -> None:
    """Months of history are made ahead and dropped behind every hour, with Valkey or without."""
    wake: asyncio.Event = ctx["wake_partitions"]
    wake.set()
    await asyncio.sleep(0)
