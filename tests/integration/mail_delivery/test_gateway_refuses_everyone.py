"""A gateway that refuses everyone silences nobody, and one dead address is a dead address."""

import pytest

from services.mail import worker
from services.mail.delivery.gateways.protocol import Envelope
from services.mail.delivery.recent_recipients import RecentRecipients
from services.mail.delivery.refusal_guard import MOST_BELIEVED, MOST_OF_DOMAIN
from services.mail.delivery.smtp_outcomes import Outcome, Step, classify
from services.mail.delivery.states import MailState
from shared.db.pool import Pool
from shared.worker.circuit_breaker import BreakerState
from tests.integration.mail_delivery.test_mail_worker import settings_for, working
from tests.support.databases import Clone
from tests.support.delivery import Rig, make_rig, smtp_gateway
from tests.support.mails import attempt_rows, insert_mails, mail_row, queue_row, states
from tests.support.memory_gateway import ACCEPTED, Answer, MemoryGateway
from tests.support.scripted_smtp import scripted_smtp
from tests.support.stack import eventually

NOBODY: Answer = (Step.RCPT, 550, "5.1.1 no such user")
REFUSED = classify(*NOBODY)
TAKEN = classify(*ACCEPTED)


async def insert_at_many_domains(pool: Pool, count: int, prefix: str = "person") -> None:
    for n in range(count):
        await insert_mails(pool, to=f"{prefix}-{n}@domain-{n % 40}.example")


async def probe(rig: Rig) -> None:
    """Let the breaker's next probe go ahead."""
    rig.gateways.routes[0].breaker._probe_at = 0.0
    await rig.delivery.run_once()
    await rig.finish()


async def suppressed(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM suppressions"))


async def test_of_200_addresses_that_a_gateway_refuses_few_are_suppressed_and_all_other_mails_wait(
    mail_database: Clone,
) -> None:
    pool = mail_database.database.pool
    await insert_at_many_domains(pool, 200)
    async with scripted_smtp({"RCPT": "550 5.1.1 no such user"}) as gone_mad:
        rig = make_rig(pool, [smtp_gateway(gone_mad.port, connections=8)])
        await rig.deliver()
        await probe(rig)
        await rig.close()
    believed = await suppressed(pool)
    assert 0 < believed <= MOST_BELIEVED
    assert await states(mail_database.database) == {MailState.FAILED: believed, MailState.QUEUED: 200 - believed}
    route = rig.gateways.routes[0]
    assert route.breaker.state is BreakerState.OPEN
    assert route.breaker.last_fault == "the gateway refuses everyone (refused with 550 at RCPT)"
    assert await pool.fetchval("SELECT count(*) FROM queue WHERE lease IS NOT NULL") == 0


async def test_a_gateway_that_refuses_everyone_at_one_domain_after_good_mails_is_found_out_too(
    mail_database: Clone,
) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 50)
    script = {"RCPT": [*[None] * 50, *["550 5.1.1 no such user"] * 500]}
    async with scripted_smtp(script) as gateway:
        rig = make_rig(pool, [smtp_gateway(gateway.port, connections=8)])
        await rig.deliver()
        await insert_mails(pool, 200)
        await rig.deliver()
        await rig.close()
    believed = await suppressed(pool)
    assert 0 < believed <= MOST_BELIEVED
    counts = await states(mail_database.database)
    assert (counts["sent"], counts["failed"]) == (50, believed)
    assert counts["queued"] + counts["deferred"] == 200 - believed
    assert rig.gateways.routes[0].breaker.state is BreakerState.OPEN


async def test_one_dead_address_among_good_ones_is_suppressed_and_the_good_ones_get_their_mail(
    mail_database: Clone,
) -> None:
    pool = mail_database.database.pool
    await insert_at_many_domains(pool, 100)
    (dead,) = await insert_mails(pool, to="dead@domain-3.example")
    gateway = MemoryGateway(answer=lambda envelope: NOBODY if envelope.recipient.startswith("dead@") else ACCEPTED)
    rig = make_rig(pool, [gateway])
    await rig.deliver()
    assert await states(mail_database.database) == {"sent": 100, "failed": 1}
    assert await pool.fetchval("SELECT mail_id FROM suppressions") == dead
    assert rig.gateways.routes[0].breaker.state is BreakerState.CLOSED


async def test_the_mails_go_out_when_the_gateway_is_well_again(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_at_many_domains(pool, 60)
    mad = True
    gateway = MemoryGateway(answer=lambda _envelope: NOBODY if mad else ACCEPTED)
    rig = make_rig(pool, [gateway])
    await rig.deliver()
    believed = await suppressed(pool)
    mad = False
    await probe(rig)
    assert rig.gateways.routes[0].breaker.state is BreakerState.CLOSED
    await pool.execute("UPDATE queue SET due_at = now()")  # those that were refused wait as after a "try later"
    await rig.deliver()
    assert await states(mail_database.database) == {"failed": believed, "sent": 60 - believed}


async def test_a_mail_that_is_refused_as_everyone_waits_as_after_a_try_later_and_costs_no_attempt(
    mail_database: Clone,
) -> None:
    pool = mail_database.database.pool
    await refuse(RecentRecipients(pool), "memory", 20)
    (mail_id,) = await insert_mails(pool)
    rig = make_rig(pool, [MemoryGateway(answer=lambda _envelope: NOBODY)])
    await rig.deliver()
    mail = await mail_row(pool, mail_id)
    assert (mail["state"], mail["attempts"], mail["failure_enhanced_code"]) == ("queued", 0, "5.1.1")
    (attempt,) = await attempt_rows(pool, mail_id)
    assert (attempt["outcome"], attempt["reply"]) == ("gateway_fault", "550 5.1.1 no such user")
    row = await queue_row(pool, mail_id)
    assert row is not None
    assert not row["due"]


async def test_another_gateway_gets_the_mails_of_one_that_refuses_everyone(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_at_many_domains(pool, 40)
    second = MemoryGateway("second")
    rig = make_rig(pool, [MemoryGateway("first", answer=lambda _envelope: NOBODY), second])
    await rig.deliver()
    believed = await suppressed(pool)
    assert believed <= MOST_BELIEVED
    assert await states(mail_database.database) == {"failed": believed, "sent": 40 - believed}
    assert len(second.kept) == 40 - believed


async def test_a_refused_domain_waits_while_the_others_get_their_mail(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_at_many_domains(pool, 40)
    await insert_mails(pool, 30)  # at example.test
    await insert_at_many_domains(pool, 40, "later")

    def answer(envelope: Envelope) -> Answer:
        return NOBODY if envelope.recipient.endswith("@example.test") else ACCEPTED

    rig = make_rig(pool, [MemoryGateway(answer=answer, connections=1)])
    await rig.deliver()
    believed = await suppressed(pool)
    assert believed == MOST_OF_DOMAIN
    assert await states(mail_database.database) == {"sent": 80, "failed": believed, "deferred": 30 - believed}
    assert rig.gateways.routes[0].breaker.state is BreakerState.CLOSED


async def refuse(worker: RecentRecipients, gateway: str, count: int, *, start: int = 0) -> list[Outcome]:
    verdicts = [await worker.judge(gateway, f"r{n}@domain-{n}.example", REFUSED) for n in range(start, start + count)]
    return [verdict.outcome for verdict in verdicts]


async def accept(worker: RecentRecipients, gateway: str, count: int) -> None:
    for n in range(count):
        await worker.judge(gateway, f"good{n}@domain-{n}.example", TAKEN)


async def test_workers_judge_a_gateway_by_what_all_of_them_heard(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    one, other = RecentRecipients(pool), RecentRecipients(pool)
    assert set(await refuse(one, "g", 9)) == {Outcome.REFUSED}
    assert await refuse(other, "g", 1, start=9) == [Outcome.GATEWAY_FAULT]


async def test_a_refusal_is_believed_when_another_worker_sends_well_through_the_same_gateway(
    mail_database: Clone,
) -> None:
    pool = mail_database.database.pool
    one, other = RecentRecipients(pool), RecentRecipients(pool)
    await refuse(one, "g", 9)
    await accept(other, "g", 20)
    await other.run_once()
    assert await refuse(one, "g", 1, start=9) == [Outcome.REFUSED]


async def test_the_same_recipient_refused_again_and_again_says_nothing_about_others(mail_database: Clone) -> None:
    worker = RecentRecipients(mail_database.database.pool)
    verdicts = [await worker.judge("g", "Dead@domain.example", REFUSED) for _ in range(50)]
    assert {verdict.outcome for verdict in verdicts} == {Outcome.REFUSED}


async def test_gateways_are_judged_apart(mail_database: Clone) -> None:
    worker = RecentRecipients(mail_database.database.pool)
    await refuse(worker, "mad", 20)
    assert await refuse(worker, "good", 1) == [Outcome.REFUSED]


async def test_a_refusal_of_a_domain_that_accepts_others_is_believed(mail_database: Clone) -> None:
    worker = RecentRecipients(mail_database.database.pool)
    outcomes = set()
    for n in range(60):
        for good in range(5):
            await worker.judge("g", f"good{n}-{good}@big.example", TAKEN)
        outcomes.add((await worker.judge("g", f"dead{n}@big.example", REFUSED)).outcome)
    assert outcomes == {Outcome.REFUSED}


async def test_few_recipients_are_kept_and_no_address(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    worker = RecentRecipients(pool)
    for _ in range(12):
        await accept(worker, "g", 100)
        await worker.run_once()
    await refuse(worker, "g", 230)
    assert await pool.fetchval("SELECT count(*) FROM gateway_recipients WHERE NOT refused") <= 41
    assert await pool.fetchval("SELECT count(*) FROM gateway_recipients WHERE refused") <= 201
    assert not await pool.fetchval("SELECT count(*) FROM gateway_recipients WHERE gateway_recipients::text LIKE '%@%'")


async def test_an_acceptance_costs_no_statement(mail_database: Clone) -> None:
    clock = iter(range(100))
    worker = RecentRecipients(mail_database.database.pool, clock=lambda: float(next(clock)))
    await mail_database.database.close()
    await accept(worker, "g", 20)


async def test_a_refusal_is_not_believed_while_the_database_cannot_be_asked(mail_database: Clone) -> None:
    worker = RecentRecipients(mail_database.database.pool)
    await mail_database.database.close()
    verdict = await worker.judge("g", "r@domain.example", REFUSED)
    assert (verdict.outcome, verdict.blames_gateway, verdict.suppresses) == (Outcome.GATEWAY_FAULT, False, False)


async def test_two_whole_workers_suppress_no_more_than_one_and_open_their_breakers(
    mail_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_RECENT_RECIPIENTS_SECONDS", 0.02)
    pool = mail_database.database.pool
    good = "SELECT count(*) FROM gateway_recipients WHERE NOT refused"
    refuses: dict[str, list[str | None]] = {"RCPT": [None] * 20 + ["550 5.1.1 no such user"] * 1000}
    async with scripted_smtp(refuses) as server:
        settings = settings_for(mail_database.runtime_url, server, mail_suppression_days=3)
        await insert_at_many_domains(pool, 20, "good")
        async with working(settings) as one, working(settings) as other:
            await eventually(lambda: pool.fetchval(good), lambda count: count >= 20, what="acceptances on record")
            await insert_at_many_domains(pool, 200)
            one.queue_ping.set()
            other.queue_ping.set()

            async def open_breakers() -> set[BreakerState]:
                return {part.gateways.routes[0].breaker.state for part in (one, other)} - {BreakerState.CLOSED}

            await eventually(open_breakers, bool, what="an open breaker")
            await eventually(
                lambda: pool.fetchval("SELECT count(*) FROM queue WHERE lease IS NOT NULL"),
                lambda leased: leased == 0,
                what="the mails to be back in the queue",
            )
    believed = await pool.fetchval("SELECT count(*) FROM suppressions WHERE ends_at < now() + interval '3 days'")
    assert 0 < believed <= MOST_BELIEVED
    assert await states(mail_database.database) == {"sent": 20, "failed": believed, "queued": 200 - believed}
