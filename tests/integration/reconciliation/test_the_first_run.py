"""A reconciliation soon after the first signup says that nothing is old enough yet, and when it will be."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.signup.app import create_app
from services.signup.settings import Settings
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.reconciliation_lab import Laboratory

PATH = "/audit/reconciliation"


@pytest.fixture
def signup_settings(signup_database: Clone, redis_url: str) -> Settings:
    return Settings(
        signup_runtime_database_url=signup_database.runtime_url,
        redis_url=redis_url,
        signup_token_keys="k" * 32,
        reconcile_lag_seconds=60,
    )


@pytest.fixture
async def api(lab: Laboratory, signup_settings: Settings) -> AsyncIterator[Api]:
    async with running(create_app(signup_settings), lab.signup.database) as api:
        yield api


async def _run(lab: Laboratory, api: Api) -> dict[str, Any]:
    async with await api.as_client("ops", ["audit:read", "audit:operate"]) as operator:
        answer = await operator.post(f"{PATH}/run")
        assert (answer.status_code, answer.json()["reason"]) == (202, None)
        reconciler = lab.reconciler()
        while await reconciler.run_once():
            pass
        run: dict[str, Any] = (await operator.get(answer.headers["Location"])).json()
        assert (await operator.get(PATH)).json() == run
    return run


async def _health(api: Api) -> tuple[str, str | None, str]:
    check = (await api.operations.get("/health")).json()["checks"]["reconciliation"]
    return check["status"], check["observed_value"], check["detail"]


@pytest.mark.parametrize("handed_over", [False, True])
async def test_within_a_minute_of_the_first_signup_a_run_says_from_when_on_mails_are_compared(
    lab: Laboratory, api: Api, *, handed_over: bool
) -> None:
    before = datetime.now(UTC)
    if handed_over:
        await lab.mailed(1)
    else:
        await lab.ledger.sign_up("asa@x.example")
    run = await _run(lab, api)
    assert (run["state"], run["verdict"], run["compared"]) == ("done", "incomplete", 0)
    assert "No mail was old enough: a mail is compared once it is 60 s old" in run["reason"]
    told = datetime.fromisoformat(run["reason"].partition(" compared from ")[2].removesuffix(" on"))
    lag = timedelta(seconds=60)
    assert before + lag - timedelta(milliseconds=1) <= told <= datetime.now(UTC) + lag
    assert await _health(api) == ("pass", "incomplete", run["reason"])


async def test_before_the_first_signup_a_run_says_that_there_is_nothing_to_compare(lab: Laboratory, api: Api) -> None:
    run = await _run(lab, api)
    assert run["reason"] == "No mail has been requested yet, so there is nothing to compare"
    assert await _health(api) == ("pass", "incomplete", run["reason"])


async def test_health_warns_of_a_run_that_compared_nothing_although_mails_are_old_enough(
    lab: Laboratory, api: Api
) -> None:
    await lab.ledger.sign_up("asa@x.example")
    await lab.pool.execute("UPDATE outbox SET created_at = now() - interval '1 day'")
    await lab.request_run()
    await lab.signup.as_owner("UPDATE reconciliation_runs SET window_from = now() - interval '1 hour'")
    reconciler = lab.reconciler()
    while await reconciler.run_once():
        pass
    status, verdict, detail = await _health(api)
    assert (status, verdict, detail.partition(" from ")[0]) == ("warn", "incomplete", "No mail was requested")


async def test_a_balanced_run_has_no_reason(lab: Laboratory, api: Api) -> None:
    await lab.mailed(1)
    lab.lag_seconds = 0
    run = await lab.request_run()
    reconciler = lab.reconciler()
    while await reconciler.run_once():
        pass
    async with await api.as_client("ops", ["audit:read"]) as operator:
        found = (await operator.get(f"{PATH}/{run}")).json()
    assert (found["verdict"], found["reason"]) == ("balanced", None)
