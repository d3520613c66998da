"""The mail service's metrics of the queue, of delivery and of uncertain mails."""

from typing import Any

import orjson

from services.mail import worker
from services.mail.process_names import WORKER
from services.mail.settings import Settings
from shared.worker.heartbeats import BEAT, Heartbeat
from tests.support.apis import Api
from tests.support.databases import Clone
from tests.support.mails import insert_mails
from tests.support.metrics import NONE, labels, scrape
from tests.support.scripted_smtp import scripted_smtp
from tests.support.stack import eventually

PREFIX = "counterfoil_mail_"
DETAIL: dict[str, Any] = {
    "listening": False,
    "in_flight": 3,
    "lease_lost": 1,
    "rescued": 2,
    "outcomes": {"accepted": 9, "try_later": 4},
    "states": {"sent": 9, "canceled": 1},
    "gateways": [
        {
            "name": "main",
            "breaker": "open",
            "last_fault": "x",
            "in_flight": 1,
            "connections": 8,
            "connections_allowed": 3,
            "connections_open": 2,
        }
    ],
}


async def test_the_queue_is_counted_by_lane_with_the_age_of_its_oldest_due_mail(mail_api: Api) -> None:
    pool = mail_api.database.pool
    await insert_mails(pool, 3)
    (bulk,) = await insert_mails(pool, 1, lane="bulk")
    await pool.execute("UPDATE queue SET due_at = now() - interval '100 s' WHERE mail_id = $1", bulk)
    (leased, *_) = await insert_mails(pool, 1)
    await pool.execute("UPDATE queue SET lease = mail_id, due_at = now() - interval '1 h' WHERE mail_id = $1", leased)

    series = await scrape(mail_api.operations)

    assert series[PREFIX + "queue_mails"] == {
        labels(lane="live", state="waiting"): 3,
        labels(lane="live", state="leased"): 1,
        labels(lane="bulk", state="waiting"): 1,
        labels(lane="bulk", state="leased"): 0,
    }
    ages = series[PREFIX + "queue_oldest_due_age_seconds"]
    assert 100 <= ages[labels(lane="bulk")] < 3600
    assert ages[labels(lane="live")] < 100


async def test_uncertain_mails_are_counted_with_the_age_of_the_oldest(mail_api: Api) -> None:
    pool = mail_api.database.pool
    assert (await scrape(mail_api.operations))[PREFIX + "uncertain_oldest_age_seconds"] == {NONE: 0}
    ids = await insert_mails(pool, 2)
    await pool.execute(
        """
        INSERT INTO attempts (mail_id, n, lease, phase, outcome, transmitting_at, ended_at)
        SELECT id, 1, id, 'ended', 'unknown', now(), now() - interval '1 h' FROM unnest($1::uuid[]) AS id
        """,
        ids,
    )
    await pool.execute(
        "UPDATE mails SET state = 'uncertain', next_attempt_at = NULL, failure_reason = 'x' WHERE id = ANY ($1)", ids
    )

    async def uncertain() -> tuple[float, float]:
        series = await scrape(mail_api.operations)
        return series[PREFIX + "uncertain_mails"][NONE], series[PREFIX + "uncertain_oldest_age_seconds"][NONE]

    # Answers are cached for a second.
    _count, age = await eventually(uncertain, lambda found: found[0] == 2)
    assert 3600 <= age < 7200


async def test_the_last_heartbeat_of_the_worker_is_shown_by_gateway(mail_api: Api) -> None:
    await mail_api.database.pool.execute(BEAT, WORKER, "here:7", orjson.dumps(DETAIL).decode())

    series = await scrape(mail_api.operations)

    def value(name: str, **more: str) -> float:
        return series[PREFIX + name][labels(worker="here:7", **more)]

    assert (value("listener_up"), value("in_flight"), value("rescued_total"), value("lease_lost_total")) == (0, 3, 2, 1)
    assert (value("attempts_total", outcome="accepted"), value("attempts_total", outcome="refused")) == (9, 0)
    assert [value("mails_total", state=state) for state in ("sent", "canceled", "failed")] == [9, 1, 0]
    gateway = {"gateway": "main"}
    assert value("breaker_state", **gateway) == 2
    assert (value("gateway_in_flight", **gateway), value("gateway_connections", **gateway)) == (1, 8)
    assert (value("gateway_connections_allowed", **gateway), value("gateway_connections_open", **gateway)) == (3, 2)


async def test_a_worker_counts_the_mails_that_it_finished(mail_database: Clone, mail_api: Api) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 5)
    await insert_mails(pool, 2, expires_in_seconds=-1)
    async with scripted_smtp() as server:
        settings = Settings(
            mail_runtime_database_url=mail_database.runtime_url,
            mail_gateways=f"smtp://127.0.0.1:{server.port}?name=scripted&connections=2",
            redis_url="redis://127.0.0.1:1/0",
        )
        parts = await worker.assemble(settings)
        await parts.expiry.run_once()
        await insert_mails(pool, 1, expires_in_seconds=-1)
        await parts.delivery.run_once()
        await parts.delivery.drain(30)
        await Heartbeat(pool, WORKER, parts.detail).run_once()
        await parts.recorder.close()
        await parts.gateways.close()
        await parts.database.close()

    series = await scrape(mail_api.operations)

    finished: dict[str, float] = {}
    for label_set, value in series[PREFIX + "mails_total"].items():
        finished[dict(label_set)["state"]] = value
    assert (finished["sent"], finished["expired"], finished["failed"]) == (5, 3, 0)
