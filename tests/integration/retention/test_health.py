"""What `/health` of both services says of the months that are made ahead and dropped behind."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from services.mail.app import create_app as create_mail_app
from services.mail.settings import Settings as MailSettings
from services.signup.app import create_app as create_signup_app
from services.signup.settings import Settings as SignupSettings
from shared.observability.health import Status
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


async def check(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = (await api.http.get("/health")).json()["checks"]["partitions_history"]
    return found


async def test_all_is_well_with_the_months_that_the_migration_made(api: Api, loop: Partitions) -> None:
    assert (await check(api))["status"] == "pass", "that no worker came yet is told by the check of workers"
    await loop.run_once()
    said = await check(api)
    assert (said["status"], said["observed_unit"]) == ("pass", "oldest month")
    assert said["detail"] == "2 whole months are kept; 3 months are made ahead"
    first = await api.database.pool.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')")
    assert said["observed_value"] == first


async def test_it_warns_of_months_past_their_time_until_they_are_dropped(
    either_database: Clone, api: Api, loop: Partitions
) -> None:
    await plant_months(either_database, "history", [2, 4, 5])
    said = await check(api)
    assert (said["status"], "2 months are past their time" in said["detail"]) == ("warn", True)
    async with reading(either_database, "history"):
        await loop.run_once()
        assert "was in use whenever it was to be dropped" in (await check(api))["detail"]
    while await loop.run_once():
        pass
    said = await check(api)
    kept_from = await api.database.pool.fetchval("SELECT max(kept_from)::date::text FROM partition_upkeep")
    assert (said["status"], f"older than {kept_from} was dropped" in said["detail"]) == ("pass", True)
    assert said["observed_value"] == (await api.database.pool.fetchval(
        "SELECT to_char((now() AT TIME ZONE 'UTC') - interval '2 months', 'YYYY-MM')"
    ))  # fmt: skip


async def test_it_warns_when_no_worker_came_for_hours(api: Api, loop: Partitions) -> None:
    await loop.run_once()
    await api.database.pool.execute("UPDATE partition_upkeep SET ran_at = now() - interval '3 hours'")
    said = await check(api)
    assert (said["status"], "No worker has looked after it for 10800 s" in said["detail"]) == ("warn", True)


async def test_it_warns_when_months_ahead_are_missing(either_database: Clone, api: Api) -> None:
    owner = await asyncpg.connect(either_database.owner_url)
    for row in await owner.fetch("SELECT name FROM month_partitions('history') WHERE from_at > now()"):
        await owner.execute(f"DROP TABLE {row['name']}")
    await owner.close()
    said = await check(api)
    assert (said["status"], "Months ahead are missing" in said["detail"]) == ("warn", True)


async def test_it_warns_of_rows_that_found_no_month(api: Api) -> None:
    await api.database.pool.execute(STRAY)
    said = await check(api)
    assert (said["status"], "1 rows lie in the default partition" in said["detail"]) == ("warn", True)


async def test_signup_says_it_of_settled_rows_too(signup_database: Clone, redis_url: str) -> None:
    settings = SignupSettings(
        signup_runtime_database_url=signup_database.runtime_url, redis_url=redis_url, signup_token_keys="k" * 32
    )
    await plant_months(signup_database, "outbox_settled", [13, 14, 15])
    async with running(create_signup_app(settings), signup_database.database) as api:
        said = (await api.http.get("/health")).json()["checks"]["partitions_outbox_settled"]
    assert (said["status"], "2 months are past their time" in said["detail"]) == ("warn", True)


async def test_months_that_are_kept_for_ever_are_never_past_their_time(either_database: Clone) -> None:
    await plant_months(either_database, "history", [1, 300])
    found = await partition_checks(either_database.database.pool, [PartitionRetention("history", 0)])
    assert {name: check.status for name, check in found.items()} == {"partitions_history": Status.PASS}
    assert found["partitions_history"].detail.startswith("PartitionRetention for ever")
