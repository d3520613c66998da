"""Signup's metrics of the outbox, of its worker and of the database."""

import asyncpg
import orjson
import pytest
from prometheus_client import CollectorRegistry

from services.signup.audit.stage_metrics import STAGE_SOURCE
from services.signup.process_names import WORKER
from shared.db.pool import DatabaseOptions, open_database
from shared.observability import stage_metrics
from shared.observability.stage_metrics import StageMetrics
from shared.worker.heartbeats import BEAT, Heartbeat, process_name
from tests.support.apis import Api
from tests.support.databases import Clone
from tests.support.metrics import NONE, labels, scrape
from tests.support.signups import SignupLedger

PREFIX = "counterfoil_signup_"


def detail(breaker: str = "closed", **rows: int) -> dict[str, object]:
    return {"listening": True, "effects": {"mail": {"breaker": breaker, "last_fault": "asa@example.org", "rows": rows}}}


async def test_the_outbox_is_counted_by_effect_and_state_with_the_age_of_its_oldest_due_row(
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

    series = await scrape(signup_api.operations)

    rows = series[PREFIX + "outbox_rows"]
    assert {state: rows[labels(effect="mail", state=state)] for state in ("pending", "leased", "dead")} == {
        "pending": 2,
        "leased": 1,
        "dead": 1,
    }
    assert 100 <= series[PREFIX + "outbox_oldest_due_age_seconds"][labels(effect="mail")] < 900
    assert series[PREFIX + "outbox_oldest_due_age_seconds"][labels(effect="erase_mail")] == 0


async def test_the_last_heartbeat_of_each_worker_is_shown_under_its_name(signup_api: Api, ledger: SignupLedger) -> None:
    beat = Heartbeat(ledger.pool, WORKER, lambda: detail("open", delivered=7, lease_lost=2))
    await beat.run_once()
    await ledger.run(BEAT, WORKER, "other:1", orjson.dumps(detail("half_open", delivered=1)).decode())

    series = await scrape(signup_api.operations)

    own_name = process_name()
    assert series[PREFIX + "workers"] == {NONE: 2}
    assert 0 <= series[PREFIX + "worker_heartbeat_age_seconds"][NONE] < 60
    assert series[PREFIX + "listener_up"] == {labels(worker=own_name): 1, labels(worker="other:1"): 1}
    assert series[PREFIX + "breaker_state"] == {
        labels(worker=own_name, effect="mail"): 2,
        labels(worker="other:1", effect="mail"): 1,
    }
    relayed = series[PREFIX + "relay_rows_total"]
    assert relayed[labels(worker=own_name, effect="mail", outcome="delivered")] == 7
    assert relayed[labels(worker="other:1", effect="mail", outcome="delivered")] == 1
    assert relayed[labels(worker=own_name, effect="mail", outcome="dead")] == 0
    assert series[PREFIX + "relay_lease_lost_total"][labels(worker=own_name, effect="mail")] == 2


async def test_a_silent_worker_shows_its_age_and_none_of_its_old_numbers(signup_api: Api, ledger: SignupLedger) -> None:
    await Heartbeat(ledger.pool, WORKER, detail).run_once()
    await ledger.run("UPDATE heartbeats SET at = at - interval '10 minutes'")

    series = await scrape(signup_api.operations)

    assert 600 <= series[PREFIX + "worker_heartbeat_age_seconds"][NONE] < 900
    assert series[PREFIX + "workers"] == {NONE: 0}
    assert PREFIX + "breaker_state" not in series


async def test_a_heartbeat_removes_only_processes_that_were_silent_for_an_hour(ledger: SignupLedger) -> None:
    for name, minutes in (("gone:1", 61), ("quiet:1", 59), (process_name(), 120)):
        await ledger.run(BEAT, WORKER, name, "{}")
        await ledger.run(
            "UPDATE heartbeats SET at = now() - make_interval(mins => $2) WHERE process = $1",
            f"{WORKER}/{name}",
            minutes,
        )

    await Heartbeat(ledger.pool, WORKER, detail).run_once()

    left = {row["process"] for row in await ledger.pool.fetch("SELECT process FROM heartbeats")}
    assert left == {WORKER, f"{WORKER}/quiet:1", f"{WORKER}/{process_name()}"}


async def test_an_open_transaction_and_the_hot_tables_are_shown(signup_api: Api, signup_database: Clone) -> None:
    connection = await asyncpg.connect(signup_database.runtime_url)
    async with connection.transaction():
        await connection.execute("SELECT pg_sleep(0.01)")
        series = await scrape(signup_api.operations)
    await connection.close()

    assert series[PREFIX + "database_oldest_transaction_age_seconds"][NONE] >= 0.01
    assert labels(table="outbox") in series[PREFIX + "database_dead_rows"]
    assert labels(table="users") in series[PREFIX + "database_live_rows"]


async def test_the_metrics_hold_nothing_personal(signup_api: Api, ledger: SignupLedger) -> None:
    await ledger.sign_up("asa@example.org")
    await Heartbeat(ledger.pool, WORKER, lambda: detail("open")).run_once()
    assert "asa@" not in (await signup_api.operations.get("/metrics")).text


async def test_without_its_database_the_process_still_shows_its_own_numbers() -> None:
    registry = CollectorRegistry()
    stages = StageMetrics(registry, STAGE_SOURCE)
    database = await open_database(DatabaseOptions("postgresql://x:x@127.0.0.1:1/x", "test"))

    await stages.refresh(database.pool)
    await database.close()

    shown = {sample.name: sample.value for family in registry.collect() for sample in family.samples}
    assert shown == {PREFIX + "database_up": 0}


async def test_a_ledger_that_became_unreadable_shows_no_old_numbers(
    signup_api: Api, signup_database: Clone, ledger: SignupLedger
) -> None:
    timestamps = iter([0.0, 10.0, 20.0, 30.0, 40.0])
    registry = CollectorRegistry()
    stages = StageMetrics(registry, STAGE_SOURCE, clock=lambda: next(timestamps))
    await stages.refresh(ledger.pool)
    assert registry.get_sample_value(PREFIX + "workers") == 0

    owner = await asyncpg.connect(signup_database.owner_url)
    await owner.execute("REVOKE SELECT ON outbox FROM signup_app")
    await owner.close()
    await stages.refresh(ledger.pool)

    assert registry.get_sample_value(PREFIX + "database_up") == 0
    assert registry.get_sample_value(PREFIX + "workers") is None
    assert (await scrape(signup_api.operations))[PREFIX + "database_up"] == {NONE: 0}


async def test_a_query_that_hangs_times_out_and_is_retried_later(
    signup_database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    timestamps = iter([0.0, 10.0, 20.0, 30.0])
    registry = CollectorRegistry()
    stages = StageMetrics(registry, STAGE_SOURCE, clock=lambda: next(timestamps))
    owner = await asyncpg.connect(signup_database.owner_url)
    async with owner.transaction():
        await owner.execute("LOCK TABLE outbox")
        with monkeypatch.context() as patched:
            patched.setattr(stage_metrics, "_QUERY_TIMEOUT_SECONDS", 0.2)
            await stages.refresh(signup_database.database.pool)
        assert registry.get_sample_value(PREFIX + "database_up") == 0
    await owner.close()

    await stages.refresh(signup_database.database.pool)
    assert registry.get_sample_value(PREFIX + "database_up") == 1


async def test_the_database_is_queried_at_most_once_a_second(ledger: SignupLedger) -> None:
    now = 0.0
    registry = CollectorRegistry()
    stages = StageMetrics(registry, STAGE_SOURCE, clock=lambda: now)
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
