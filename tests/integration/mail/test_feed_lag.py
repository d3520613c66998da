"""A transaction left open in any database of the server holds back the change feed, and operators see whose it is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from local import postgres
from services.mail.audit.alerts import make_alert_loop
from services.mail.intake.from_settings import make_intake
from services.mail.ledger.change_feed import read_lag
from services.mail.settings import Settings
from shared.db.pool import DatabaseOptions, open_database
from tests.support.databases import Clone, Server, alembic
from tests.support.metrics import NONE, scrape

LAG = "counterfoil_mail_change_feed_lag_seconds"
# A change that was written a minute ago: a test cannot wait for that long.
CHANGE = """
INSERT INTO history (kind, subject, actor, detail, at)
SELECT 'mail.sent', id::text, 'test', '{"state": "sent"}', now() - interval '1 minute' FROM mails
"""
MAIL = {"request_id": "one", "to": {"email": "a@x.example"}, "subject": "S", "text": "T"}


@dataclass(frozen=True)
class OpenTransaction:
    pid: int
    database: str
    since: datetime

    @property
    def named(self) -> str:
        return f"the transaction of process {self.pid} in database {self.database}"


@asynccontextmanager
async def _left_open(url: str) -> AsyncIterator[OpenTransaction]:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_current_xact_id()")
            row = await connection.fetchrow(
                "SELECT pg_backend_pid() AS pid, current_database() AS database, now() AS since"
            )
            assert row is not None
            yield OpenTransaction(**row)
    finally:
        await connection.close()


@pytest.fixture
async def holder(
    client: httpx.AsyncClient, mail_database: Clone, signup_database: Clone
) -> AsyncIterator[OpenTransaction]:
    """Open in the other service's database, by a role that the mail service has nothing to do with."""
    await client.post("/v1/mails", json=MAIL)
    async with _left_open(signup_database.owner_url) as holder:
        await mail_database.database.pool.execute(CHANGE)
        yield holder


async def _check(client: httpx.AsyncClient) -> dict[str, Any]:
    check: dict[str, Any] = (await client.get("/health")).json()["checks"]["change_feed"]
    return check


async def test_the_feed_has_no_lag_while_no_transaction_holds_it_back(client: httpx.AsyncClient) -> None:
    await client.post("/v1/mails", json=MAIL)
    check = await _check(client)
    assert (check["status"], check["observed_value"], check["observed_unit"]) == ("pass", 0, "s")
    assert (await scrape(client))[LAG] == {NONE: 0}


async def test_health_and_metrics_show_the_lag_and_health_names_the_transaction_that_causes_it(
    client: httpx.AsyncClient, holder: OpenTransaction
) -> None:
    shown = (await client.get("/v1/changes")).json()["items"]
    assert [change["kind"] for change in shown] == ["mail.accepted"]
    check = await _check(client)
    assert (check["status"], check["observed_unit"]) == ("warn", "s")
    assert 60 <= check["observed_value"] < 600
    assert f"{holder.named}, open since {holder.since:%Y-%m-%dT%H:%M:%SZ}" in check["detail"]
    assert 60 <= (await scrape(client))[LAG][NONE] < 600


async def test_the_lag_ends_with_the_transaction(
    client: httpx.AsyncClient, mail_database: Clone, signup_database: Clone
) -> None:
    await client.post("/v1/mails", json=MAIL)
    async with _left_open(signup_database.owner_url):
        await mail_database.database.pool.execute(CHANGE)
        assert (await _check(client))["status"] == "warn"
    check = await _check(client)
    assert (check["status"], check["observed_value"]) == ("pass", 0)
    assert len((await client.get("/v1/changes")).json()["items"]) == 2


async def test_without_the_right_to_see_when_it_began_the_warning_still_names_process_and_database(
    postgres_server: Server, client: httpx.AsyncClient, holder: OpenTransaction
) -> None:
    superuser = await asyncpg.connect(postgres_server.superuser_url)
    await superuser.execute("REVOKE pg_read_all_stats FROM mail_owner")
    try:
        check = await _check(client)
    finally:
        await superuser.execute("GRANT pg_read_all_stats TO mail_owner")
        await superuser.close()
    assert check["status"] == "warn"
    assert check["detail"].endswith(holder.named)


async def test_a_transaction_of_the_runtime_role_is_named_with_its_begin_without_that_right(
    postgres_server: Server, mail_database: Clone
) -> None:
    superuser = await asyncpg.connect(postgres_server.superuser_url)
    await superuser.execute("REVOKE pg_read_all_stats FROM mail_owner")
    try:
        async with _left_open(mail_database.runtime_url) as own:
            lag = await read_lag(mail_database.database.pool)
    finally:
        await superuser.execute("GRANT pg_read_all_stats TO mail_owner")
        await superuser.close()
    assert lag.holder is not None
    assert (lag.holder.pid, lag.holder.database, lag.holder.since) == (own.pid, own.database, own.since)


async def test_a_transaction_that_only_reads_holds_nothing_back(
    client: httpx.AsyncClient, mail_database: Clone, signup_database: Clone
) -> None:
    reader = await asyncpg.connect(signup_database.owner_url)
    async with reader.transaction(isolation="repeatable_read"):
        await reader.execute("SELECT FROM users")
        await client.post("/v1/mails", json=MAIL)
        assert len((await client.get("/v1/changes")).json()["items"]) == 1
        lag = await read_lag(mail_database.database.pool)
    await reader.close()
    assert (lag.seconds, lag.holder) == (0, None)


async def test_a_prepared_transaction_is_named_by_database_and_begin(tmp_path: Path) -> None:
    name = "held"
    owner = "mail_owner"
    first = postgres.start_server(tmp_path, durable=False)
    superuser = await asyncpg.connect(first.url)
    await superuser.execute("ALTER SYSTEM SET max_prepared_transactions = 1")
    await superuser.close()
    first.stop()
    server = postgres.start_server(tmp_path, durable=False)
    try:
        await postgres.create_databases(server.url, dict.fromkeys((owner, "mail_app"), "test"), ["mail"])
        migrated = alembic("mail", postgres.database_url(server.url, "mail", owner, "test"), "upgrade", "head")
        assert migrated.returncode == 0, migrated.stderr
        superuser = await asyncpg.connect(server.url)
        await superuser.execute("BEGIN; SELECT pg_current_xact_id()")
        await superuser.execute(f"PREPARE TRANSACTION '{name}'")
        database = await open_database(
            DatabaseOptions(postgres.database_url(server.url, "mail", "mail_app", "test"), "test")
        )
        lag = await read_lag(database.pool)
        prepared = await superuser.fetchval("SELECT prepared FROM pg_prepared_xacts")
        await superuser.close()
        await database.close()
    finally:
        server.stop()
    assert lag.holder is not None
    assert (lag.holder.pid, lag.holder.database, lag.holder.since) == (None, "postgres", prepared)
    assert str(lag.holder).startswith("the prepared transaction in database postgres, open since ")


async def test_a_feed_that_two_runs_of_the_alert_loop_find_held_back_is_a_warning_that_names_the_transaction(
    mail_database: Clone, client: httpx.AsyncClient, holder: OpenTransaction
) -> None:
    settings = Settings(mail_runtime_database_url=mail_database.runtime_url)
    alert_loop = make_alert_loop(settings, make_intake(settings, mail_database.database), runs_checks=False)
    await alert_loop.run_once()
    assert "feed_held_back" not in [alert["name"] for alert in (await client.get("/audit/alerts")).json()["items"]]
    await mail_database.as_owner("UPDATE alerts SET since = since - interval '20 seconds'")
    await alert_loop.run_once()
    alerts = {alert["name"]: alert for alert in (await client.get("/audit/alerts")).json()["items"]}
    assert alerts["feed_held_back"]["severity"] == "warning"
    assert f"{holder.named}, open since {holder.since:%Y-%m-%dT%H:%M:%SZ}" in alerts["feed_held_back"]["subject"]
