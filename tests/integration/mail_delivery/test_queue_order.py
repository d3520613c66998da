"""Which mails are claimed, and in which order."""

import asyncio
from collections import Counter

import pytest

from services.mail.delivery.claim import LaneFloors, claim_due
from services.mail.delivery.expiry import Expiry
from shared.worker.claim_floor import FULL_EVERY_SECONDS
from tests.support.databases import Clone
from tests.support.delivery import make_rig, smtp_gateway
from tests.support.mails import attempt_rows, history_kinds, insert_mails, mail_row, make_due, queue_row, states
from tests.support.scripted_smtp import scripted_smtp


async def test_live_mails_go_first_and_bulk_mails_still_get_their_share(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    bulk = set(await insert_mails(pool, 50, lane="bulk"))
    await insert_mails(pool, 50)
    claimed = (await claim_due(pool, 20, 30)).mails
    assert len(claimed) == 20
    assert 4 <= sum(mail.mail_id in bulk for mail in claimed) <= 5


async def test_a_lane_uses_the_share_that_the_other_leaves(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 10)
    assert len((await claim_due(pool, 10, 30)).mails) == 10
    await insert_mails(pool, 10, lane="bulk")
    assert len((await claim_due(pool, 10, 30)).mails) == 10


async def test_places_kept_for_bulk_mails_that_another_transaction_holds_leave_live_mails_to_be_claimed(
    mail_database: Clone,
) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 2, lane="bulk")
    await insert_mails(pool, 30)
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute("SELECT FROM queue WHERE lane = 'bulk' FOR UPDATE")
        claim = await claim_due(pool, 20, 30)
        assert len(claim.mails) == 18
        assert claim.full, "live mails are left"


async def test_bulk_mails_are_not_starved_by_single_claims(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    bulk = set(await insert_mails(pool, 100, lane="bulk"))
    await insert_mails(pool, 100)
    claimed = [(await claim_due(pool, 1, 30)).mails[0].mail_id for _ in range(100)]
    assert 0 < len(bulk.intersection(claimed)) < 60


async def test_no_claim_leaves_a_mail_of_either_lane_before_the_floor(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    floors, claimed = LaneFloors(), 0
    waiting = [*await insert_mails(pool, 30), *await insert_mails(pool, 20, lane="bulk")]
    while claim := await claim_due(pool, 7, 30, floors):
        claimed += len(claim.mails)
        if not claim.full:
            break
        if claimed < 21:
            waiting += [*await insert_mails(pool, 2), *await insert_mails(pool, 1, lane="bulk")]
    assert claimed == len(waiting)


async def test_a_lane_that_was_not_looked_at_keeps_its_full_look(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    floors = LaneFloors()
    await insert_mails(pool, 5)
    await insert_mails(pool, 1, lane="bulk")
    await pool.execute("UPDATE queue SET due_at = now() - interval '1 hour' WHERE lane = 'bulk'")
    while (await claim_due(pool, 1, 30, floors)).full:
        pass
    assert await pool.fetchval("SELECT count(*) FROM queue WHERE lease IS NULL") == 0


async def test_a_mail_that_another_transaction_locked_is_claimed_once_it_is_free(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    floors = LaneFloors()
    (mail_id,) = await insert_mails(pool)
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM queue WHERE mail_id = $1 FOR UPDATE", mail_id)
        assert (await claim_due(pool, 10, 30, floors)).mails == []
    floors.live.looked_full -= FULL_EVERY_SECONDS
    assert [mail.mail_id for mail in (await claim_due(pool, 10, 30, floors)).mails] == [mail_id]


async def test_a_mail_is_claimed_by_one_worker_only(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 200)
    claims = await asyncio.gather(*(claim_due(pool, 40, 30) for _ in range(8)))
    claimed = Counter(mail.mail_id for claim in claims for mail in claim.mails)
    assert set(claimed.values()) == {1}


async def test_two_workers_on_one_queue_deliver_each_mail_once(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    ids = await insert_mails(pool, 150)
    async with scripted_smtp() as server:
        rigs = [make_rig(pool, [smtp_gateway(server.port, connections=4)]) for _ in range(2)]
        await asyncio.gather(*(rig.deliver() for rig in rigs))
        assert await states(mail_database.database) == {"sent": 150}
        await asyncio.gather(*(rig.close() for rig in rigs))
    assert all(rig.delivery.outcomes["accepted"] for rig in rigs)
    assert Counter(mail.recipient for mail in server.accepted) == {f"{mail_id.hex}@example.test": 1 for mail_id in ids}


async def test_an_expired_mail_is_not_sent(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool, expires_in_seconds=-1)
    claim = await claim_due(pool, 10, 30)
    assert (claim.mails, claim.closed) == ([], ["expired"])
    assert (await mail_row(pool, mail_id))["state"] == "expired"
    assert await queue_row(pool, mail_id) is None
    assert await attempt_rows(pool, mail_id) == []
    assert await history_kinds(pool, mail_id) == ["mail.expired"]


async def test_expiry_does_not_wait_for_a_claim(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (old,) = await insert_mails(pool, expires_in_seconds=-1)
    (fresh,) = await insert_mails(pool)
    await Expiry(pool, LaneFloors()).run_once()
    assert (await mail_row(pool, old))["state"] == "expired"
    assert (await mail_row(pool, fresh))["state"] == "queued"


@pytest.mark.parametrize("window", [1, 3, 8, 24, 100])
@pytest.mark.parametrize("instants", [1, 5, 24])
async def test_runs_of_expiry_look_at_one_window_after_another_and_close_all_that_expired(
    mail_database: Clone, window: int, instants: int
) -> None:
    pool = mail_database.database.pool
    fresh = await insert_mails(pool, 8) + await insert_mails(pool, 8, lane="bulk")
    for lane in ("live", "bulk"):
        await insert_mails(pool, 16, lane=lane, expires_in_seconds=-1)
    await pool.execute(
        """
        UPDATE queue SET due_at = now() - make_interval(secs => n % $1::int)
        FROM (SELECT mail_id, row_number() OVER (PARTITION BY lane ORDER BY md5(mail_id::text)) AS n FROM queue) AS r
        WHERE queue.mail_id = r.mail_id
        """,
        instants,
    )
    expiry = Expiry(pool, LaneFloors(), window)
    for _ in range(1 + 24 // window):
        while await expiry.run_once():
            pass
    assert dict(expiry.closed) == {"expired": 32}
    assert set(await pool.fetchval("SELECT array_agg(mail_id) FROM queue")) == set(fresh)


async def test_expiry_begins_anew_behind_its_last_window(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    first, *_ = await insert_mails(pool, 25)
    expiry = Expiry(pool, LaneFloors(), 10)
    for _ in range(3):
        assert not await expiry.run_once()
    await pool.execute("UPDATE mails SET expires_at = now()")
    await expiry.run_once()
    assert expiry.closed["expired"] == 10
    assert (await mail_row(pool, first))["state"] == "expired"


async def test_a_run_of_expiry_looks_at_no_more_than_its_window(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 25, expires_in_seconds=-1)
    expiry = Expiry(pool, LaneFloors(), 10)
    await expiry.run_once()
    assert expiry.closed["expired"] == 10


async def test_expired_mails_that_another_transaction_holds_do_not_hide_those_behind_them(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    held = await insert_mails(pool, 10, expires_in_seconds=-1)
    (behind,) = await insert_mails(pool, expires_in_seconds=-1)
    expiry = Expiry(pool, LaneFloors(), 10)
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM queue WHERE mail_id = ANY($1) FOR UPDATE", held)
        for _ in range(2):
            await expiry.run_once()
        assert (await mail_row(pool, behind))["state"] == "expired"
    while expiry.closed["expired"] < 11:
        await expiry.run_once()


async def test_expiry_begins_where_the_claims_of_its_process_do(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    floors = LaneFloors()
    await claim_due(pool, 10, 30, floors)
    (before,) = await insert_mails(pool, expires_in_seconds=-1)
    await pool.execute("UPDATE queue SET due_at = now() - interval '1 hour'")
    (behind,) = await insert_mails(pool, expires_in_seconds=-1)
    await Expiry(pool, floors).run_once()
    assert [(await mail_row(pool, mail_id))["state"] for mail_id in (before, behind)] == ["queued", "expired"]


async def test_a_tried_mail_that_expires_fails_with_the_last_reply(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    async with scripted_smtp({"RCPT": ["450 4.2.1 greylisted"]}) as server:
        rig = make_rig(pool, [smtp_gateway(server.port)])
        await rig.deliver()
        await rig.close()
    await pool.execute("UPDATE mails SET expires_at = now()")
    await make_due(pool, mail_id)
    await Expiry(pool, LaneFloors()).run_once()
    mail = await mail_row(pool, mail_id)
    assert (mail["state"], mail["failure_code"]) == ("failed", 450)
    assert mail["failure_reply"] == "450 4.2.1 greylisted"


async def test_a_mail_in_doubt_never_expires_but_is_uncertain(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool, on_uncertain="resend")
    async with scripted_smtp({"dot": ["354 what"]}) as server:
        rig = make_rig(pool, [smtp_gateway(server.port)])
        await rig.deliver()
        await rig.close()
    await pool.execute("UPDATE mails SET expires_at = now()")
    await make_due(pool, mail_id)
    await claim_due(pool, 10, 30)
    assert (await mail_row(pool, mail_id))["state"] == "uncertain"
    assert await history_kinds(pool, mail_id) == ["mail.requeued", "mail.uncertain"]


async def test_an_erased_mail_is_canceled_and_not_sent(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    await pool.execute("UPDATE mails SET to_email = NULL, to_key = NULL")
    await claim_due(pool, 10, 30)
    assert (await mail_row(pool, mail_id))["state"] == "canceled"


async def test_a_mail_that_leaves_its_slot_wakes_the_loop_only_if_others_may_wait_for_it(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    async with scripted_smtp() as gateway:
        rig = make_rig(pool, [smtp_gateway(gateway.port, connections=1)])
        woken = rig.wake.subscribe()
        await insert_mails(pool, 3)
        assert not await rig.delivery.run_once()
        await rig.finish()
        assert not woken.is_set(), "an empty queue was claimed from for each mail sent"
        await insert_mails(pool, 40)
        assert await rig.delivery.run_once()  # all slots are taken
        await rig.delivery.run_once()
        await rig.finish()
        assert woken.is_set()
        await rig.deliver()
        assert await states(mail_database.database) == {"sent": 43}
        await rig.close()
