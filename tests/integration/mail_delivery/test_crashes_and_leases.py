"""A worker dies or goes silent at any point, and another one rescues its mails."""

import asyncio
from uuid import UUID, uuid4

import pytest

from services.mail.delivery import queries
from services.mail.delivery.claim import ClaimedMail, claim_due
from services.mail.delivery.leases import Leases
from services.mail.delivery.overdue_leases import OverdueLeases
from services.mail.delivery.recorder import AttemptEnd, Recorder, Transmission
from services.mail.delivery.rescue import Rescue
from services.mail.delivery.retry_policy import RetryPolicy, decide_next
from services.mail.delivery.smtp_outcomes import Step, classify
from shared.db.pool import Pool
from tests.support.databases import Clone
from tests.support.delivery import Rig, make_rig, smtp_gateway
from tests.support.mails import attempt_rows, history_kinds, insert_mails, mail_row, make_due, queue_row
from tests.support.scripted_smtp import scripted_smtp
from tests.support.stack import eventually

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
POLICY = RetryPolicy(draw=max)


async def claim_one(pool: Pool) -> ClaimedMail:
    (mail,) = (await claim_due(pool, 10, 30)).mails
    return mail


async def begin_transmission(pool: Pool, mail: ClaimedMail, gateway: str = "lost") -> bool:
    transmission = Transmission(mail.mail_id, mail.snapshot.attempt, mail.lease, gateway, mail.claimed_at)
    return await Recorder(pool).transmitting(transmission)


def accepted(mail: ClaimedMail, lease: UUID | None = None) -> AttemptEnd:
    settlement = decide_next(mail.snapshot, classify(Step.BODY, 250, "2.0.0 taken"), mail.now(), POLICY)
    return AttemptEnd(mail.mail_id, mail.snapshot.attempt, lease or mail.lease, "late", settlement)


async def rescue(rig: Rig) -> None:
    await rig.rescue.run_once()
    await rig.rescue.run_once()


async def test_a_worker_lost_before_the_body_left_costs_nothing(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    await claim_one(pool)
    await make_due(pool, mail_id)
    async with scripted_smtp() as server:
        rig = make_rig(pool, [smtp_gateway(server.port)])
        await rig.deliver()
        assert not server.received  # a claim leaves abandoned mails to the rescue
        await rescue(rig)
        lost = await queue_row(pool, mail_id)
        assert lost is not None
        assert (lost["lease"], lost["due"]) == (None, True)
        await rig.deliver()
        await rig.close()
    mail = await mail_row(pool, mail_id)
    assert (mail["state"], mail["attempts"]) == ("sent", 1)
    assert [row["outcome"] for row in await attempt_rows(pool, mail_id)] == ["gateway_fault", "accepted"]
    assert len(server.accepted) == 1


@pytest.mark.promise("P5")
@pytest.mark.parametrize(("policy", "state"), [("hold", "uncertain"), ("resend", "queued")])
async def test_a_worker_lost_after_the_body_started_leaves_the_outcome_unknown(
    policy: str, state: str, mail_database: Clone
) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool, on_uncertain=policy)
    assert await begin_transmission(pool, await claim_one(pool))
    await make_due(pool, mail_id)
    rig = make_rig(pool, [])
    await rescue(rig)
    mail, (attempt,) = await mail_row(pool, mail_id), await attempt_rows(pool, mail_id)
    assert (mail["state"], mail["attempts"], mail["gateway"]) == (state, 1, "lost")
    assert (attempt["outcome"], attempt["counted"]) == ("unknown", True)
    row = await queue_row(pool, mail_id)
    assert (row is not None and row["due"]) == (policy == "resend")
    assert rig.rescue.rescued == 1


async def test_a_mail_whose_rescuer_dies_is_rescued_again(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    await begin_transmission(pool, await claim_one(pool))
    await make_due(pool, mail_id)
    dying = Rescue(pool, Dying(pool), POLICY, OverdueLeases(0, 0), lease_seconds=0.001)
    await dying.run_once()
    with pytest.raises(Died):
        await dying.run_once()
    assert (await mail_row(pool, mail_id))["state"] == "sending"
    await rescue(make_rig(pool, []))
    assert (await mail_row(pool, mail_id))["state"] == "uncertain"


class Died(Exception):  # noqa: N818 - what a kill looks like from inside
    pass


class Dying(Recorder):
    async def settle(self, ending: AttemptEnd) -> bool:
        raise Died(ending.mail_id)


async def test_a_silent_worker_whose_mail_was_rescued_changes_nothing(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    stale = await claim_one(pool)
    await begin_transmission(pool, stale)
    await make_due(pool, mail_id)
    await rescue(make_rig(pool, []))
    before = await mail_row(pool, mail_id), await attempt_rows(pool, mail_id), await history_kinds(pool, mail_id)
    assert not await Recorder(pool).settle(accepted(stale))
    assert not await begin_transmission(pool, stale)
    after = await mail_row(pool, mail_id), await attempt_rows(pool, mail_id), await history_kinds(pool, mail_id)
    assert before == after


def _transmission(mail: ClaimedMail) -> tuple[object, ...]:
    return [mail.mail_id], [mail.snapshot.attempt], [mail.lease], ["slow"], [mail.claimed_at], [None], [None]


@pytest.mark.promise("P8")
async def test_a_worker_whose_mail_is_being_taken_over_before_it_offered_it_sends_no_body(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    slow = await claim_one(pool)
    await make_due(pool, mail_id)
    async with pool.acquire() as rescuer, rescuer.transaction():
        (taken,) = await rescuer.fetch(queries.TAKE_OVER_IF_OVERDUE, [mail_id], [slow.lease], 30.0)
        assert taken["phase"] == "claimed"
        # Its statement still sees the old lease in the queue.
        transmitting = asyncio.create_task(pool.fetch(queries.TRANSMIT_IF_LEASED, *_transmission(slow)))
        await eventually(lambda: pool.fetchval(WAITING), lambda waiting: waiting == 1)
    assert await transmitting == []
    assert [row["phase"] for row in await attempt_rows(pool, mail_id)] == ["claimed"]


async def test_a_rescue_sees_the_transmission_that_is_being_committed(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    slow = await claim_one(pool)
    await make_due(pool, mail_id)
    async with pool.acquire() as worker, worker.transaction():
        assert await worker.fetch(queries.TRANSMIT_IF_LEASED, *_transmission(slow))
        arguments = [mail_id], [slow.lease], 30.0
        taking_over = asyncio.create_task(pool.fetch(queries.TAKE_OVER_IF_OVERDUE, *arguments))
        await eventually(lambda: pool.fetchval(WAITING), lambda waiting: waiting == 1)
    (taken,) = await taking_over
    assert (taken["phase"], taken["gateway"]) == ("transmitting", "slow")


async def test_an_attempt_says_when_its_mail_was_claimed(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    offered, lost = await insert_mails(pool, 2)
    claimed = {mail.mail_id: mail for mail in (await claim_due(pool, 10, 30)).mails}
    assert await begin_transmission(pool, claimed[offered])
    await pool.execute("UPDATE queue SET due_at = now() - interval '1 minute' WHERE mail_id = $1", lost)
    await rescue(make_rig(pool, []))
    (attempt,), (rescued,) = await attempt_rows(pool, offered), await attempt_rows(pool, lost)
    assert attempt["claimed_at"] == claimed[offered].claimed_at < attempt["transmitting_at"]
    # When its worker last renewed the lease of 30 s.
    assert (rescued["ended_at"] - rescued["claimed_at"]).total_seconds() >= 60 + 30


@pytest.mark.promise("P8")
async def test_a_foreign_lease_settles_nothing(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    mail = await claim_one(pool)
    assert not await Recorder(pool).settle(accepted(mail, lease=uuid4()))
    assert (await mail_row(pool, mail_id))["state"] == "sending"


@pytest.mark.promise("P8")
async def test_a_body_never_leaves_once_the_lease_is_lost(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    async with scripted_smtp() as server:
        rig = make_rig(pool, [smtp_gateway(server.port)])
        await rig.delivery.run_once()
        # The rescue of another worker, which believes this one dead, comes first.
        await pool.execute("UPDATE queue SET lease = gen_random_uuid()")
        await pool.execute("UPDATE attempts SET lease = (SELECT lease FROM queue)")
        await rig.finish()
        await rig.close()
    assert "DATA" in server.commands
    assert not server.received
    assert rig.leases.lost == 1
    assert (await mail_row(pool, mail_id))["state"] == "sending"


async def test_an_expired_lease_still_counts_while_no_worker_took_it(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    mail = await claim_one(pool)
    await begin_transmission(pool, mail)
    await make_due(pool, mail_id)
    assert await Recorder(pool).settle(accepted(mail))
    assert (await mail_row(pool, mail_id))["state"] == "sent"


async def test_a_write_whose_answer_was_lost_succeeds_when_repeated(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    mail = await claim_one(pool)
    await begin_transmission(pool, mail)
    recorder = Recorder(pool)
    assert await recorder.settle(accepted(mail))
    assert await recorder.settle(accepted(mail))
    assert (await mail_row(pool, mail_id))["attempts"] == 1
    assert await history_kinds(pool, mail_id) == ["mail.sent"]


async def test_a_renewal_keeps_a_lease_from_the_rescue(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    mail = await claim_one(pool)
    rig = make_rig(pool, [])
    rig.leases.hold(mail_id, mail.lease)
    await make_due(pool, mail_id)
    await rig.rescue.run_once()  # seen overdue once: as after an outage of the database
    await rig.leases.run_once()
    await rig.rescue.run_once()
    assert rig.rescue.rescued == 0
    row = await queue_row(pool, mail_id)
    assert row is not None
    assert (row["lease"], row["due"]) == (mail.lease, False)


async def test_a_lease_that_is_gone_is_noticed_by_the_renewal(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    await claim_one(pool)
    leases = make_rig(pool, []).leases
    lost = uuid4()
    leases.hold(mail_id, lost)
    await leases.run_once()
    assert not leases.holds(lost)
    assert leases.lost == 1


class Clocks:
    """The database's clock and that of a worker's process. Both stand still until a test moves them."""

    def __init__(self, clone: Clone) -> None:
        self._clone = clone
        self.local = 100.0

    async def stop(self) -> None:
        await self._clone.as_owner(
            "CREATE SCHEMA stopped; CREATE TABLE stopped.clock AS SELECT now() AS at; "
            "CREATE FUNCTION stopped.now() RETURNS timestamptz STABLE LANGUAGE sql AS 'SELECT at FROM stopped.clock'; "
            "GRANT USAGE ON SCHEMA stopped TO mail_app; GRANT SELECT ON stopped.clock TO mail_app; "
            "DO $$BEGIN EXECUTE format("
            "'ALTER DATABASE %I SET search_path = stopped, pg_catalog, public', current_database()); END$$"
        )
        await self._clone.database.pool.expire_connections()

    async def step_database(self, seconds: float) -> None:
        await self._clone.as_owner("UPDATE stopped.clock SET at = at + make_interval(secs => $1)", seconds)

    async def go_on(self, seconds: float) -> None:
        self.local += seconds
        await self.step_database(seconds)


@pytest.fixture
async def clocks(mail_database: Clone) -> Clocks:
    clocks = Clocks(mail_database)
    await clocks.stop()
    return clocks


def rescue_by(clocks: Clocks, pool: Pool) -> Rescue:
    """As in a worker with a lease of 30 s, which its holder renews every 10 s."""
    return Rescue(pool, Recorder(pool), POLICY, OverdueLeases(5, 10), lease_seconds=30, clock=lambda: clocks.local)


async def seconds_until_rescued(clocks: Clocks, rescue: Rescue) -> float:
    began = clocks.local
    while not rescue.rescued:
        await clocks.go_on(5)
        await rescue.run_once()
        assert clocks.local - began < 60
    return clocks.local - began


async def test_an_overdue_lease_is_left_alone_until_the_grace_is_over(mail_database: Clone, clocks: Clocks) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool)
    await claim_one(pool)
    rescue = rescue_by(clocks, pool)
    await rescue.run_once()
    assert await seconds_until_rescued(clocks, rescue) == 30 + 5


@pytest.mark.promise("P8")
async def test_a_step_of_the_databases_clock_takes_no_mail_from_a_worker_that_lives(
    mail_database: Clone, clocks: Clocks
) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool, on_uncertain="resend")
    mail = await claim_one(pool)
    await begin_transmission(pool, mail)
    leases = Leases(pool, asyncio.Lock(), 30)
    leases.hold(mail_id, mail.lease)
    rescue = rescue_by(clocks, pool)
    await rescue.run_once()
    await clocks.step_database(60)
    for renews in (False, False, True, False, True):
        await rescue.run_once()
        await clocks.go_on(5)
        if renews:
            await leases.run_once()
    await rescue.run_once()
    assert (rescue.rescued, leases.lost) == (0, 0)
    assert (await mail_row(pool, mail_id))["state"] == "sending"


@pytest.mark.parametrize("is_started_after_the_step", [False, True])
async def test_after_a_step_of_the_databases_clock_a_dead_workers_mail_waits_for_one_more_renewal(
    mail_database: Clone, clocks: Clocks, *, is_started_after_the_step: bool
) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool)
    await claim_one(pool)
    rescue = rescue_by(clocks, pool)
    if not is_started_after_the_step:
        await rescue.run_once()
    await clocks.step_database(60)
    await rescue.run_once()
    assert await seconds_until_rescued(clocks, rescue) == 10 + 5


async def test_a_lease_renewed_just_before_the_takeover_is_not_taken_over(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    mail = await claim_one(pool)  # its lease runs: as if renewed between the rescue's look and its takeover
    rig = make_rig(pool, [])
    await rig.rescue._take_over([(mail_id, mail.lease)])
    row = await queue_row(pool, mail_id)
    assert row is not None
    assert (row["lease"], rig.rescue.rescued) == (mail.lease, 0)


async def test_a_stray_queue_row_of_a_settled_mail_breaks_no_claim(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    stray, good = await insert_mails(pool, 2)
    await pool.execute("UPDATE mails SET state = 'sent', sent_at = now(), next_attempt_at = NULL WHERE id = $1", stray)
    claim = await claim_due(pool, 10, 30.0)
    assert [mail.mail_id for mail in claim.mails] == [good]
    assert (await mail_row(pool, stray))["state"] == "sent"
