"""The worker process. The table in `_run_loops` lists its loops, their intervals and what wakes them.

The loops run in this process, not in arq jobs, so they continue while Valkey is down (DESIGN decision 1). Every loop
polls; the listener and arq's cron only wake it earlier.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from shared.contract.configuration import ConfigurationError
from shared.db.pool import Database, DatabaseOptions, open_database
from shared.observability.logs import get_logger
from shared.observability.tracing import tracing_of
from shared.worker.arq_host import run_arq
from shared.worker.circuit_breaker import Breaker
from shared.worker.heartbeats import Heartbeat
from shared.worker.loops import LoopFailures, run_until_signaled
from shared.worker.partitions import Partitions
from shared.worker.schedule import CronWakeup, Scheduled, WakeupFanout, run_schedule
from shared.worker.wakeups import Listener, Pinger

from .accounts.effect_policy import EffectPolicy
from .accounts.used_challenges import UsedChallengeCleanup
from .audit.alerts import make_alert_loop
from .audit.mail_service_view import MailServiceView
from .erasure.pending_cleanup import PendingCleanup
from .imports.cleanup import ImportCleanup
from .imports.import_loop import ImportLoop
from .mail_service import MailService
from .outbox.dispatcher import Dispatcher
from .outbox.effect_registry import EFFECTS, EffectContext
from .outbox.relay import Relay
from .process_names import ARQ_QUEUE, OUTBOX_CHANNEL, WORKER
from .rare_work import RareWork
from .reconciliation.feed_follower import FeedFollower
from .reconciliation.reconciler import Reconciler, Schedule
from .reconciliation.repair import Repairer
from .reconciliation.scan import LedgerScan
from .settings import Settings
from .verification_token import TokenRing

_log = get_logger(__name__)

_HEARTBEAT_SECONDS = 5.0
_UPKEEP_SECONDS = 3600.0
_SCHEDULE_SECONDS = 60.0
# Longer than one call to the mail service may take.
_DRAIN_SECONDS = 30.0


async def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then finish the batches under way. PostgreSQL and Valkey may go down meanwhile.

    Raises:
        ConfigurationError: a setting has a value that the worker cannot work with.
    """
    ring = TokenRing.from_setting(settings.signup_token_keys)
    if not settings.mail_api_key:
        raise ConfigurationError("MAIL_API_KEY is empty: set it to signup's API key at the mail service")
    if settings.signup_lease_seconds <= settings.mail_timeout_seconds:
        raise ConfigurationError("SIGNUP_LEASE_SECONDS must be longer than MAIL_TIMEOUT_SECONDS, or leases expire")
    options = database_options(settings)
    async with AsyncExitStack() as closing:
        tracing = tracing_of(settings.traces_endpoint, WORKER)
        closing.push_async_callback(tracing.close)
        database = await open_database(options)
        closing.push_async_callback(database.close)
        relays = _relays(settings, EffectContext(settings, ring, database.pool, tracing), closing)
        await _run_loops(settings, options, database, relays, EffectPolicy.of(settings, ring), closing)
        _log.info("worker_stopped")


def database_options(settings: Settings) -> DatabaseOptions:
    return settings.database_options(WORKER, one_plan=True)


def _relays(settings: Settings, context: EffectContext, closing: AsyncExitStack) -> list[Relay]:
    relays = []
    for kind in EFFECTS.values():
        effect = kind.connect(context)
        closing.push_async_callback(effect.close)
        relay = Relay(
            context.pool,
            effect,
            breaker=Breaker(kind.name),
            batch=settings.signup_relay_batch,
            lease_seconds=max(settings.signup_lease_seconds, kind.min_lease_seconds(settings)),
            at_once=kind.batches_at_once,
            tracing=context.tracing,
        )
        relays.append(relay)
    return relays


async def _run_loops(
    settings: Settings,
    options: DatabaseOptions,
    database: Database,
    relays: Sequence[Relay],
    policy: EffectPolicy,
    closing: AsyncExitStack,
) -> None:
    pool = database.pool
    outbox_ping, upkeep_due, alerts_due = WakeupFanout(), WakeupFanout(), WakeupFanout()
    imports_due, reconciliation_due = WakeupFanout(), WakeupFanout()
    listener = Listener(options, OUTBOX_CHANNEL, outbox_ping) if settings.wakeup == "listen" else None
    pinger = Pinger(pool, OUTBOX_CHANNEL, enabled=listener is not None)
    mail_service, mail_service_view = MailService.connect(settings), MailServiceView.connect(settings)
    for collaborator in (pinger, mail_service, mail_service_view):
        closing.push_async_callback(collaborator.close)
    lag_seconds, poll_seconds = settings.reconcile_lag_seconds, settings.signup_poll_seconds
    rare_seconds = 2 * poll_seconds
    follower = FeedFollower(pool, mail_service, Breaker("mail_feed"), lag_seconds=lag_seconds)
    scan = LedgerScan(pool, mail_service, stuck_seconds=settings.reconcile_stuck_seconds)
    repairer = Repairer(pool, mail_service, policy)
    reconciler = Reconciler(pool, follower, scan, repairer, lease_seconds=settings.signup_lease_seconds)
    alert_loop = make_alert_loop(settings, pool, mail_service_view, runs_checks=True)

    failures = LoopFailures()
    dispatcher = Dispatcher(pool, relays, wakeup=outbox_ping, failures=failures)

    table = [
        Scheduled(dispatcher, lambda: min(poll_seconds, dispatcher.rest_left()), outbox_ping),
        Scheduled(RareWork(pool, imports=imports_due, reconciliation=reconciliation_due), rare_seconds),
        Scheduled(ImportLoop(pool, policy, on_mails_owed=pinger.ping), _UPKEEP_SECONDS, imports_due),
        Scheduled(ImportCleanup(pool, policy), _UPKEEP_SECONDS, imports_due),
        Scheduled(follower, follower.pause_seconds),
        Scheduled(reconciler, _UPKEEP_SECONDS, reconciliation_due),
        Scheduled(Schedule(pool, lag_seconds=lag_seconds), _SCHEDULE_SECONDS, upkeep_due),
        Scheduled(PendingCleanup(pool, policy, days=settings.signup_pending_days), _UPKEEP_SECONDS, upkeep_due),
        Scheduled(UsedChallengeCleanup(pool), _UPKEEP_SECONDS, upkeep_due),
        Scheduled(Partitions(pool, settings.kept), _UPKEEP_SECONDS, upkeep_due),
        Scheduled(alert_loop, settings.alert_seconds, alerts_due),
        Scheduled(
            Heartbeat(pool, WORKER, lambda: _report(relays, dispatcher, listener, failures)),
            _HEARTBEAT_SECONDS,
            until_drained=True,
        ),
    ]
    cron = [
        CronWakeup("wake_upkeep", upkeep_due, minute=0),
        # Sanity checks are due every 5 minutes. The database decides which process runs them.
        CronWakeup("wake_alerts", alerts_due, minute=set(range(0, 60, 5))),
    ]

    async def start(stop: asyncio.Event) -> None:
        arq = run_arq(redis_url=str(settings.redis_url), queue_name=ARQ_QUEUE, wakeups=cron, stop=stop)
        _log.info("worker_started", effects=list(EFFECTS))
        listening = [listener.run()] if listener else []
        await run_schedule(
            table,
            stop,
            beside=[arq],
            endless=listening,
            drain=dispatcher.drain,
            drain_seconds=_DRAIN_SECONDS,
            failures=failures,
        )

    await run_until_signaled(start)


def _report(
    relays: Sequence[Relay], dispatcher: Dispatcher, listener: Listener | None, failures: LoopFailures
) -> dict[str, Any]:
    """The content of a heartbeat. The API shows it in /health and /metrics."""
    return {
        "listening": listener.listening if listener else None,
        "failing_loops": failures.detail(),
        "effects": {
            relay.effect: {
                "breaker": relay.breaker.state,
                "last_fault": relay.breaker.last_fault,
                "rows": dict(relay.counts),
                "claimed_until": dispatcher.claimed_until(relay.effect).isoformat(),
            }
            for relay in relays
        },
    }
