"""A gateway that lets in fewer connections than `MAIL_GATEWAYS` asks for (ADR 0023)."""

import asyncio

import pytest
from structlog.testing import capture_logs

from services.mail.delivery.gateways import connection_pool as pool_module
from services.mail.delivery.gateways.other_workers import OtherWorkers
from services.mail.process_names import WORKER
from shared.db.pool import Pool
from shared.worker.circuit_breaker import BreakerState
from shared.worker.heartbeats import Heartbeat
from tests.support.databases import Clone
from tests.support.delivery import Rig, make_rig, smtp_gateway
from tests.support.mails import attempt_rows, insert_mails, mail_row, queue_row, states
from tests.support.scripted_smtp import ScriptedSmtp, Slowly, scripted_smtp

TOO_MANY = "4.7.0 Too many concurrent SMTP connections"
WAYS = [
    ("banner", f"421 {TOO_MANY}"),
    ("banner", "450 4.7.1 Error: too many connections from 192.0.2.1"),
    ("banner", "421 4.3.2 closing"),
    ("EHLO", f"421 {TOO_MANY}"),
    ("MAIL", f"421 {TOO_MANY}"),
    ("MAIL", "451 4.3.2 Concurrent connections limit exceeded"),
]


def narrow_rig(pool: Pool, server: ScriptedSmtp, *, connections: int = 8) -> Rig:
    return make_rig(pool, [smtp_gateway(server.port, connections=connections)])


async def attempts_written(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM attempts"))


@pytest.mark.parametrize("pipelining", [(), ("PIPELINING",)], ids=["one by one", "pipelined"])
@pytest.mark.parametrize(("step", "reply"), WAYS)
async def test_a_gateway_that_lets_in_three_connections_gets_every_mail_in_one_attempt(
    step: str, reply: str, pipelining: tuple[str, ...], mail_database: Clone
) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 404)
    async with scripted_smtp(extensions=pipelining) as server:
        server.lets_in, server.turns_away_at, server.turns_away_with = 3, step, reply
        rig = narrow_rig(pool, server)
        with capture_logs() as logs:
            await rig.deliver()
        (route,) = rig.gateways.routes
        assert (route.describe()["connections"], route.describe()["connections_allowed"]) == (8, 3)
        assert (route.breaker.state, route.breaker.last_fault) == (BreakerState.CLOSED, None)
        await rig.close()
    assert server.turned_away
    assert await states(mail_database.database) == {"sent": 404}
    assert len(server.accepted) == 404
    assert await attempts_written(pool) == 404
    assert await pool.fetchval("SELECT count(*) FROM history") == 404
    lowered = [line for line in logs if line["event"] == "gateway_connections_lowered"]
    assert [(line["connections"], line["wanted"]) for line in lowered] == [(3, 8)]
    assert reply[:3] in lowered[0]["reason"]


async def test_a_gateway_that_lets_in_all_connections_gets_them_all(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 100)
    async with scripted_smtp() as server:
        server.lets_in = 8
        rig = narrow_rig(pool, server)
        await rig.deliver()
        assert rig.gateways.routes[0].describe()["connections_allowed"] == 8
        assert rig.gateways.routes[0].describe()["connections_open"] == 8
        await rig.close()
    assert (server.turned_away, server.most_open) == (0, 8)
    assert await attempts_written(pool) == 100


@pytest.mark.parametrize(("step", "reply"), WAYS)
async def test_the_breaker_opens_when_no_connection_can_be_had(step: str, reply: str, mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 40)
    async with scripted_smtp() as server:
        server.lets_in, server.turns_away_at, server.turns_away_with = 0, step, reply
        rig = narrow_rig(pool, server)
        await rig.deliver()
        breaker = rig.gateways.routes[0].breaker
        await rig.close()
    assert breaker.state is BreakerState.OPEN
    assert breaker.last_fault is not None
    assert reply[:3] in breaker.last_fault
    assert await states(mail_database.database) == {"queued": 40}
    assert await pool.fetchval("SELECT sum(attempts) FROM mails") == 0
    # The gateway saw no mail. A connection that fails without those words is an attempt; mails that waited have none.
    assert await attempts_written(pool) <= (8 if "closing" in reply else 0)
    assert await pool.fetchval("SELECT count(*) FROM queue WHERE lease IS NULL AND due_at <= now()") == 40


async def test_a_gateway_that_stops_letting_connections_in_is_down_once_the_last_one_has_ended(
    mail_database: Clone,
) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 30)
    async with scripted_smtp() as server:
        server.lets_in = 3
        rig = narrow_rig(pool, server)
        await rig.deliver()
        server.lets_in = 0
        for writer in list(server.writers):
            writer.transport.abort()
        await insert_mails(pool, 30)
        await rig.deliver()
        breaker = rig.gateways.routes[0].breaker
        await rig.close()
    assert breaker.state is BreakerState.OPEN
    assert await states(mail_database.database) == {"sent": 30, "queued": 30}


async def test_more_connections_are_used_again_when_the_gateway_lets_them_in(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    async with scripted_smtp() as server:
        server.lets_in = 2
        rig = narrow_rig(pool, server, connections=4)
        limit = rig.gateways.routes[0].limit
        now = 0.0
        limit._clock = lambda: now
        await insert_mails(pool, 50)
        await rig.deliver()
        turned_away = server.turned_away
        assert limit.allowed == 2
        await insert_mails(pool, 50)
        await rig.deliver()
        assert server.turned_away == turned_away, "none is tried during the pause"
        server.lets_in = 4
        with capture_logs() as logs:
            for now, allowed in ((1.0, 3), (1.5, 3), (2.0, 4)):  # noqa: B007 - the clock reads it
                await insert_mails(pool, 50)
                await rig.deliver()
                assert limit.allowed == allowed
        await rig.close()
    assert [line["connections"] for line in logs if line["event"] == "gateway_connections_raised"] == [3, 4]
    assert await states(mail_database.database) == {"sent": 250}
    assert await attempts_written(pool) == 250


async def test_a_connection_that_is_replaced_after_its_last_mail_is_not_turned_away(
    mail_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_TRANSACTIONS_PER_CONNECTION", 5)
    pool = mail_database.database.pool
    await insert_mails(pool, 100)
    # The server counts a connection until its QUIT is answered.
    async with scripted_smtp({"QUIT": Slowly("221 good-bye, and thank you for all the mails")}) as server:
        server.lets_in = 3
        rig = narrow_rig(pool, server, connections=3)
        await rig.deliver()
        await rig.close()
    assert server.connections >= 100 // 5
    assert server.turned_away == 0
    assert await attempts_written(pool) == 100


async def test_a_gateway_that_ends_each_session_after_ten_mails_and_lets_in_three_gets_every_mail(
    mail_database: Clone,
) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 100)
    async with scripted_smtp({"MAIL": ([None] * 10 + ["421 4.7.0 enough for this session"]) * 20}) as server:
        server.lets_in = 3
        rig = narrow_rig(pool, server)
        await rig.deliver()
        assert rig.gateways.routes[0].breaker.state is BreakerState.CLOSED
        await rig.close()
    assert await states(mail_database.database) == {"sent": 100}


async def test_mails_wait_for_the_preferred_gateway_while_it_has_connections_open(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 40)
    async with scripted_smtp() as first, scripted_smtp() as second:
        first.lets_in = 1
        gateways = [smtp_gateway(first.port, name="first", connections=4), smtp_gateway(second.port, name="second")]
        rig = make_rig(pool, gateways)
        await rig.deliver()
        await rig.close()
    assert (len(first.accepted), len(second.accepted)) == (40, 0)


async def test_the_next_gateway_is_tried_when_the_first_lets_in_no_connection(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    async with scripted_smtp() as first, scripted_smtp() as second:
        first.lets_in = 0
        rig = make_rig(pool, [smtp_gateway(first.port, name="first"), smtp_gateway(second.port, name="second")])
        await rig.deliver()
        await rig.close()
    assert first.turned_away == 1
    assert [(row["gateway"], row["outcome"]) for row in await attempt_rows(pool, mail_id)] == [("second", "accepted")]


class Crew:
    """Two workers on one database. Each reports its connections as the worker process does."""

    def __init__(self, pool: Pool, server: ScriptedSmtp) -> None:
        self.pool = pool
        self.first, self.second = narrow_rig(pool, server), narrow_rig(pool, server)
        (route,) = self.second.gateways.routes
        others = OtherWorkers(pool)
        others._own = f"{WORKER}/second:1"
        route._connected_elsewhere = others.are_connected

    async def first_beats(self) -> None:
        detail = {"gateways": [route.describe() for route in self.first.gateways.routes]}
        await Heartbeat(self.pool, WORKER, lambda: detail).run_once()

    async def close(self) -> None:
        await self.first.close()
        await self.second.close()


async def test_a_worker_finds_no_fault_while_another_worker_has_all_connections(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    async with scripted_smtp() as server:
        server.lets_in = 3
        crew = Crew(pool, server)
        await insert_mails(pool, 50)
        await crew.first.deliver()
        await crew.first_beats()

        await insert_mails(pool, 50)
        (route,) = crew.second.gateways.routes
        await crew.second.deliver()
        assert (route.breaker.state, route.breaker.last_fault, route.limit.allowed) == (BreakerState.CLOSED, None, 0)
        assert await states(mail_database.database) == {"sent": 50, "queued": 50}
        assert await attempts_written(pool) == 50
        assert route.limit.lets_through is False
        assert not await crew.second.delivery.run_once(), "it claims nothing that it cannot send"

        await crew.first.deliver()
        await crew.close()
    assert await states(mail_database.database) == {"sent": 100}
    assert await attempts_written(pool) == 100


async def test_two_workers_that_start_together_share_what_the_gateway_allows(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 404)
    async with scripted_smtp() as server:
        server.lets_in = 3
        crew = Crew(pool, server)
        while await pool.fetchval("SELECT count(*) FROM queue"):
            await asyncio.gather(crew.first.deliver(), crew.second.deliver())
        used = [rig.gateways.routes[0].describe()["connections_open"] for rig in (crew.first, crew.second)]
        await crew.close()
    assert server.turned_away
    assert 1 <= sum(used) <= 3
    assert await states(mail_database.database) == {"sent": 404}
    assert await attempts_written(pool) == len(server.accepted) == 404


async def test_a_worker_that_waited_takes_over_when_the_other_one_has_gone(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    async with scripted_smtp() as server:
        server.lets_in = 3
        crew = Crew(pool, server)
        await insert_mails(pool, 20)
        await crew.first.deliver()
        await crew.first_beats()
        (route,) = crew.second.gateways.routes
        await insert_mails(pool, 20)
        await crew.second.deliver()
        await crew.first.close()
        now = route.limit._trial_at
        route.limit._clock = lambda: now
        await crew.second.deliver()  # one mail goes ahead as the trial
        assert route.limit.allowed == 1
        await crew.second.deliver()
        await crew.close()
    assert await states(mail_database.database) == {"sent": 40}
    assert await attempts_written(pool) == 40


async def test_a_worker_whose_heartbeat_is_old_has_no_connections(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    others = OtherWorkers(pool)
    detail = {"gateways": [{"name": "scripted", "connections_open": 3}, {"name": "idle", "connections_open": 0}]}
    await Heartbeat(pool, WORKER, lambda: detail).run_once()
    assert not await others.are_connected("scripted"), "its own heartbeat is not another worker's"
    others._own = f"{WORKER}/other:1"
    assert await others.are_connected("scripted")
    assert not await others.are_connected("idle")
    assert not await others.are_connected("unknown")
    await pool.execute("UPDATE heartbeats SET at = now() - interval '20 seconds'")
    assert not await others.are_connected("scripted")


async def test_a_mail_that_was_never_offered_waits_as_if_it_had_not_been_claimed(
    mail_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = mail_database.database.pool
    (fresh, deferred) = await insert_mails(pool, 2)
    await pool.execute(
        "UPDATE mails SET state = 'deferred', attempts = 1, failure_reason = 'deferred with 450 at RCPT' WHERE id = $1",
        deferred,
    )
    await pool.execute("UPDATE queue SET attempt = 1 WHERE mail_id = $1", deferred)
    rig = make_rig(pool, [smtp_gateway(1)])
    rig.gateways.routes[0].limit.turned_away(0, "too many connections (421 at connect)")
    monkeypatch.setattr(rig.gateways, "allowance", lambda wanted: wanted)  # as before the limit was lowered
    await rig.delivery.run_once()
    await rig.finish()
    await rig.close()
    for mail_id, state, attempt in ((fresh, "queued", 0), (deferred, "deferred", 1)):
        row = await queue_row(pool, mail_id)
        assert row is not None
        assert (row["lease"], row["due"], row["attempt"]) == (None, True, attempt)
        assert (await mail_row(pool, mail_id))["state"] == state
        assert await attempt_rows(pool, mail_id) == []
    assert rig.leases.lost == 0


@pytest.mark.parametrize(
    ("announced", "state"), [("SIZE 100", "failed"), ("SIZE 100000", "sent"), ("SIZE 0", "sent"), ("SIZE", "sent")]
)
async def test_a_mail_larger_than_the_announced_size_fails_before_its_body_travels(
    announced: str, state: str, mail_database: Clone
) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool, text="x" * 500)
    async with scripted_smtp(extensions=(announced,)) as server:
        rig = narrow_rig(pool, server)
        await rig.deliver()
        await rig.close()
    mail, (attempt,) = await mail_row(pool, mail_id), await attempt_rows(pool, mail_id)
    assert mail["state"] == state
    if state == "failed":
        assert "takes at most 100" in mail["failure_reason"]
        assert (attempt["outcome"], attempt["gateway"]) == ("refused", "scripted")
        assert not any(command.startswith(("MAIL", "DATA")) for command in server.commands)
        assert await pool.fetchval("SELECT count(*) FROM suppressions") == 0
