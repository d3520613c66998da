"""Several gateways, circuit breakers, and the cost of an outage."""

import pytest

from services.mail.delivery.gateways.protocol import Envelope
from services.mail.delivery.smtp_outcomes import Step
from shared.worker.circuit_breaker import BreakerState
from tests.support.databases import Clone
from tests.support.delivery import Rig, make_rig, smtp_gateway
from tests.support.mails import attempt_rows, insert_mails, mail_row, queue_row, states
from tests.support.memory_gateway import ACCEPTED, Answer, MemoryGateway
from tests.support.scripted_smtp import Misbehavior, scripted_smtp


def _state(rig: Rig) -> BreakerState:
    return rig.gateways.routes[0].breaker.state


async def test_the_next_gateway_is_tried_at_once_while_nothing_has_left(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    async with scripted_smtp({"banner": Misbehavior.DROP}) as first, scripted_smtp() as second:
        rig = make_rig(pool, [smtp_gateway(first.port, name="first"), smtp_gateway(second.port, name="second")])
        await rig.deliver()
        await rig.close()
    attempts = await attempt_rows(pool, mail_id)
    assert [(row["gateway"], row["outcome"]) for row in attempts] == [
        ("first", "gateway_fault"),
        ("second", "accepted"),
    ]
    mail = await mail_row(pool, mail_id)
    assert (mail["state"], mail["gateway"], mail["attempts"]) == ("sent", "second", 1)


@pytest.mark.promise("P8")
async def test_no_other_gateway_is_tried_when_the_mail_may_have_left(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    async with scripted_smtp({"dot": Misbehavior.DROP}) as first, scripted_smtp() as second:
        rig = make_rig(pool, [smtp_gateway(first.port, name="first"), smtp_gateway(second.port, name="second")])
        await rig.deliver()
        await rig.close()
    assert (await mail_row(pool, mail_id))["state"] == "uncertain"
    assert not second.commands


async def test_a_mail_with_a_verdict_is_not_tried_at_another_gateway(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    async with scripted_smtp({"RCPT": "450 4.2.1 later"}) as first, scripted_smtp() as second:
        rig = make_rig(pool, [smtp_gateway(first.port, name="first"), smtp_gateway(second.port, name="second")])
        await rig.deliver()
        await rig.close()
    assert (await mail_row(pool, mail_id))["state"] == "deferred"
    assert not second.commands


@pytest.mark.promise("P9")
async def test_an_outage_of_all_gateways_costs_no_attempt_and_stops_the_claims(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 40)
    down = True

    def answer(_envelope: Envelope) -> Answer:
        return (Step.CONNECT, 0, "") if down else ACCEPTED

    gateway = MemoryGateway(answer=answer)
    rig = make_rig(pool, [gateway])
    await rig.deliver()
    breaker = rig.gateways.routes[0].breaker
    assert _state(rig) is BreakerState.OPEN
    assert await states(mail_database.database) == {"queued": 40}
    assert await pool.fetchval("SELECT sum(attempts) FROM mails") == 0
    assert await pool.fetchval("SELECT count(*) FROM queue WHERE lease IS NOT NULL") == 0
    tried = await pool.fetchval("SELECT count(*) FROM attempts")
    assert not await rig.delivery.run_once()
    assert await pool.fetchval("SELECT count(*) FROM attempts") == tried

    down = False
    breaker._probe_at = 0.0
    await rig.delivery.run_once()  # one mail goes ahead as the probe
    await rig.finish()
    assert len(gateway.kept) == 1
    assert _state(rig) is BreakerState.CLOSED
    await pool.execute("UPDATE queue SET due_at = now()")
    await rig.deliver()
    assert await states(mail_database.database) == {"sent": 40}
    await rig.close()


async def test_an_open_breaker_sends_everything_by_the_other_gateway_and_probes_with_one(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    first = MemoryGateway("first", answer=lambda _: (Step.CONNECT, 0, ""))
    second = MemoryGateway("second")
    rig = make_rig(pool, [first, second])
    await insert_mails(pool, 30)
    await rig.deliver()
    assert rig.gateways.routes[0].breaker.state is BreakerState.OPEN
    assert len(second.kept) == 30
    before = await pool.fetchval("SELECT count(*) FROM attempts WHERE gateway = 'first'")
    rig.gateways.routes[0].breaker._probe_at = 0.0
    await insert_mails(pool, 30)
    await rig.deliver()
    assert await pool.fetchval("SELECT count(*) FROM attempts WHERE gateway = 'first'") == before + 1
    assert len(second.kept) == 60
    await rig.close()


async def test_a_gateway_that_goes_silent_after_every_dot_gets_no_more_mails(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 40)
    gateway = MemoryGateway(connections=1, answer=lambda _: (Step.BODY, 0, ""))
    rig = make_rig(pool, [gateway])
    await rig.deliver()
    assert (await states(mail_database.database))["uncertain"] == 5
    await rig.close()


async def test_one_mail_that_is_always_dropped_does_not_spin(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (poison,) = await insert_mails(pool, to="poison@example.test")

    def answer(envelope: Envelope) -> Answer:
        return (Step.DATA, 0, "") if envelope.recipient.startswith("poison") else ACCEPTED

    rig = make_rig(pool, [MemoryGateway(answer=answer)])
    for _ in range(6):
        await insert_mails(pool)  # others succeed in between, so no breaker opens
        await rig.delivery.run_once()
        await rig.finish()
    row = await queue_row(pool, poison)
    assert row is not None
    assert (row["attempt"], row["due"]) == (6, False)
    await rig.close()
