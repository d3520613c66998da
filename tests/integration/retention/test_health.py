"""The partition checks in `/health` of both services."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from services.mail.app import create_app as create_mail_app
from services.mail.settings import Settings as MailSettings
from services.signup.app import create_app as create_signup_app
from services.signup.settings import Settings as SignupSettings
from shared.observability.health_checks import Status
from shared.worker.partitions import PartitionRetention, Partitions, partition_checks
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.months import STRAY, plant_months, reading


@pytest.fixture
async def api(either_database: Clone, redis_url: str) -> AsyncIterator[Api]:
    """The API of either service, which keeps two months of history."""
    url = either_database.runtime_url
    if "signup" in url:
        app = create_signup_app(
            SignupSettings(
                signup_runtime_database_url=url, redis_url=redis_url, signup_token_keys="k" * 32, history_months=2
            )
        )
    else:
        app = create_mail_app(
            MailSettings(mail_runtime_database_url=url, redis_url=redis_url, mail_content_days=7, history_months=2)
        )
    async with running(app, either_database.database) as api:
        yield api


@pytest.fixture
def loop(either_database: Clone) -> Partitions:
    return Partitions(either_database.database.pool, SignupSettings(history_months=2).kept[:1])


async def partition_check(api: Api) -> dict[str, Any]:
    check: dict[str, Any] = (await api.operations.get("/health")).json()["checks"]["partitions_history"]
    return check


async def test_the_months_that_the_migration_created_pass(api: Api, loop: Partitions) -> None:
    assert (await partition_check(api))["status"] == "pass", "the worker check reports that no worker ran yet"
    await loop.run_once()
    check = await partition_check(api)
    assert (check["status"], check["observed_unit"]) == ("pass", "oldest month")
    assert check["detail"] == "2 whole months are kept; 3 future months exist"
    first = await api.database.pool.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')")
    assert check["observed_value"] == first


async def test_it_warns_of_months_past_retention_until_they_are_dropped(
    either_database: Clone, api: Api, loop: Partitions
) -> None:
    await plant_months(either_database, "history", [2, 4, 5])
    check = await partition_check(api)
    assert (check["status"], "2 months are past their retention" in check["detail"]) == ("warn", True)
    async with reading(either_database, "history"):
        await loop.run_once()
        assert "the oldest was in use at every attempt to drop it" in (await partition_check(api))["detail"]
    while await loop.run_once():
        pass
    check = await partition_check(api)
    kept_from = await api.database.pool.fetchval("SELECT max(kept_from)::date::text FROM partition_upkeep")
    assert (check["status"], f"months before {kept_from} were dropped" in check["detail"]) == ("pass", True)
    assert check["observed_value"] == (await api.database.pool.fetchval(
        "SELECT to_char((now() AT TIME ZONE 'UTC') - interval '2 months', 'YYYY-MM')"
    ))  # fmt: skip


async def test_it_warns_when_no_worker_ran_for_hours(api: Api, loop: Partitions) -> None:
    await loop.run_once()
    await api.database.pool.execute("UPDATE partition_upkeep SET ran_at = now() - interval '3 hours'")
    check = await partition_check(api)
    assert (check["status"], "No worker has maintained the partitions for 10800 s" in check["detail"]) == ("warn", True)


async def test_it_warns_when_future_months_are_missing(either_database: Clone, api: Api) -> None:
    owner = await asyncpg.connect(either_database.owner_url)
    for row in await owner.fetch("SELECT name FROM month_partitions('history') WHERE from_at > now()"):
        await owner.execute(f"DROP TABLE {row['name']}")
    await owner.close()
    check = await partition_check(api)
    assert (check["status"], "Future months are missing" in check["detail"]) == ("warn", True)


async def test_it_warns_of_rows_in_the_default_partition(api: Api) -> None:
    await api.database.pool.execute(STRAY)
    check = await partition_check(api)
    assert (check["status"], "1 rows are in the default partition" in check["detail"]) == ("warn", True)


async def test_signup_checks_settled_rows_too(signup_database: Clone, redis_url: str) -> None:
    settings = SignupSettings(
        signup_runtime_database_url=signup_database.runtime_url, redis_url=redis_url, signup_token_keys="k" * 32
    )
    await plant_months(signup_database, "outbox_settled", [13, 14, 15])
    async with running(create_signup_app(settings), signup_database.database) as api:
        check = (await api.operations.get("/health")).json()["checks"]["partitions_outbox_settled"]
    assert (check["status"], "2 months are past their retention" in check["detail"]) == ("warn", True)


async def test_months_that_are_all_kept_are_never_past_retention(either_database: Clone) -> None:
    await plant_months(either_database, "history", [1, 300])
    found = await partition_checks(either_database.database.pool, [PartitionRetention("history", 0)])
    assert {name: check.status for name, check in found.items()} == {"partitions_history": Status.PASS}
    assert found["partitions_history"].detail.startswith("All months are kept")
