"""What signup's `/metrics` says of the outbox, of its worker and of the database."""

import asyncpg
import orjson
import pytest
from prometheus_client import CollectorRegistry

from services.signup.audit.stage_metrics import BOOK
from services.signup.names import WORKER
from shared.db.pool import DatabaseOptions, open_database
from shared.observability import stage_metrics
from shared.observability.stage_metrics import StageMetrics
from shared.worker.heartbeats import BEAT, Heartbeat, process_name
from tests.support.apis import Api
from tests.support.databases import Clone
from tests.support.metrics import NONE, labels, scrape
from tests.support.signups import SignupLedger

PREFIX = "counterfoil_signup_"


def said(breaker: str = "closed", **rows: int) -> dict[str, object]:
    return {"listening": True, "effects": {"mail": {"breaker": breaker, "last_fault": "asa@example.org", "rows": rows}}}


async def test_the_outbox_is_counted_by_effect_and_state_and_its_oldest_due_row_is_told(
    signup_api: Api, ledger: SignupLedger
) -> None:
    await ledger.sign_up("asa@example.org", "bo@example.org", "cy@example.org", "di@example.org")
    first, second, third, fourth = [row["id"] for row in await ledger.rows("outbox", effect="mail")]
    await ledger.run("UPDATE outbox SET state = 'leased', lease = id, due_at = now() + '1 h' WHERE id = $1", first)
    await ledger.run(
        "UPDATE outbox SET state = 'dead', due_at = NULL, dead_at = now(), last_error = 'x' WHERE id = $1", second
    )
    # Written long ago, due just now: an outage handed it back without a verdict.
    await ledger.run("UPDATE outbox SET created_at = now() - interval '100 s' WHERE id = $1", third)
    await ledger.run("UPDATE outbox SET created_at = now() - interval '900 s', attempts = 1 WHERE id = $1", fourth)

    seen = await scrape(signup_api.http)

    rows = seen[PREFIX + "outbox_rows"]
    assert {state: rows[labels(effect="mail", state=state)] for state in ("pending", "leased", "dead")} == {
        "pending": 2,
        "leased": 1,
        "dead": 1,
    }
    assert 100 <= seen[PREFIX + "outbox_oldest_due_age_seconds"][labels(effect="mail")] < 900
    assert seen[PREFIX + "outbox_oldest_due_age_seconds"][labels(effect="erase_mail")] == 0


async def test_what_the_worker_said_last_is_shown_under_its_own_name(signup_api: Api, ledger: SignupLedger) -> None:
    beat = Heartbeat(ledger.pool, WORKER, lambda: said("open", delivered=7, lease_lost=2))
    await beat.run_once()
    await ledger.run(BEAT, WORKER, "other:1", orjson.dumps(said("half_open", delivered=1)).decode())

    seen = await scrape(signup_api.http)

    me = process_name()
    assert seen[PREFIX + "workers"] == {NONE: 2}
    assert 0 <= seen[PREFIX + "worker_heartbeat_age_seconds"][NONE] < 60
    assert seen[PREFIX + "listener_up"] == {labels(worker=me): 1, labels(worker="other:1"): 1}
    assert seen[PREFIX + "breaker_state"] == {
        labels(worker=me, effect="mail"): 2,
        labels(worker="other:1", effect="mail"): 1,
    }
    relayed = seen[PREFIX + "relay_rows_total"]
    assert relayed[labels(worker=me, effect="mail", outcome="delivered")] == 7
    assert relayed[labels(worker="other:1", effect="mail", outcome="delivered")] == 1
    assert relayed[labels(worker=me, effect="mail", outcome="dead")] == 0
    assert seen[PREFIX + "relay_lease_lost_total"][labels(worker=me, effect="mail")] == 2


async def test_a_worker_that_fell_silent_shows_its_age_and_none_of_its_old_numbers(
    signup_api: Api, ledger: SignupLedger
) -> None:
    await Heartbeat(ledger.pool, WORKER, said).run_once()
    await ledger.run("UPDATE heartbeats SET at = at - interval '10 minutes'")

    seen = await scrape(signup_api.http)

    assert 600 <= seen[PREFIX + "worker_heartbeat_age_seconds"][NONE] < 900
    assert seen[PREFIX + "workers"] == {NONE: 0}
    assert PREFIX + "breaker_state" not in seen


async def test_a_beat_forgets_processes_that_were_silent_for_an_hour_and_no_others(ledger: SignupLedger) -> None:
    for name, minutes in (("gone:1", 61), ("quiet:1", 59), (process_name(), 120)):
        await ledger.run(BEAT, WORKER, name, "{}")
        await ledger.run(
            "UPDATE heartbeats SET at = now() - make_interval(mins => $2) WHERE process = $1",
            f"{WORKER}/{name}",
            minutes,
        )

    await Heartbeat(ledger.pool, WORKER, said).run_once()

    left = {row["process"] for row in await ledger.pool.fetch("SELECT process FROM heartbeats")}
    assert left == {WORKER, f"{WORKER}/quiet:1", f"{WORKER}/{process_name()}"}


async def test_an_open_transaction_and_the_hot_tables_are_told(signup_api: Api, signup_database: Clone) -> None:
    connection = await asyncpg.connect(signup_database.runtime_url)
    async with connection.transaction():
        await connection.execute("SELECT pg_sleep(0.01)")
        seen = await scrape(signup_api.http)
    await connection.close()

    assert seen[PREFIX + "database_oldest_transaction_age_seconds"][NONE] >= 0.01
    assert labels(table="outbox") in seen[PREFIX + "database_dead_rows"]
    assert labels(table="users") in seen[PREFIX + "database_live_rows"]


async def test_nothing_personal_stands_in_the_metrics(signup_api: Api, ledger: SignupLedger) -> None:
    await ledger.sign_up("asa@example.org")
    await Heartbeat(ledger.pool, WORKER, lambda: said("open")).run_once()
    assert "asa@" not in (await signup_api.http.get("/metrics")).text


async def test_without_its_database_the_process_still_shows_its_own_numbers() -> None:
    registry = CollectorRegistry()
    stages = StageMetrics(registry, BOOK)
    database = await open_database(DatabaseOptions("postgresql://x:x@127.0.0.1:1/x", "test"))

    await stages.refresh(database.pool)
    await database.close()

    shown = {sample.name: sample.value for family in registry.collect() for sample in family.samples}
    assert shown == {PREFIX + "database_up": 0}


async def test_a_ledger_that_cannot_be_read_any_more_leaves_no_old_numbers_behind(
    signup_api: Api, signup_database: Clone, ledger: SignupLedger
) -> None:
    timestamps = iter([0.0, 10.0, 20.0, 30.0, 40.0])
    registry = CollectorRegistry()
    stages = StageMetrics(registry, BOOK, clock=lambda: next(timestamps))
    await stages.refresh(ledger.pool)
    assert registry.get_sample_value(PREFIX + "workers") == 0

    owner = await asyncpg.connect(signup_database.owner_url)
    await owner.execute("REVOKE SELECT ON outbox FROM signup_app")
    await owner.close()
    await stages.refresh(ledger.pool)

    assert registry.get_sample_value(PREFIX + "database_up") == 0
    assert registry.get_sample_value(PREFIX + "workers") is None
    assert (await scrape(signup_api.http))[PREFIX + "database_up"] == {NONE: 0}


async def test_a_database_that_hangs_is_given_up_and_asked_again_later(
    signup_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    timestamps = iter([0.0, 10.0, 20.0, 30.0])
    registry = CollectorRegistry()
    stages = StageMetrics(registry, BOOK, clock=lambda: next(timestamps))
    owner = await asyncpg.connect(signup_database.owner_url)
    async with owner.transaction():
        await owner.execute("LOCK TABLE outbox")
        with monkeypatch.context() as patched:
            patched.setattr(stage_metrics, "_PATIENCE_SECONDS", 0.2)
            await stages.refresh(signup_database.database.pool)
        assert registry.get_sample_value(PREFIX + "database_up") == 0
    await owner.close()

    await stages.refresh(signup_database.database.pool)
    assert registry.get_sample_value(PREFIX + "database_up") == 1


async def test_the_database_is_asked_once_a_second_however_often_the_metrics_are(ledger: SignupLedger) -> None:
    now = 0.0
    registry = CollectorRegistry()
    stages = StageMetrics(registry, BOOK, clock=lambda: now)
    await stages.refresh(ledger.pool)
    await ledger.sign_up("asa@example.org")

    def pending() -> float | None:
        return registry.get_sample_value(PREFIX + "outbox_rows", {"effect": "mail", "state": "pending"})

    now = 0.9
    await stages.refresh(ledger.pool)
    assert pending() == 0
    now = 1.1
    await stages.refresh(ledger.pool)
    assert pending() == 1
