"""The whole worker without its process: loops, wake-ups, outages and shutdown."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson
import pytest
from arq.connections import RedisSettings
from structlog.testing import capture_logs

from local.ports import pick_free
from services.mail import worker
from services.mail.process_names import QUEUE_CHANNEL, WORKER
from services.mail.settings import Settings
from shared.contract.configuration import ConfigurationError
from shared.worker import arq_host
from shared.worker.arq_host import redis_settings, run_arq
from shared.worker.schedule import CronWakeup, WakeupFanout
from tests.support.databases import Clone
from tests.support.delivery import make_rig, smtp_gateway
from tests.support.mails import attempt_rows, insert_mails, mail_row, queue_row, states
from tests.support.scripted_smtp import Misbehavior, ScriptedSmtp, scripted_smtp
from tests.support.stack import eventually
from tests.support.tcp_forwarder import Forwarder

LISTENING = "SELECT detail->>'listening' FROM heartbeats WHERE process = 'mail-worker'"
PARTITIONS = "SELECT max(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'history'::regclass"
LISTENS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND query LIKE 'LISTEN%'"


def settings_for(database_url: str, server: ScriptedSmtp, **overrides: Any) -> Settings:
    return Settings(
        **{
            "mail_runtime_database_url": database_url,
            "mail_gateways": f"smtp://127.0.0.1:{server.port}?name=scripted&connections=2",
            "redis_url": f"redis://127.0.0.1:{pick_free()}/0",  # no server there: the loops must run without it
            "mail_ehlo_name": "worker.example",
            **overrides,
        }
    )


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[worker.Parts]:
    parts = await worker.assemble(settings)
    stop = asyncio.Event()
    serving = asyncio.create_task(worker.serve(parts, settings, stop))
    try:
        yield parts
    finally:
        stop.set()
        parts.queue_ping.set()
        await serving


async def test_a_worker_delivers_and_sends_heartbeats_while_valkey_is_down(
    mail_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_HEARTBEAT_SECONDS", 0.05)
    pool = mail_database.database.pool
    await insert_mails(pool, 25)

    async with scripted_smtp() as server, working(settings_for(mail_database.runtime_url, server)):
        await eventually(lambda: states(mail_database.database), lambda found: found == {"sent": 25})
        await eventually(lambda: pool.fetchval(LISTENING), lambda listening: listening == "true")
    detail = orjson.loads(await pool.fetchval("SELECT detail::text FROM heartbeats"))
    (gateway,) = detail["gateways"]
    assert (gateway["name"], gateway["breaker"]) == ("scripted", "closed")
    assert len(server.accepted) == 25


async def test_a_worker_outlives_every_arq_that_valkey_takes_down(
    mail_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    died: list[str] = []

    def impatient(url: str, *, patient: bool) -> RedisSettings:
        died.append(url)
        return redis_settings(url, patient=not patient)

    async def deaths() -> int:
        return len(died)

    monkeypatch.setattr(arq_host, "redis_settings", impatient)
    monkeypatch.setattr(arq_host, "full_jitter", lambda *_, **__: 0.01)
    async with scripted_smtp() as server, working(settings_for(mail_database.runtime_url, server)):
        await eventually(deaths, lambda count: count > 3)
        await insert_mails(mail_database.database.pool)
        await eventually(lambda: states(mail_database.database), lambda found: found == {"sent": 1})


async def test_a_wake_up_starts_delivery_long_before_the_next_poll(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    async with scripted_smtp() as server:
        settings = settings_for(mail_database.runtime_url, server, mail_poll_seconds=3600)
        async with working(settings) as parts:
            assert parts.listener is not None
            await eventually(lambda: pool.fetchval(LISTENS, WORKER), bool)
            await insert_mails(pool)
            await pool.execute("SELECT pg_notify($1, '')", QUEUE_CHANNEL)
            async with asyncio.timeout(60):
                await server.dot_seen.wait()


async def test_a_poll_only_worker_never_listens(mail_database: Clone) -> None:
    async with scripted_smtp() as server:
        settings = settings_for(mail_database.runtime_url, server, wakeup="poll", mail_poll_seconds=0.02)
        async with working(settings) as parts:
            assert parts.listener is None
            await insert_mails(mail_database.database.pool)
            async with asyncio.timeout(60):
                await server.dot_seen.wait()


# arq 0.28 closes its pool by a name that redis-py 5 has deprecated; as an error it would leave the pool open.
@pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning")
async def test_arq_wakes_loops_at_the_times_of_its_cron(redis_url: str) -> None:
    stop, wakeup = asyncio.Event(), WakeupFanout()
    woken = wakeup.subscribe()
    every_second = CronWakeup("wake_test", wakeup, second=set(range(60)))
    running = asyncio.create_task(
        run_arq(redis_url=redis_url, queue_name="test", wakeups=[every_second], stop=stop, poll_seconds=0.1)
    )
    async with asyncio.timeout(60):
        await woken.wait()
    stop.set()
    await running


async def test_the_worker_makes_the_partitions_of_future_months(mail_database: Clone) -> None:
    owner = await asyncpg.connect(mail_database.owner_url)
    newest = await owner.fetchval(PARTITIONS)
    await owner.execute(f"DROP TABLE {newest}")
    async with scripted_smtp() as server, working(settings_for(mail_database.runtime_url, server)):
        await eventually(lambda: owner.fetchval(PARTITIONS), lambda found: found == newest)
    await owner.close()


async def test_a_worker_waits_for_a_database_that_is_down_when_it_starts(mail_database: Clone) -> None:
    forwarder = Forwarder(mail_database.runtime_url)
    await insert_mails(mail_database.database.pool)
    async with scripted_smtp() as server, working(settings_for(forwarder.url, server)):
        assert not server.connections
        await forwarder.open()
        async with asyncio.timeout(60):
            await server.dot_seen.wait()
    await forwarder.shut()
    assert await states(mail_database.database) == {"sent": 1}


async def test_a_mail_accepted_during_an_outage_of_the_database_is_sent_and_not_uncertain(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    forwarder = Forwarder(mail_database.runtime_url)
    await forwarder.open()
    await insert_mails(pool)
    answer = asyncio.Event()

    async with scripted_smtp() as server:
        server.before_dot_reply = answer.wait  # not before the database has gone
        # Leases so short that they have expired when the database is back.
        async with working(settings_for(forwarder.url, server, mail_lease_seconds=0.6)) as parts:
            async with asyncio.timeout(60):
                await server.dot_seen.wait()
            await forwarder.shut()
            answer.set()
            await pool.execute("UPDATE queue SET due_at = now() - interval '1 hour'")
            await forwarder.open()
            await eventually(lambda: states(mail_database.database), lambda found: found == {"sent": 1})
            assert parts.leases.lost == 0
    await forwarder.shut()


async def test_a_drain_lets_mails_in_flight_finish(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 30)
    async with scripted_smtp() as server:
        async with working(settings_for(mail_database.runtime_url, server)):
            await server.dot_seen.wait()
        found = await states(mail_database.database)
    assert found.get("sent") == len(server.accepted)
    assert set(found) <= {"sent", "queued"}
    assert await pool.fetchval("SELECT count(*) FROM queue WHERE lease IS NOT NULL") == 0


async def test_mails_that_outlast_the_drain_are_released_or_left_on_record(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    ids = await insert_mails(pool, 5)
    async with scripted_smtp({"dot": Misbehavior.HANG}) as server:
        rig = make_rig(pool, [smtp_gateway(server.port, connections=1)])
        await rig.delivery.run_once()
        await server.dot_seen.wait()
        await rig.delivery.drain(0)
        await rig.close()
    in_transmission = server.received[0].recipient.partition("@")[0]
    for mail_id in ids:
        attempts = await attempt_rows(pool, mail_id)
        if mail_id.hex == in_transmission:
            assert [attempt["phase"] for attempt in attempts] == ["transmitting"]
            assert (await mail_row(pool, mail_id))["state"] == "sending"
            continue
        assert attempts == [], "they waited for the connection and were never offered"
        mail, row = await mail_row(pool, mail_id), await queue_row(pool, mail_id)
        assert row is not None
        assert (mail["state"], mail["attempts"], row["lease"], row["due"]) == ("queued", 0, None, True)


async def test_a_drain_ends_although_the_database_is_down(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool)
    async with scripted_smtp() as server:
        rig = make_rig(pool, [smtp_gateway(server.port)])
        rig.recorder._endings._write = _unreachable  # the database, gone for good
        await rig.delivery.run_once()
        await server.dot_seen.wait()
        await rig.delivery.drain(0, write_seconds=0.05)
        await rig.close()
    assert await states(mail_database.database) == {"sending": 1}


async def _unreachable(_items: object) -> set[Any]:
    raise ConnectionRefusedError


async def test_the_worker_says_its_full_host_name_and_warns_when_it_has_none(
    mail_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {}
    for host in ("localhost", "mx1.example.com"):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        await insert_mails(mail_database.database.pool)
        async with scripted_smtp() as server:
            with capture_logs() as logs:
                async with working(settings_for(mail_database.runtime_url, server, mail_ehlo_name="")):
                    async with asyncio.timeout(60):
                        await server.dot_seen.wait()
        warned = [line["ehlo_name"] for line in logs if line["event"] == "ehlo_name_is_not_a_full_host_name"]
        said[server.commands[0]] = warned
    assert said == {"EHLO localhost": ["localhost"], "EHLO mx1.example.com": []}


async def test_a_ca_file_that_is_missing_ends_the_worker_before_it_connects(mail_database: Clone) -> None:
    settings = Settings(
        mail_runtime_database_url=mail_database.runtime_url,
        mail_gateways="smtps://mail.example?name=own&ca=/nowhere/ca.pem",
    )
    with pytest.raises(ConfigurationError, match=r"gateway own: ca=/nowhere/ca\.pem: No such file"):
        await worker.assemble(settings)


async def test_invalid_gateway_settings_end_the_worker_at_once(mail_database: Clone) -> None:
    with pytest.raises(ValueError, match="MAIL_GATEWAYS"):
        await worker.assemble(Settings(mail_runtime_database_url=mail_database.runtime_url, mail_gateways="ftp://x"))
