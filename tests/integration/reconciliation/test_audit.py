"""/audit/reconciliation as operators use it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest

from services.signup.app import create_app
from services.signup.reconciliation.reconciler import Schedule
from services.signup.settings import Settings
from tests.support.apis import Api, running
from tests.support.reconciliation_lab import INSERT_UNREQUESTED_MAILS, Laboratory

PATH = "/audit/reconciliation"


@pytest.fixture
async def api(lab: Laboratory, signup_settings: Settings) -> AsyncIterator[Api]:
    async with running(create_app(signup_settings), lab.signup.database) as api:
        yield api


@pytest.fixture
async def operator(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with await api.as_client("ops", ["audit:read", "audit:operate"]) as http:
        yield http


async def _reconcile(lab: Laboratory) -> None:
    reconciler = lab.reconciler()
    while await reconciler.run_once():
        pass


async def test_a_run_is_requested_finished_and_shown(lab: Laboratory, operator: httpx.AsyncClient) -> None:
    assert (await operator.get(PATH)).status_code == 404
    ids = await lab.mailed(3)
    await lab.forget(ids[:1])
    answer = await operator.post(f"{PATH}/run")
    requested = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (202, f"{PATH}/{requested['id']}")
    assert (requested["state"], requested["verdict"], requested["compared"]) == ("running", "incomplete", 0)
    assert requested["window"]["from"] < requested["window"]["to"]
    await _reconcile(lab)
    run = (await operator.get(answer.headers["Location"])).json()
    assert (run["state"], run["verdict"], run["compared"], run["lost_records"]) == ("done", "out_of_balance", 3, 1)
    assert run["healed"] == {
        "missing": 0,
        "lost_records": 1,
        "unexpected": 0,
        "different": 0,
        "stuck": 0,
        "unserved_users": 0,
    }
    assert [example["request_id"] for example in run["examples"]["lost_records"]] == [str(ids[0])]
    assert (await operator.get(PATH)).json() == run
    history = (await operator.get("/audit/history", params={"subject": requested["id"]})).json()["items"]
    assert [entry["kind"] for entry in history] == [
        "reconciliation.finished",
        "mail.record_restored",
        "reconciliation.requested",
    ]


async def test_the_window_and_repair_are_as_requested(lab: Laboratory, operator: httpx.AsyncClient) -> None:
    ids = await lab.mailed(2)
    await lab.forget(ids)
    before = {"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}
    for body, compared in ((before, 0), ({"from": "2020-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z"}, 2)):
        requested = (await operator.post(f"{PATH}/run", json={**body, "heal": False})).json()
        assert requested["window"]["from"] == "2020-01-01T00:00:00Z"
        assert requested["window"]["to"] < "2098", "the window ends before now"
        await _reconcile(lab)
        run = (await operator.get(PATH)).json()
        assert (run["compared"], run["heal"], sum(run["healed"].values())) == (compared, False, 0)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "/from"),
        ({"from": "2099-01-01T00:00:00Z"}, "/from"),
        ({"from": "2099-01-01T00:00:00Z", "to": "2099-01-02T00:00:00Z"}, "/from"),
        ({"from": "yesterday"}, "/from"),
        ({"heal": "perhaps"}, "/heal"),
        ({"since": "2026-01-02T00:00:00Z"}, "/since"),
    ],
)
async def test_an_invalid_request_is_refused_by_field(
    operator: httpx.AsyncClient, body: dict[str, str], pointer: str
) -> None:
    answer = await operator.post(f"{PATH}/run", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    assert (await operator.get(PATH)).status_code == 404


@pytest.mark.parametrize("bound", ["from", "to"])
async def test_a_window_that_is_too_young_or_too_old_to_compare_is_incomplete(
    lab: Laboratory, operator: httpx.AsyncClient, bound: str
) -> None:
    await lab.mailed(1)
    at = datetime.now(UTC) if bound == "from" else datetime(2000, 1, 1, tzinfo=UTC)
    assert (await operator.post(f"{PATH}/run", json={bound: at.isoformat()})).status_code == 202
    await _reconcile(lab)
    run = (await operator.get(PATH)).json()
    assert (run["state"], run["verdict"], run["compared"]) == ("done", "incomplete", 0)


async def test_requesting_a_run_needs_another_scope_than_reading(api: Api) -> None:
    async with await api.as_client("reader", ["audit:read"]) as reader:
        assert (await reader.post(f"{PATH}/run", json={})).status_code == 403
        assert (await reader.get(f"{PATH}/findings")).status_code == 200
    assert (await api.http.get(PATH)).status_code == 401


async def test_every_finding_can_be_listed_page_by_page(lab: Laboratory, operator: httpx.AsyncClient) -> None:
    ids = await lab.mailed(3)
    await lab.forget(ids[:1])
    await lab.mail.database.pool.execute(INSERT_UNREQUESTED_MAILS, ["one", "two", "three"])
    await operator.post(f"{PATH}/run")
    await _reconcile(lab)
    seen, params = set[str](), {"limit": "2"}
    while True:
        page = (await operator.get(f"{PATH}/findings", params=params)).json()
        seen |= {f"{item['kind']} {item['request_id']}" for item in page["items"]}
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == {f"lost_records {ids[0]}", "unexpected one", "unexpected two", "unexpected three"}
    (healed,) = (await operator.get(f"{PATH}/findings", params={"healed": "true"})).json()["items"]
    assert (healed["kind"], healed["healed_at"] is not None) == ("lost_records", True)
    filtered = await operator.get(f"{PATH}/findings", params={"kind": "unexpected", "run_id": healed["run_id"]})
    assert len(filtered.json()["items"]) == 3


async def test_health_warns_when_the_ledgers_are_out_of_balance_or_were_not_compared(
    lab: Laboratory, api: Api, operator: httpx.AsyncClient
) -> None:
    async def status() -> tuple[str, str | None]:
        check = (await api.operations.get("/health")).json()["checks"]["reconciliation"]
        return check["status"], check["observed_value"]

    assert await status() == ("pass", None), "there is nothing to compare yet"
    ids = await lab.mailed(2)
    await lab.forget(ids[:1])
    for expected in (("warn", "out_of_balance"), ("pass", "balanced")):
        await operator.post(f"{PATH}/run")
        await _reconcile(lab)
        assert await status() == expected
    await lab.pool.execute("UPDATE reconciliation_runs SET finished_at = now() - interval '2 hours'")
    assert await status() == ("warn", "balanced")


async def test_a_run_is_due_an_hour_after_the_last_one_and_starts_where_the_balanced_one_ended(lab: Laboratory) -> None:
    async def runs() -> int:
        await Schedule(lab.pool, lag_seconds=0).run_once()
        count: int = await lab.pool.fetchval("SELECT count(*) FROM reconciliation_runs")
        return count

    await lab.mailed(1)
    assert await runs() == 0
    await lab.signup.as_owner("UPDATE users SET created_at = now() - interval '1 hour'")
    assert [await runs(), await runs()] == [1, 1]
    await _reconcile(lab)
    await lab.signup.as_owner("UPDATE reconciliation_runs SET started_at = now() - interval '1 hour'")
    assert await runs() == 2
    overlap = "SELECT max(window_from) = min(window_to) - interval '1 hour' FROM reconciliation_runs"
    assert await lab.pool.fetchval(overlap)


async def test_while_a_run_goes_on_none_is_scheduled_and_an_operator_may_request_one(lab: Laboratory) -> None:
    schedule = Schedule(lab.pool, lag_seconds=0)
    await lab.mailed(1)
    await lab.signup.as_owner("UPDATE users SET created_at = now() - interval '1 hour'")
    running = "SELECT count(*) FROM reconciliation_runs WHERE state = 'running'"
    for _ in range(3):
        await schedule.run_once()
        await lab.signup.as_owner("UPDATE reconciliation_runs SET started_at = started_at - interval '61 minutes'")
    assert await lab.pool.fetchval(running) == 1
    await lab.request_run()
    assert await lab.pool.fetchval(running) == 2
    await _reconcile(lab)
    await lab.signup.as_owner("UPDATE reconciliation_runs SET started_at = now() - interval '61 minutes'")
    await schedule.run_once()
    assert await lab.pool.fetchval(running) == 1


async def test_the_window_of_a_run_that_got_no_answer_is_compared_again_soon(lab: Laboratory) -> None:
    schedule = Schedule(lab.pool, lag_seconds=0)
    await lab.mailed(1)
    await lab.run()
    failed = "state = 'failed', finished_at = now(), due_at = NULL, window_from = '2020-01-01 00:00Z'"
    await lab.request_run()
    await lab.signup.as_owner(f"UPDATE reconciliation_runs SET {failed} WHERE state = 'running'")
    await schedule.run_once()
    again = "SELECT count(*) FROM reconciliation_runs WHERE state = 'running' AND window_from = '2020-01-01 00:00Z'"
    assert await lab.pool.fetchval(again) == 0
    await lab.pool.execute("UPDATE reconciliation_runs SET finished_at = now() - interval '5 minutes'")
    await schedule.run_once()
    assert await lab.pool.fetchval(again) == 1
