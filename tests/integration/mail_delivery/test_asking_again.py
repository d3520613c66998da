"""A gateway that deduplicates is asked again about an unknown outcome: only that one, and as long as it knows."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from services.mail.audit.sanity_checks import MISSING_IN_QUEUE
from services.mail.delivery import queries
from services.mail.delivery.claim import claim_due
from services.mail.delivery.deduplication import Deduplication
from services.mail.delivery.expiry import Expiry
from services.mail.delivery.gateways.protocol import Envelope
from services.mail.delivery.smtp_outcomes import Step
from services.mail.operator_actions.state_changes import resolve
from shared.contract.principals import Principal
from shared.db.pool import Pool
from tests.support.databases import Clone
from tests.support.deduplicating_smtp import Loss, key_in, once, provider
from tests.support.delivery import IDEMPOTENCY_HEADER, Rig, make_rig, smtp_gateway
from tests.support.mails import attempt_rows, history_kinds, insert_mails, mail_row, make_due, queue_row
from tests.support.memory_gateway import ACCEPTED, Answer, MemoryGateway
from tests.support.scripted_smtp import Received, scripted_smtp
from tests.support.stack import eventually

OPERATOR = Principal("operator", "key:operator", frozenset({"mails:operate", "mails:all"}))
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
HOUR = 3600.0
LOST: Answer = (Step.BODY, 0, "")  # the reply after the dot
DOWN: Answer = (Step.CONNECT, 0, "")


class Answers:
    """A gateway in memory that deduplicates, with the next answers of its other side; then it accepts."""

    def __init__(self, *answers: Answer, name: str = "keyed", header: str = IDEMPOTENCY_HEADER) -> None:
        self.left = list(answers)
        self.gateway = MemoryGateway(name, answer=self._next, deduplication=Deduplication(header, HOUR))

    def _next(self, _envelope: Envelope) -> Answer:
        return self.left.pop(0) if self.left else ACCEPTED


async def _try(rig: Rig, pool: Pool, mail_id: UUID) -> None:
    """One claim, whenever the mail is due."""
    await make_due(pool, mail_id)
    await rig.delivery.run_once()
    await rig.finish()


async def _end_of_asking(clone: Clone) -> None:
    """As if the time to ask were over. The processes cannot move it."""
    await clone.as_owner("UPDATE attempts SET ask_until = now() WHERE ask_until IS NOT NULL")


async def test_a_line_dropped_after_the_dot_leaves_one_copy_and_a_sent_mail(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    async with provider(once(taken=True)) as keyed, scripted_smtp() as other:
        gateway = smtp_gateway(keyed.smtp.port, name="keyed", idempotency_seconds=HOUR)
        rig = make_rig(pool, [gateway, smtp_gateway(other.port, name="other")])
        await rig.deliver()
        waiting, row = await mail_row(pool, mail_id), await queue_row(pool, mail_id)
        assert (waiting["state"], waiting["attempts"]) == ("deferred", 1)
        assert waiting["failure_reason"] == "connection lost after the body had started; asked again at keyed"
        assert row is not None
        assert 0 < (row["due_at"] - datetime.now(row["due_at"].tzinfo)).total_seconds() <= 5
        await _try(rig, pool, mail_id)
        await rig.close()
    mail, (first, second) = await mail_row(pool, mail_id), await attempt_rows(pool, mail_id)
    assert (mail["state"], mail["attempts"], mail["failure_reason"]) == ("sent", 2, None)
    assert sum(keyed.copies.values()) == 1
    assert keyed.smtp.received[0].data == keyed.smtp.received[1].data
    assert not other.commands
    assert (first["outcome"], second["outcome"]) == ("unknown", "accepted")
    assert first["idempotency_header"] == second["idempotency_header"] == f"{IDEMPOTENCY_HEADER}: {mail_id}"
    assert first["ask_until"] == second["ask_until"]
    # An hour, less the 20 s that a reply may take.
    assert timedelta(seconds=HOUR - 21) < first["ask_until"] - first["transmitting_at"] <= timedelta(seconds=HOUR - 20)


async def test_a_mail_that_had_not_arrived_before_the_line_dropped_arrives_when_asked_again(
    mail_database: Clone,
) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    async with provider(once(taken=False)) as keyed:
        rig = make_rig(pool, [smtp_gateway(keyed.smtp.port, idempotency_seconds=HOUR)])
        await rig.deliver()
        await _try(rig, pool, mail_id)
        await rig.close()
    assert (await mail_row(pool, mail_id))["state"] == "sent"
    assert sum(keyed.copies.values()) == 1


async def test_while_the_gateway_is_down_its_mail_waits_and_others_take_the_next_gateway(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    keyed, other = Answers(LOST, *[DOWN] * 9), MemoryGateway("other")
    rig = make_rig(pool, [keyed.gateway, other])
    (waiting,) = await insert_mails(pool)
    await rig.deliver()
    (following,) = await insert_mails(pool)
    for _ in range(8):
        await make_due(pool, waiting)
        await rig.deliver()
    assert rig.gateways.routes[0].breaker.seconds_to_probe() > 0
    assert (await mail_row(pool, following))["gateway"] == "other"
    mail, row = await mail_row(pool, waiting), await queue_row(pool, waiting)
    assert (mail["state"], mail["attempts"]) == ("deferred", 1)
    assert mail["failure_reason"].endswith("an earlier attempt is asked again at keyed")
    assert row is not None
    assert (row["lease"], row["due"]) == (None, False), "it would spin while the gateway is down"
    rig.gateways.routes[0].breaker.succeeded()
    keyed.left.clear()
    await _try(rig, pool, waiting)
    assert (await mail_row(pool, waiting))["state"] == "sent"
    assert [route.describe()["deduplicates"] for route in rig.gateways.routes] == [True, False]
    assert {attempt["gateway"] for attempt in await attempt_rows(pool, waiting)} == {"keyed"}
    assert len(other.kept) == 1


@pytest.mark.parametrize(
    ("name", "header"), [("another", IDEMPOTENCY_HEADER), ("another", None), ("keyed", "Another-Key"), ("keyed", None)]
)
async def test_a_gateway_that_cannot_know_the_key_gets_nothing_until_the_mail_is_uncertain(
    name: str, header: str | None, mail_database: Clone
) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    await make_rig(pool, [Answers(LOST).gateway]).deliver()
    gateway = MemoryGateway(name, deduplication=Deduplication(header, HOUR) if header else None)
    rig = make_rig(pool, [gateway])
    await _try(rig, pool, mail_id)
    assert not gateway.kept
    assert (await mail_row(pool, mail_id))["state"] == "deferred"
    await _end_of_asking(mail_database)
    await _try(rig, pool, mail_id)
    assert not gateway.kept
    mail = await mail_row(pool, mail_id)
    assert (mail["state"], await queue_row(pool, mail_id)) == ("uncertain", None)
    assert mail["failure_reason"].endswith("no answer while the gateway could be asked again")
    assert (await history_kinds(pool, mail_id))[-1] == "mail.uncertain"


async def test_after_the_time_to_ask_a_mail_is_uncertain_although_every_breaker_is_open(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    asked, unasked = await insert_mails(pool, 2)
    rig = make_rig(pool, [Answers(LOST, LOST, *[DOWN] * 9).gateway])
    await rig.deliver()
    await pool.execute("UPDATE queue SET due_at = now()")
    await mail_database.as_owner("UPDATE attempts SET ask_until = now() WHERE mail_id = $1", asked)
    expiry = Expiry(pool, rig.delivery.floors)
    await expiry.run_once()
    assert dict(expiry.closed) == {"uncertain": 1}
    assert (await mail_row(pool, asked))["state"] == "uncertain"
    assert (await mail_row(pool, unasked))["state"] == "deferred"


async def test_a_mail_that_expires_while_it_is_asked_about_is_uncertain(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    rig = make_rig(pool, [Answers(LOST).gateway])
    await rig.deliver()
    await pool.execute("UPDATE mails SET expires_at = now()")
    await _try(rig, pool, mail_id)
    assert (await mail_row(pool, mail_id))["state"] == "uncertain"


async def test_after_the_time_to_ask_the_policy_resend_sends_a_copy_with_a_key_of_its_own(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool, on_uncertain="resend")
    keyed = Answers(LOST)
    rig = make_rig(pool, [keyed.gateway])
    await rig.deliver()
    await _end_of_asking(mail_database)
    keyed.left = [LOST]
    await _try(rig, pool, mail_id)
    assert (await mail_row(pool, mail_id))["state"] == "deferred", "the copy is asked about, too"
    await _try(rig, pool, mail_id)
    assert (await mail_row(pool, mail_id))["state"] == "sent"
    first, copy, answered = await attempt_rows(pool, mail_id)
    keys = [row["idempotency_header"].partition(": ")[2] for row in (first, copy, answered)]
    assert keys == [str(mail_id), f"{mail_id}-1", f"{mail_id}-1"]
    assert first["ask_until"] < copy["ask_until"] == answered["ask_until"]


async def test_an_operators_resend_is_a_copy_that_the_gateway_does_not_swallow(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    async with provider(once(taken=True)) as keyed:
        rig = make_rig(pool, [smtp_gateway(keyed.smtp.port, idempotency_seconds=HOUR)])
        await rig.deliver()
        await _end_of_asking(mail_database)
        await _try(rig, pool, mail_id)
        assert (await mail_row(pool, mail_id))["state"] == "uncertain"
        await resolve(
            mail_database.database, OPERATOR, mail_id, resolution="resend", reason="not there", lifetime_seconds=60
        )
        await rig.deliver()
        await rig.close()
    assert (await mail_row(pool, mail_id))["state"] == "sent"
    assert [key_in(mail.data) for mail in keyed.smtp.received] == [str(mail_id), f"{mail_id}-1"]
    assert sum(keyed.copies.values()) == 2


async def test_a_refusal_when_asked_again_is_no_proof_that_the_first_copy_was_refused(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    rig = make_rig(pool, [Answers(LOST, (Step.BODY, 554, "5.5.0 key reused")).gateway])
    await rig.deliver()
    await _try(rig, pool, mail_id)
    mail = await mail_row(pool, mail_id)
    assert (mail["state"], mail["failure_code"]) == ("uncertain", 554)


async def test_a_gateway_that_is_busy_with_the_first_copy_is_asked_again_later(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    rig = make_rig(pool, [Answers(LOST, (Step.BODY, 451, "4.5.0 in flight")).gateway, MemoryGateway("other")])
    await rig.deliver()
    await _try(rig, pool, mail_id)
    assert (await mail_row(pool, mail_id))["state"] == "deferred"
    await _try(rig, pool, mail_id)
    assert [(row["gateway"], row["outcome"]) for row in await attempt_rows(pool, mail_id)] == [
        ("keyed", "unknown"),
        ("keyed", "try_later"),
        ("keyed", "accepted"),
    ]


async def test_the_time_to_ask_begins_when_the_gateway_first_got_the_key(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    rig = make_rig(pool, [Answers((Step.BODY, 451, "4.3.0 later"), LOST).gateway])
    await rig.deliver()
    await mail_database.as_owner("UPDATE attempts SET ask_until = now()")
    await _try(rig, pool, mail_id)
    first, second = await attempt_rows(pool, mail_id)
    assert first["ask_until"] == second["ask_until"]
    mail = await mail_row(pool, mail_id)
    assert mail["state"] == "uncertain"
    assert mail["failure_reason"].endswith("too late to ask keyed again")


async def test_no_byte_leaves_when_the_time_to_ask_ends_before_the_gateway_is_ready(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    keyed = Answers(LOST)
    rig = make_rig(pool, [keyed.gateway])
    await rig.deliver()
    await make_due(pool, mail_id)
    (mail,) = (await claim_due(pool, 10, 30)).mails
    rig.delivery._start(replace(mail, claimed_monotonic=mail.claimed_monotonic - HOUR))  # it was claimed an hour ago
    await rig.finish()
    assert not keyed.gateway.kept
    assert [row["outcome"] for row in await attempt_rows(pool, mail_id)] == ["unknown", "gateway_fault"]


async def test_a_lost_queue_row_that_is_made_again_still_goes_only_to_its_gateway(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    rig = make_rig(pool, [MemoryGateway("other"), Answers(LOST).gateway])
    await make_rig(pool, [rig.gateways.routes[1].gateway]).deliver()
    await pool.execute("DELETE FROM queue")
    await pool.execute(f"WITH {MISSING_IN_QUEUE.fix} SELECT * FROM fixed")
    await _try(rig, pool, mail_id)
    assert [row["gateway"] for row in await attempt_rows(pool, mail_id)] == ["keyed", "keyed"]


async def test_a_mail_that_brings_the_header_itself_keeps_its_own_and_is_not_asked_about(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    await mail_database.as_owner(f'UPDATE contents SET headers = \'{{"{IDEMPOTENCY_HEADER.lower()}": "own"}}\'')
    async with provider(once(taken=True)) as keyed:
        rig = make_rig(pool, [smtp_gateway(keyed.smtp.port, idempotency_seconds=HOUR)])
        await rig.deliver()
        await rig.close()
    assert keyed.smtp.received[0].data.lower().count(IDEMPOTENCY_HEADER.lower().encode()) == 1
    assert (await mail_row(pool, mail_id))["state"] == "uncertain"


async def test_a_gateway_is_never_asked_without_the_key(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    await mail_database.as_owner('UPDATE contents SET headers = \'{"X-Own": "1"}\'')
    keyed = Answers(LOST)
    await make_rig(pool, [keyed.gateway]).deliver()
    # The header of a gateway that was added since is one that the mail brings itself.
    rig = make_rig(pool, [keyed.gateway, Answers(name="added", header="X-Own").gateway])
    await _try(rig, pool, mail_id)
    assert not keyed.gateway.kept
    assert (await mail_row(pool, mail_id))["state"] == "deferred"


@pytest.mark.parametrize("taken", [True, False])
async def test_a_mail_whose_worker_was_lost_is_asked_about_at_once_by_another(
    taken: bool, mail_database: Clone
) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)

    def lose(_mail: Received) -> Loss | None:
        return Loss(taken) if len(keyed.smtp.received) == 1 else None

    async with provider(lose) as keyed, scripted_smtp() as other:
        gateways = [
            smtp_gateway(keyed.smtp.port, name="keyed", idempotency_seconds=HOUR),
            smtp_gateway(other.port, name="other"),
        ]
        dying = make_rig(pool, gateways)
        dying.recorder._endings._write = _never_written
        await dying.delivery.run_once()
        await keyed.smtp.dot_seen.wait()
        await make_due(pool, mail_id)
        rig = make_rig(pool, gateways)
        await rig.rescue.run_once()
        await rig.rescue.run_once()
        mail, row = await mail_row(pool, mail_id), await queue_row(pool, mail_id)
        assert (mail["state"], row is not None and row["due"]) == ("deferred", True)
        assert mail["failure_reason"] == "worker lost after the body had started; asked again at keyed"
        await rig.deliver()
        await dying.close()
        await rig.close()
    assert (await mail_row(pool, mail_id))["state"] == "sent"
    assert sum(keyed.copies.values()) == 1
    assert not other.commands


async def test_a_rescue_asks_about_a_transmission_that_was_just_being_committed(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    (mail,) = (await claim_due(pool, 10, 30)).mails
    await make_due(pool, mail_id)
    rig = make_rig(pool, [Answers().gateway])
    line, ask_until = f"{IDEMPOTENCY_HEADER}: {mail_id}", mail.now() + timedelta(hours=1)
    async with pool.acquire() as worker, worker.transaction():
        arguments = [mail_id], [1], [mail.lease], ["keyed"], [mail.claimed_at], [line], [ask_until]
        assert await worker.fetch(queries.TRANSMIT_IF_LEASED, *arguments)
        taking_over = asyncio.create_task(rig.rescue._take_over([(mail_id, mail.lease)]))
        await eventually(lambda: pool.fetchval(WAITING), lambda waiting: waiting == 1)
    await taking_over
    assert (await mail_row(pool, mail_id))["state"] == "deferred"


async def _never_written(_items: object) -> set[UUID]:
    raise ConnectionRefusedError
