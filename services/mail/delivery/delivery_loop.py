"""The delivery loop: claim, send, record. No transaction and no row lock is open during an SMTP conversation.

`Delivery.run_once` claims a batch and starts one task per mail. The tasks share the gateways' connections and the
recorder's commits. The loop does not wait for a batch to finish: it claims more once half of its slots are free.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from uuid import UUID

from shared.db.pool import Pool
from shared.observability.logs import get_logger
from shared.observability.spans import OFF, Tracing
from shared.worker.growing_gap import GrowingGap
from shared.worker.schedule import WakeupFanout

from .attachments import AttachmentSender
from .claim import ClaimedMail, LaneFloors, claim_due
from .deduplication import KeyUse, key_of, use_of
from .envelope import envelope_of
from .gateways.failover import Gateways
from .gateways.protocol import BodySupplier, Envelope
from .leases import Leases
from .message import UnbuildableError, build
from .recorder import AttemptEnd, GivenBack, Recorder, Transmission
from .retry_policy import RetryPolicy, decide_next
from .smtp_outcomes import Outcome, Step, Verdict, interrupted, own_fault, unsendable
from .spans import record_attempt_span

_log = get_logger(__name__)

# Slots per connection. A claim for half of them (64 mails for 8 connections) is cheap per mail and keeps few mails from
# other workers.
_SLOTS_PER_CONNECTION = 16
# Mails whose last fault is remembered, so that another gateway is tried first. Forgetting one costs an extra try.
_REMEMBERED_FAULTS = 10_000
# Until a mail is claimed again whose only gateway is not available; breakers probe every 30 s at last. There are few
# such mails: those that were being handed over when the gateway or a worker went down.
_WAIT_FOR_GATEWAY_SECONDS = 10.0


@dataclass(slots=True)
class _Attempt:
    """Progress of one attempt, for the code that may have to cancel it."""

    offered: bool = False
    may_have_left: bool = False
    ended: bool = False
    key_use: KeyUse | None = None

    def note_offer(self, offered: bool) -> None:  # noqa: FBT001 - a callback's only argument
        self.offered = offered


class Delivery:
    """A loop (`shared.worker.loops`). It sets `wake` when mails may wait for slots that are free again, or one is due
    again at once.
    """

    name = "delivery"

    def __init__(  # noqa: PLR0913 - all are collaborators
        self,
        pool: Pool,
        gateways: Gateways,
        recorder: Recorder,
        leases: Leases,
        policy: RetryPolicy,
        *,
        lease_seconds: float,
        wake: WakeupFanout,
        bounce_domain: str = "",
        tracing: Tracing = OFF,
    ) -> None:
        self._pool = pool
        self._gateways = gateways
        self._recorder = recorder
        self._leases = leases
        self._policy = policy
        self._lease_seconds = lease_seconds
        self._wake = wake
        self._bounce_domain = bounce_domain
        self._tracing = tracing
        self._attachments = AttachmentSender(pool)
        self._tasks: dict[asyncio.Task[None], _Attempt] = {}
        self._faulted: dict[UUID, frozenset[str]] = {}
        self._gap = GrowingGap()
        # The last claim may have left mails behind, for want of slots or of a gateway.
        self._hungry = False
        self.floors = LaneFloors()
        self.outcomes: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()

    @property
    def in_flight(self) -> int:
        return len(self._tasks)

    @property
    def _slots(self) -> int:
        return self._gateways.connections * _SLOTS_PER_CONNECTION

    @property
    def _busy(self) -> int:
        return len(self._tasks) - self._attachments.bulk_waiting

    async def run_once(self) -> bool:
        """Claim mails for the free slots and start sending them. True: there may be more to claim."""
        # Mails that wait already gain nothing from a pause.
        await self._gap.leave(grow=not self._hungry)
        self._hungry = True
        free = self._slots - self._busy
        if free * 2 < self._slots:
            return False
        wanted = self._gateways.allowance(free)
        if not wanted:
            return False  # every breaker is open, and no probe is due
        bulk = self._attachments.bulk_waiting * 2 < self._slots
        claim = await claim_due(self._pool, wanted, self._lease_seconds, self.floors, bulk=bulk)
        self._hungry = claim.full or wanted < free or not bulk
        self.closed.update(claim.closed)
        for mail in claim.mails:
            self._start(mail)
        return claim.full

    def _start(self, mail: ClaimedMail) -> None:
        self._leases.hold(mail.mail_id, mail.lease)
        attempt = _Attempt()
        task = asyncio.get_running_loop().create_task(self._deliver(mail, attempt))
        self._tasks[task] = attempt
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("delivery_task_failed", exc_info=error)
        if self._hungry and self._busy * 2 <= self._slots:
            self._wake.set()

    async def _deliver(self, mail: ClaimedMail, attempt: _Attempt) -> None:
        try:
            gateway, verdict = await self._send(mail, attempt)
        except asyncio.CancelledError:
            if attempt.may_have_left:
                raise  # recorded as transmitting: the rescue decides
            gateway, verdict = None, own_fault("worker stopped before the body left", offered=attempt.offered)
        except Exception:  # noqa: BLE001 - our own bug must not leave the mail without a verdict
            _log.exception("delivery_failed", mail_id=str(mail.mail_id))
            unknown = interrupted(Step.BODY, "internal error")
            gateway, verdict = None, unknown if attempt.may_have_left else own_fault("internal error")
        attempt.ended = True
        if not verdict.offered:
            self._remember(mail.mail_id, gateway, verdict)
            await self._give_back(mail)
            return
        await self._settle(mail, gateway, verdict, attempt.key_use)
        if self._tracing.on:
            record_attempt_span(self._tracing, mail, gateway, verdict, may_have_left=attempt.may_have_left)

    async def _send(self, mail: ClaimedMail, attempt: _Attempt) -> tuple[str | None, Verdict]:
        async def about_to_transmit(gateway: str) -> bool:
            key_use = self._key_use(mail, gateway, envelope)
            transmission = Transmission(
                mail.mail_id, mail.snapshot.attempt, mail.lease, gateway, mail.claimed_at, key_use
            )
            question = mail.snapshot.question
            # It may have waited for a connection, the gateway's rate or room since its claim. The next claim closes it.
            last = mail.snapshot.expires_at if question is None else min(question.ask_until, mail.snapshot.expires_at)
            if mail.now() >= last or not self._leases.holds(mail.lease):
                return False
            try:
                recorded = await self._recorder.transmitting(transmission)
            except Exception:  # noqa: BLE001 - without the record no byte may leave, whatever the error
                return False
            if not recorded:
                self._leases.lose(mail.lease)
            attempt.may_have_left, attempt.key_use = recorded, key_use if recorded else None
            return recorded

        async def offer(body: BodySupplier) -> tuple[str | None, Verdict]:
            faulted = self._faulted.get(mail.mail_id, ())
            question = mail.snapshot.question
            return await self._gateways.send(envelope, body, about_to_transmit, faulted, attempt.note_offer, question)

        try:
            envelope = envelope_of(mail.content, self._bounce_domain)
            # Two such headers would leave it to the gateway which one counts.
            if self._gateways.idempotency_headers.isdisjoint(map(str.lower, mail.content.headers)):
                envelope = replace(envelope, idempotency_key=key_of(mail.mail_id, mail.resends))
            elif mail.snapshot.question is not None:
                return None, own_fault("a gateway can be asked only with the key", offered=False)
            if mail.attached_bytes:
                return await self._attachments.send(mail, offer)
            return await offer(lambda: build(mail.content))
        except UnbuildableError as error:
            _log.warning("mail_cannot_be_built", mail_id=str(mail.mail_id))
            return None, unsendable("the message cannot be built", str(error))

    def _key_use(self, mail: ClaimedMail, gateway: str, envelope: Envelope) -> KeyUse | None:
        deduplication = self._gateways.deduplication_of(gateway)
        if deduplication is None or envelope.idempotency_key is None:
            return None
        return use_of(mail.key_uses, gateway, envelope.idempotency_key, mail.now(), deduplication)

    async def _settle(self, mail: ClaimedMail, gateway: str | None, verdict: Verdict, key_use: KeyUse | None) -> None:
        self._remember(mail.mail_id, gateway, verdict)
        try:
            if not self._leases.holds(mail.lease):
                return
            another_gateway = mail.mail_id in self._faulted
            settlement = decide_next(
                mail.snapshot, verdict, mail.now(), self._policy, another_gateway=another_gateway, key_use=key_use
            )
            line = key_use.line if key_use else None
            ending = AttemptEnd(
                mail.mail_id, mail.snapshot.attempt, mail.lease, gateway, settlement, mail.claimed_at, line
            )
            if await self._recorder.settle(ending):
                self.outcomes[verdict.outcome] += 1
            else:
                self._leases.lose(mail.lease)
            if settlement.due_in_seconds == 0:
                self._wake.set()
        finally:
            self._leases.release(mail.lease)

    async def _give_back(self, mail: ClaimedMail) -> None:
        """The mail was never offered to a gateway: it waits again, and no attempt is on record."""
        try:
            if self._leases.holds(mail.lease):
                due_in_seconds = _WAIT_FOR_GATEWAY_SECONDS if mail.snapshot.question else 0.0
                await self._recorder.give_back(GivenBack(mail.mail_id, mail.lease, due_in_seconds))
                if due_in_seconds == 0:
                    self._wake.set()
        finally:
            self._leases.release(mail.lease)

    def _remember(self, mail_id: UUID, gateway: str | None, verdict: Verdict) -> None:
        if len(self._gateways.routes) == 1:
            return
        faulted = self._faulted.pop(mail_id, frozenset())
        if verdict.outcome is not Outcome.GATEWAY_FAULT or gateway is None:
            return
        faulted |= {gateway}
        if len(faulted) < len(self._gateways.routes):
            while len(self._faulted) >= _REMEMBERED_FAULTS:
                self._faulted.pop(next(iter(self._faulted)))
            self._faulted[mail_id] = faulted

    async def drain(self, seconds: float, *, write_seconds: float = 2.0) -> None:
        """Wait up to `seconds` for the mails in flight.

        After that, mails whose body has not left go back to the queue. The others stay recorded as transmitting, for
        the rescue.
        """
        tasks = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for task, attempt in list(self._tasks.items()):
            if not attempt.ended:
                task.cancel()
        if self._tasks:
            # Settlements and releases still have to be written; the database may be down.
            await asyncio.wait(list(self._tasks), timeout=write_seconds)
