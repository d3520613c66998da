"""All workers together keep to a gateway's rate: the database hands out the turns, by its own clock."""

import asyncio
import itertools
from datetime import datetime, timedelta

from services.mail.delivery.gateways import queries
from services.mail.delivery.gateways.rate_limit import GatewayRateLimit
from services.mail.delivery.gateways.settings import GatewaySettings, Tls
from services.mail.delivery.gateways.smtp_connection import Timeouts
from services.mail.delivery.gateways.smtp_gateway import SmtpGateway
from shared.db.pool import DatabaseOptions, Pool, open_database
from tests.support.databases import Clone
from tests.support.delivery import make_rig
from tests.support.mails import insert_mails, states
from tests.support.scripted_smtp import scripted_smtp

NEXT = "SELECT next_at FROM gateway_rates WHERE gateway = 'g'"
SET_NEXT = "INSERT INTO gateway_rates (gateway, next_at) VALUES ('g', now() + $1::interval) RETURNING next_at"


async def _reserve(pool: Pool, turns: int, gap_seconds: float) -> list[datetime]:
    first: datetime = await pool.fetchval(queries.RESERVE_TURNS, "g", turns * gap_seconds)
    return [first + place * timedelta(seconds=gap_seconds) for place in range(turns)]


async def test_turns_that_are_reserved_concurrently_are_a_gap_apart(mail_database: Clone) -> None:
    pool, gap = mail_database.database.pool, 0.5
    batches = await asyncio.gather(*(_reserve(pool, 1 + n % 4, gap) for n in range(40)))
    turns = sorted(turn for batch in batches for turn in batch)
    assert len(turns) == 100
    assert min(later - earlier for earlier, later in itertools.pairwise(turns)) >= timedelta(seconds=gap)
    # No turn is wasted while workers wait.
    assert turns[-1] - turns[0] == timedelta(seconds=99 * gap)


async def test_an_idle_gateway_has_its_next_turn_now_and_saves_up_no_others(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await pool.execute(SET_NEXT, timedelta(hours=-1))
    before = await pool.fetchval("SELECT clock_timestamp()")
    first, second = await _reserve(pool, 2, 0.5)
    assert before <= first < await pool.fetchval("SELECT clock_timestamp()")
    assert second - first == timedelta(seconds=0.5)
    seconds = await pool.fetchval(queries.RESERVE_TURNS, "g", 0.5, column=1)
    assert 0.0 < seconds <= 1.0


async def test_two_workers_on_one_queue_take_their_turns_from_one_row(mail_database: Clone) -> None:
    pool, per_second, count = mail_database.database.pool, 1000.0, 60
    await insert_mails(pool, count)
    started = await pool.fetchval(SET_NEXT, timedelta())
    other = await open_database(DatabaseOptions(mail_database.runtime_url, "other"))
    async with scripted_smtp() as server:
        settings = GatewaySettings("g", "127.0.0.1", server.port, Tls.NONE, connections=2, per_second=per_second)
        rigs = []
        for each in (pool, other.pool):
            limit = GatewayRateLimit(each, "g", per_second)
            rigs.append(make_rig(each, [SmtpGateway(settings, Timeouts(20, 20), "w.example", rate_limit=limit)]))
        await asyncio.gather(*(rig.deliver() for rig in rigs))
        assert await states(mail_database.database) == {"sent": count}
        # Each mail moved the one row on by its gap, so any number of workers keeps the rate.
        assert await pool.fetchval(NEXT) >= started + count * timedelta(seconds=1 / per_second)
        for rig in rigs:
            await rig.close()
    await other.close()


async def test_a_mail_without_a_turn_is_not_tried_and_not_counted(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    closed = await open_database(DatabaseOptions(mail_database.runtime_url, "closed"))
    closed.pool.terminate()
    async with scripted_smtp() as server:
        settings = GatewaySettings("g", "127.0.0.1", server.port, Tls.NONE)
        limit = GatewayRateLimit(closed.pool, "g", 1000)
        rig = make_rig(pool, [SmtpGateway(settings, Timeouts(20, 20), "w.example", rate_limit=limit)])
        await rig.delivery.run_once()
        await rig.finish()
        await rig.close()
    row = await pool.fetchrow("SELECT state, attempts, failure_reason FROM mails WHERE id = $1", mail_id)
    assert row is not None
    assert tuple(row) == ("queued", 0, "nothing sent: the gateway's rate could not be reserved")
    await closed.close()
