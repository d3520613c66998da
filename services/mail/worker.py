"""The mail worker. The table in `serve` lists its loops, how often each runs, and what wakes it.

All loops continue while Valkey is down and wait while PostgreSQL is down. SIGTERM drains; `kill -9` loses nothing.
"""

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any

from shared.audit.alert_loop import AlertLoop
from shared.db.pool import Database, DatabaseOptions, Pool, open_database
from shared.observability.logs import get_logger
from shared.observability.spans import Tracing
from shared.observability.tracing import tracing_of
from shared.worker.arq_host import run_arq
from shared.worker.heartbeats import Heartbeat
from shared.worker.loops import FunctionLoop, LoopFailures, run_until_signaled
from shared.worker.partitions import Partitions
from shared.worker.schedule import CronWakeup, Scheduled, WakeupFanout, run_schedule
from shared.worker.wakeups import Listener

from .audit.alerts import make_alert_loop
from .delivery.delivery_loop import Delivery
from .delivery.expiry import Expiry
from .delivery.gateways.ehlo_name import ehlo_name
from .delivery.gateways.failover import Gateways, Route
from .delivery.gateways.other_workers import OtherWorkers
from .delivery.gateways.rate_limit import GatewayRateLimit
from .delivery.gateways.settings import GatewaySettings, parse_gateways, tls_context
from .delivery.gateways.smtp_connection import Timeouts
from .delivery.gateways.smtp_gateway import SmtpGateway
from .delivery.leases import Leases
from .delivery.overdue_leases import OverdueLeases
from .delivery.recent_recipients import RecentRecipients
from .delivery.recorder import Recorder
from .delivery.rescue import Rescue
from .delivery.retry_policy import RetryPolicy
from .intake.from_settings import load_templates, make_intake
from .ledger.retention import Retention
from .process_names import ARQ_QUEUE, QUEUE_CHANNEL, WORKER
from .settings import Settings
from .webhooks.notifier import Notifier

_log = get_logger(__name__)

_HEARTBEAT_SECONDS = 5.0
_EXPIRY_SECONDS = 30.0
# One statement for each gateway that accepted mails. An alert that a gateway refuses everyone ends this late.
_RECENT_RECIPIENTS_SECONDS = 10.0
# Longer than most SMTP conversations, shorter than supervisors wait before they kill.
_DRAIN_SECONDS = 15.0
_PARTITIONS_SECONDS = 3600.0
# Retention is set in days.
_RETENTION_SECONDS = 6 * 3600.0


@dataclass(frozen=True)
class Parts:
    """The parts of a running worker."""

    database: Database
    tracing: Tracing
    gateways: Gateways
    recent_recipients: RecentRecipients
    recorder: Recorder
    leases: Leases
    delivery: Delivery
    rescue: Rescue
    expiry: Expiry
    notifier: Notifier | None
    retention: Retention
    partitions: Partitions
    alert_loop: AlertLoop
    listener: Listener | None
    # Mails may be due: the API pinged, a slot is free, or a mail is due again at once.
    queue_ping: WakeupFanout
    # There are webhook subscribers, or a batch of one of them has ended.
    webhooks_due: WakeupFanout
    failures: LoopFailures

    def detail(self) -> dict[str, Any]:
        """The detail of a heartbeat. The API shows it on /health, /metrics and /v1/gateways."""
        return {
            "gateways": [route.describe() for route in self.gateways.routes],
            "listening": self.listener.listening if self.listener else None,
            "failing_loops": self.failures.detail(),
            "in_flight": self.delivery.in_flight,
            "claimed_until": self.delivery.floors.claimed_until(),
            "lease_lost": self.leases.lost,
            "rescued": self.rescue.rescued,
            "webhooks": self.notifier.detail() if self.notifier else None,
            "outcomes": {str(outcome): count for outcome, count in self.delivery.outcomes.items()},
            "states": {
                str(state): count
                for state, count in (self.recorder.states + self.delivery.closed + self.expiry.closed).items()
            },
        }


async def run(settings: Settings) -> None:
    """Deliver until SIGTERM or SIGINT, then drain. Returns when everything is closed.

    Raises:
        ConfigurationError: a setting or a template is one that the worker cannot work with.
    """
    parts = await assemble(settings)
    _log.info("worker_started", gateways=[route.name for route in parts.gateways.routes])
    await run_until_signaled(lambda stop: serve(parts, settings, stop))


def database_options(settings: Settings) -> DatabaseOptions:
    return settings.database_options(WORKER, one_plan=True)


async def assemble(settings: Settings) -> Parts:
    """Build all parts without connecting."""
    templates, options = load_templates(settings), database_options(settings)
    policy = RetryPolicy(settings.mail_retry_base_seconds, settings.mail_retry_cap_seconds)
    lease_seconds = settings.mail_lease_seconds
    gateway_settings = parse_gateways(settings.mail_gateways)
    private_tls = {gateway.name: tls_context(gateway) for gateway in gateway_settings if gateway.ca_file}
    name = await ehlo_name(settings.mail_ehlo_name)
    queue_ping = WakeupFanout()
    database = await open_database(options)
    pool = database.pool
    recent_recipients = RecentRecipients(pool)
    others = OtherWorkers(pool)
    routes = [
        Route(
            _gateway(gateway, settings, pool, name, private_tls.get(gateway.name)),
            connected_elsewhere=others.are_connected,
        )
        for gateway in gateway_settings
    ]
    gateways = Gateways(routes, recent_recipients.judge)
    recorder = Recorder(pool, settings.mail_suppression_days)
    leases = Leases(pool, recorder.queue_lock, lease_seconds)
    tracing = tracing_of(settings.traces_endpoint, WORKER)
    webhooks_due, failures = WakeupFanout(), LoopFailures()
    notifier = _notifier(settings, pool, webhooks_due, failures)
    delivery = Delivery(
        pool,
        gateways,
        recorder,
        leases,
        policy,
        lease_seconds=lease_seconds,
        wake=queue_ping,
        bounce_domain=settings.mail_bounce_domain,
        tracing=tracing,
    )
    return Parts(
        database,
        tracing,
        gateways,
        recent_recipients,
        recorder,
        leases,
        delivery,
        Rescue(
            pool,
            recorder,
            policy,
            # Grace: a sixth of the lease, but more than the 2 s until a renewal is retried after an outage.
            OverdueLeases(max(lease_seconds / 6, 2.5), leases.renewal_seconds),
            lease_seconds=lease_seconds,
            tracing=tracing,
            on_subscribers=notifier.subscribers_found if notifier else None,
        ),
        Expiry(pool, delivery.floors),
        notifier,
        Retention(pool, content_days=settings.mail_content_days, address_days=settings.mail_address_days),
        Partitions(pool, settings.kept),
        make_alert_loop(settings, make_intake(settings, database, tracing, templates=templates), runs_checks=True),
        Listener(options, QUEUE_CHANNEL, queue_ping) if settings.wakeup == "listen" else None,
        queue_ping,
        webhooks_due,
        failures,
    )


def _notifier(settings: Settings, pool: Pool, wake: WakeupFanout, failures: LoopFailures) -> Notifier | None:
    """None without MAIL_WEBHOOK_KEYS: there are no subscribers then."""
    ring = settings.webhook_ring
    if ring is None:
        return None
    return Notifier(
        pool,
        ring,
        timeout_seconds=settings.mail_webhook_timeout_seconds,
        allow_private=settings.mail_webhook_allow_private,
        give_up_seconds=settings.mail_webhook_give_up_seconds,
        wake=wake,
        failures=failures,
    )


def _gateway(
    gateway: GatewaySettings, settings: Settings, pool: Pool, name: str, tls: ssl.SSLContext | None
) -> SmtpGateway:
    timeouts = Timeouts(settings.mail_command_timeout_seconds, settings.mail_reply_timeout_seconds)
    rate_limit = GatewayRateLimit(pool, gateway.name, gateway.per_second) if gateway.per_second else None
    return SmtpGateway(gateway, timeouts, name, rate_limit=rate_limit, tls_context=tls)


async def serve(parts: Parts, settings: Settings, stop: asyncio.Event) -> None:
    """Run all loops until `stop`, then drain and close. Lease renewals and heartbeats run until the drain ends."""
    lease_seconds = settings.mail_lease_seconds
    retention_due, partitions_due, alerts_due = WakeupFanout(), WakeupFanout(), WakeupFanout()
    heartbeat = Heartbeat(parts.database.pool, WORKER, parts.detail)
    idle = FunctionLoop("idle-connections", parts.gateways.close_idle)

    table = [
        Scheduled(parts.delivery, settings.mail_poll_seconds, parts.queue_ping),
        Scheduled(parts.rescue, lease_seconds / 6),
        Scheduled(parts.expiry, _EXPIRY_SECONDS),
        Scheduled(parts.retention, _RETENTION_SECONDS, retention_due),
        Scheduled(parts.partitions, _PARTITIONS_SECONDS, partitions_due),
        Scheduled(parts.alert_loop, settings.alert_seconds, alerts_due),
        Scheduled(idle, _HEARTBEAT_SECONDS, until_drained=True),
        Scheduled(parts.recent_recipients, _RECENT_RECIPIENTS_SECONDS, until_drained=True),
        Scheduled(parts.leases, parts.leases.renewal_seconds, until_drained=True),
        Scheduled(heartbeat, _HEARTBEAT_SECONDS, until_drained=True),
    ]
    if parts.notifier:
        table.append(Scheduled(parts.notifier, parts.notifier.pause_seconds, parts.webhooks_due))
    cron = [
        CronWakeup("wake_partitions", partitions_due, minute=7),
        # At night, when the load is lowest.
        CronWakeup("wake_retention", retention_due, hour=3, minute=17),
        # Sanity checks are due every 5 minutes. The database decides which process runs them.
        CronWakeup("wake_alerts", alerts_due, minute=set(range(0, 60, 5))),
    ]
    arq = run_arq(redis_url=str(settings.redis_url), queue_name=ARQ_QUEUE, wakeups=cron, stop=stop)
    listening = [parts.listener.run()] if parts.listener else []
    try:
        await run_schedule(
            table,
            stop,
            beside=[arq],
            endless=listening,
            drain=lambda: _drain(parts),
            drain_seconds=_DRAIN_SECONDS,
            failures=parts.failures,
        )
    finally:
        if parts.notifier:
            await parts.notifier.close()
        await parts.recorder.close()
        await parts.gateways.close()
        await parts.database.close()
        await parts.tracing.close()
        _log.info("worker_stopped")


async def _drain(parts: Parts) -> None:
    draining = [parts.delivery.drain(_DRAIN_SECONDS)]
    if parts.notifier:
        draining.append(parts.notifier.drain(_DRAIN_SECONDS))
    await asyncio.gather(*draining)
