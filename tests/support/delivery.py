"""The delivery loop with its real parts, without the worker process around it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from services.mail.delivery.delivery_loop import Delivery
from services.mail.delivery.gateways.failover import Gateways, Route
from services.mail.delivery.gateways.protocol import Gateway
from services.mail.delivery.gateways.settings import GatewaySettings, Tls
from services.mail.delivery.gateways.smtp_connection import Timeouts
from services.mail.delivery.gateways.smtp_gateway import SmtpGateway
from services.mail.delivery.leases import Leases
from services.mail.delivery.overdue_leases import OverdueLeases
from services.mail.delivery.recent_recipients import RecentRecipients
from services.mail.delivery.recorder import Recorder
from services.mail.delivery.rescue import Rescue
from services.mail.delivery.retry_policy import RetryPolicy
from shared.db.pool import Pool
from shared.worker.schedule import WakeupFanout

# Short timeouts for tests with a silent gateway.
IMPATIENT = Timeouts(command_seconds=0.5, reply_seconds=0.5)
PATIENT = Timeouts(command_seconds=20, reply_seconds=20)
IDEMPOTENCY_HEADER = "Resend-Idempotency-Key"


@dataclass(frozen=True)
class Rig:
    """The parts of one mail worker."""

    gateways: Gateways
    recent_recipients: RecentRecipients
    recorder: Recorder
    leases: Leases
    delivery: Delivery
    rescue: Rescue
    wake: WakeupFanout

    async def deliver(self) -> None:
        """Claim until nothing more can be claimed, and wait for the mails in flight."""
        while await self.delivery.run_once() or self.delivery.in_flight:
            await self.finish()

    async def finish(self) -> None:
        if tasks := list(self.delivery._tasks):
            await asyncio.wait(tasks)

    async def close(self) -> None:
        for task in list(self.delivery._tasks):
            task.cancel()
        await self.recorder.close()
        await self.gateways.close()


def make_rig(
    pool: Pool,
    gateways: Sequence[Gateway],
    *,
    policy: RetryPolicy | None = None,
    lease_seconds: float = 30,
    suppression_days: int = 30,
    bounce_domain: str = "",
) -> Rig:
    recorder = Recorder(pool, suppression_days)
    leases = Leases(pool, recorder.queue_lock, lease_seconds)
    recent_recipients = RecentRecipients(pool)
    routed = Gateways([Route(gateway) for gateway in gateways], recent_recipients.judge)
    policy = policy or RetryPolicy(draw=max)
    wake = WakeupFanout()
    return Rig(
        routed,
        recent_recipients,
        recorder,
        leases,
        Delivery(
            pool, routed, recorder, leases, policy, lease_seconds=lease_seconds, wake=wake, bounce_domain=bounce_domain
        ),
        Rescue(pool, recorder, policy, OverdueLeases(0, 0), lease_seconds=lease_seconds),
        wake,
    )


def smtp_gateway(
    port: int,
    *,
    name: str = "scripted",
    timeouts: Timeouts = PATIENT,
    connections: int = 2,
    tls: Tls = Tls.NONE,
    login: bool = False,
    idempotency_seconds: float | None = None,
) -> SmtpGateway:
    username, password = ("u", "p") if login else (None, None)
    settings = GatewaySettings(
        name,
        "127.0.0.1",
        port,
        tls,
        connections=connections,
        username=username,
        password=password,
        idempotency_header=IDEMPOTENCY_HEADER if idempotency_seconds else None,
        idempotency_seconds=idempotency_seconds,
    )
    return SmtpGateway(settings, timeouts, "worker.example")
