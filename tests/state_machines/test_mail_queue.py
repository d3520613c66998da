"""The mail queue: workers claim, transmit, settle, die and come back as zombies, and two rescue (P4, P5, P8)."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from services.mail.delivery.claim import Claim, ClaimedMail, claim_due
from services.mail.delivery.overdue_leases import OverdueLeases
from services.mail.delivery.recorder import AttemptEnd, GivenBack, Recorder, Transmission
from services.mail.delivery.rescue import Rescue
from services.mail.delivery.retry_policy import RetryPolicy, decide_next
from services.mail.delivery.smtp_outcomes import Outcome, Verdict
from services.mail.delivery.states import MAIL_TRANSITIONS, MailState
from services.mail.operator_actions import queries as operator
from tests.support.mails import insert_mails

from .machine import Machine, only_if, picks, try_orders

LEASE_SECONDS = 3600.0
# Few mails, so that things happen to the same one again.
MOST = 4
POLICY = RetryPolicy(draw=max)
_CHANGES = {
    (str(old), str(new)) for old, causes in MAIL_TRANSITIONS.items() for news in causes.values() for new in news
}
READ_MAILS = """
SELECT m.id, m.state, m.on_uncertain, q.mail_id IS NOT NULL AS is_queued, q.lease IS NOT NULL AS is_leased,
       count(a.n) FILTER (WHERE a.transmitting_at IS NOT NULL) AS transmissions,
       count(a.n) FILTER (WHERE a.outcome = 'unknown') AS unknown,
       (SELECT array_agg(h.detail ->> 'state' ORDER BY h.id) FROM history h
        WHERE h.subject = m.id::text AND h.kind LIKE 'mail.%') AS told
FROM mails m LEFT JOIN queue q ON q.mail_id = m.id LEFT JOIN attempts a ON a.mail_id = m.id
WHERE m.id = ANY ($1::uuid[]) GROUP BY m.id, q.mail_id
"""


@dataclass
class Held:
    """What a worker believes: it may have lost the lease. `taken`: the gateway has the mail."""

    mail: ClaimedMail
    is_transmitting: bool = False
    is_taken: bool = False


class MailQueue(Machine):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.ids: list[UUID] = []
        self.held: list[Held] = []
        # Copies at the gateway, those it said 250 to, and resends that an operator asked for.
        self.copies: Counter[UUID] = Counter()
        self.said_250: set[UUID] = set()
        self.resends: Counter[UUID] = Counter()
        self.recorders = [Recorder(self.pool) for _ in range(2)]
        self.rescues = [
            Rescue(self.pool, recorder, POLICY, OverdueLeases(0, 0), lease_seconds=LEASE_SECONDS)
            for recorder in self.recorders
        ]

    @initialize()
    def two_mails_wait(self) -> None:
        for policy in ("hold", "resend"):
            self.ids += self.run(insert_mails(self.pool, 1, on_uncertain=policy))

    @precondition(lambda self: len(self.ids) < MOST)
    @rule(policy=st.sampled_from(["hold", "resend"]))
    def accept(self, policy: str) -> None:
        self.ids += self.run(insert_mails(self.pool, 1, on_uncertain=policy))

    @rule(one=st.integers(1, 3), other=st.integers(1, 3))
    def two_workers_claim_at_once(self, one: int, other: int) -> None:
        async def both() -> list[Claim]:
            await self.pool.execute("UPDATE queue SET due_at = now() WHERE lease IS NULL")
            return await asyncio.gather(*(claim_due(self.pool, wanted, LEASE_SECONDS) for wanted in (one, other)))

        claimed = [mail for claim in self.run(both()) for mail in claim.mails]
        assert len({mail.mail_id for mail in claimed}) == len(claimed), "no mail is claimed twice"
        self.held += [Held(mail) for mail in claimed]

    @rule(pick=picks)
    @only_if(lambda self: any(not held.is_transmitting for held in self.held))
    def transmit(self, pick: int) -> None:
        held = self._one(pick, is_transmitting=False)
        mail = held.mail
        transmission = Transmission(mail.mail_id, mail.snapshot.attempt, mail.lease, "gateway", mail.claimed_at)
        held.is_transmitting = self.run(self.recorders[pick % 2].transmitting(transmission))
        if not held.is_transmitting:
            self.held.remove(held)

    @rule(pick=picks)
    @only_if(lambda self: any(held.is_transmitting and not held.is_taken for held in self.held))
    def the_gateway_takes_the_body(self, pick: int) -> None:
        held = self._one(pick, is_transmitting=True, is_taken=False)
        held.is_taken = True
        self.copies[held.mail.mail_id] += 1

    @rule(pick=picks, line_breaks=st.booleans(), rescued_at_once=st.booleans())
    @only_if(lambda self: any(held.is_taken for held in self.held))
    def the_gateway_answers(self, pick: int, line_breaks: bool, rescued_at_once: bool) -> None:
        held = self._one(pick, is_taken=True)
        if not line_breaks:
            self.said_250.add(held.mail.mail_id)
        self._end(held, Outcome.UNKNOWN if line_breaks else Outcome.ACCEPTED, pick, rescued_at_once)

    @rule(
        pick=picks,
        outcome=st.sampled_from([Outcome.UNKNOWN, Outcome.REFUSED, Outcome.TRY_LATER]),
        rescued_at_once=st.booleans(),
    )
    @only_if(lambda self: any(held.is_transmitting and not held.is_taken for held in self.held))
    def the_gateway_takes_nothing(self, pick: int, outcome: Outcome, rescued_at_once: bool) -> None:
        self._end(self._one(pick, is_transmitting=True, is_taken=False), outcome, pick, rescued_at_once)

    @rule(
        pick=picks,
        outcome=st.sampled_from([Outcome.GATEWAY_FAULT, Outcome.REFUSED, Outcome.TRY_LATER]),
        rescued_at_once=st.booleans(),
    )
    @only_if(lambda self: any(not held.is_transmitting for held in self.held))
    def the_attempt_ends_before_the_body(self, pick: int, outcome: Outcome, rescued_at_once: bool) -> None:
        self._end(self._one(pick, is_transmitting=False), outcome, pick, rescued_at_once)

    @rule(pick=picks)
    @only_if(lambda self: any(not held.is_transmitting for held in self.held))
    def give_back(self, pick: int) -> None:
        held = self._one(pick, is_transmitting=False)
        self.held.remove(held)
        self.run(self.recorders[pick % 2].give_back(GivenBack(held.mail.mail_id, held.mail.lease)))

    @rule(pick=picks, is_dead=st.booleans(), is_rescued=st.booleans())
    @only_if(lambda self: self.held)
    def a_lease_ends(self, pick: int, is_dead: bool, is_rescued: bool) -> None:
        """Its worker is dead, or slow: then it goes on as a zombie."""
        held = self._one(pick)
        if is_dead:
            self.held.remove(held)
        overdue = "UPDATE queue SET due_at = now() WHERE mail_id = $1 AND lease = $2"
        self.run(self.pool.execute(overdue, held.mail.mail_id, held.mail.lease))
        if is_rescued:
            self.run(self._rescue())

    @precondition(lambda self: self.ids)
    @rule(pick=picks)
    def an_operator_sends_again(self, pick: int) -> None:
        mail_id = self.ids[pick % len(self.ids)]
        arguments = (mail_id, None, "operator", 86_400.0, "{}")
        if self.run(self.pool.fetchval(operator.RESEND_IF_UNCERTAIN, *arguments)):
            self.resends[mail_id] += 1

    @precondition(lambda self: self.ids)
    @rule(pick=picks)
    def an_operator_cancels(self, pick: int) -> None:
        mail_id = self.ids[pick % len(self.ids)]
        self.run(self.pool.fetchval(operator.CANCEL_IF_WAITING, mail_id, None, "operator"))

    @invariant()
    def promises_hold(self) -> None:
        for mail in self.run(self.pool.fetch(READ_MAILS, self.ids)):
            copies, state = self.copies[mail["id"]], mail["state"]
            assert mail["is_queued"] == (state in {"queued", "sending", "deferred"}), "P8: what is open is in the queue"
            assert mail["is_leased"] == (state == "sending"), "P8"
            assert copies <= mail["transmissions"], "P5: the record comes before the body"
            allowed = 1 + (self.resends[mail["id"]] if mail["on_uncertain"] == "hold" else mail["unknown"])
            assert copies <= allowed, "P4: no copy that neither the policy nor an operator allowed"
            assert state != "sent" or mail["id"] in self.said_250, "P5: sent means 250"
            assert state != "failed" or copies == 0, "P5: failed means that no copy left"
            for change in pairwise(mail["told"] or ()):
                assert _is_allowed(*change), ("P7", change)

    def teardown(self) -> None:
        """No worker is left: another one finishes all of it."""
        self.held.clear()
        self.run(self._finish())
        self.promises_hold()
        states = {mail["state"] for mail in self.run(self.pool.fetch(READ_MAILS, self.ids))}
        assert states <= {"sent", "uncertain", "failed", "canceled"}, "P8: nothing is lost"

    async def _finish(self) -> None:
        await self.pool.execute("UPDATE queue SET due_at = now()")
        await self._rescue()
        while mails := (await claim_due(self.pool, 100, LEASE_SECONDS)).mails:
            for mail in mails:
                attempt = (mail.mail_id, mail.snapshot.attempt, mail.lease, "gateway")
                assert await self.recorders[0].transmitting(Transmission(*attempt))
                self.copies[mail.mail_id] += 1
                self.said_250.add(mail.mail_id)
                assert await self.recorders[0].settle(_ending(mail, Outcome.ACCEPTED))
        assert await self.pool.fetchval("SELECT count(*) FROM queue") == 0, "P8"

    def _one(self, pick: int, **wanted: bool) -> Held:
        found = [held for held in self.held if all(getattr(held, name) == value for name, value in wanted.items())]
        return found[pick % len(found)]

    def _end(self, held: Held, outcome: Outcome, pick: int, rescued_at_once: bool) -> None:
        self.held.remove(held)
        writes: list[Coroutine[Any, Any, Any]] = [self.recorders[pick % 2].settle(_ending(held.mail, outcome))]

        async def write() -> None:
            await asyncio.gather(*writes, *([self._rescue()] if rescued_at_once else []))

        self.run(write())

    async def _rescue(self) -> None:
        for _ in range(2):  # a lease must be seen overdue twice
            await asyncio.gather(*(rescue.run_once() for rescue in self.rescues))


def _ending(mail: ClaimedMail, outcome: Outcome) -> AttemptEnd:
    settlement = decide_next(mail.snapshot, Verdict(outcome, "said so"), mail.claimed_at, POLICY)
    return AttemptEnd(mail.mail_id, mail.snapshot.attempt, mail.lease, "gateway", settlement, mail.claimed_at)


def _is_allowed(old: str, new: str) -> bool:
    """A claim writes no history, so `sending` may lie between two states."""
    sending = str(MailState.SENDING)
    return (old, new) in _CHANGES or {(old, sending), (sending, new)} <= _CHANGES


def test_the_mail_queue_keeps_its_promises_in_any_order_of_steps(mail_url: str) -> None:
    try_orders(MailQueue, mail_url)
