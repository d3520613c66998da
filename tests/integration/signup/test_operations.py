"""The operator endpoints of the signup API."""

import asyncio

import pytest
from fastapi import FastAPI

from services.signup.app import create_app
from services.signup.process_names import WORKER
from services.signup.settings import Settings
from shared.contract import problems
from shared.contract.ids import uuid7
from shared.worker.heartbeats import Heartbeat
from shared.worker.partitions import Partitions
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.signups import SignupLedger


async def test_health_shows_the_worker_its_breakers_and_stuck_rows(signup_api: Api, ledger: SignupLedger) -> None:
    before = (await signup_api.operations.get("/health")).json()
    assert before["checks"]["worker"]["status"] == "warn", "no worker has reported"
    await Heartbeat(
        ledger.pool, WORKER, lambda: {"effects": {"mail": {"breaker": "closed", "last_fault": None}}}
    ).run_once()
    healthy = await signup_api.operations.get("/health")
    assert (healthy.status_code, healthy.json()["status"]) == (200, "pass")
    await ledger.sign_up("asa@example.org", "bo@example.org")
    first, second = await ledger.rows("outbox")
    await ledger.run("UPDATE outbox SET created_at = created_at - interval '2 minutes' WHERE id = $1", first["id"])
    dead = "state = 'dead', dead_at = now(), due_at = NULL, last_error = 'x'"
    await ledger.run(f"UPDATE outbox SET {dead} WHERE id = $1", second["id"])
    await Heartbeat(
        ledger.pool, WORKER, lambda: {"effects": {"mail": {"breaker": "open", "last_fault": "503"}}}
    ).run_once()
    report = (await signup_api.operations.get("/health")).json()
    warnings = {name for name, check in report["checks"].items() if check["status"] == "warn"}
    assert warnings == {"outbox_oldest_due", "outbox_dead", "breaker_mail"}
    assert report["checks"]["breaker_mail"]["detail"] == "503"
    await ledger.run("UPDATE heartbeats SET at = at - interval '2 minutes'")
    failing = await signup_api.operations.get("/health")
    assert (failing.status_code, failing.json()["checks"]["worker"]["status"]) == (503, "fail")


async def test_a_valkey_outage_is_a_warning_and_signups_continue(
    signup_settings: Settings, signup_database: Clone
) -> None:
    settings = signup_settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with running(create_app(settings), signup_database.database) as api:
        assert (await api.operations.get("/health")).json()["checks"]["valkey"]["status"] == "warn"
        assert (await api.http.get("/health/ready")).status_code == 200
        answer = await api.http.post("/v1/signups", json={"email": "bo@example.org", "name": "Bo"})
        assert answer.status_code == 202


async def test_without_its_database_the_api_is_live_not_ready_and_answers_503(
    signup_settings: Settings, signup_database: Clone
) -> None:
    url = "postgresql://unused:x@127.0.0.1:1/none"
    settings = signup_settings.model_copy(update={"signup_runtime_database_url": url})
    async with running(create_app(settings), signup_database.database) as api:
        assert (await api.http.get("/health/live")).status_code == 200
        ready, health = await asyncio.gather(api.http.get("/health/ready"), api.operations.get("/health"))
        assert (ready.status_code, ready.json()["type"]) == (503, "/problems/unavailable")
        assert (health.status_code, health.json()["checks"]["database"]["status"]) == (503, "fail")
        answer = await api.http.post("/v1/signups", json={"email": "bo@example.org", "name": "Bo"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "127.0.0.1" not in answer.text
        ring = api.app.state.signup.ring
        page = await api.http.post(f"/verify/{ring.sign(uuid7(), ring.signing_key_id)}")
        assert (page.status_code, page.headers["Retry-After"]) == (503, "1")
        assert "<h1>This does not work right now</h1>" in page.text


async def test_history_is_found_by_subject_by_relation_and_by_kind(signup_api: Api, ledger: SignupLedger) -> None:
    (asa, _) = await ledger.sign_up("asa@example.org", "bo@example.org")
    owed = await ledger.row("outbox", user_id=asa.user["id"])
    async with await signup_api.as_client("auditor", ["audit:read"]) as auditor:
        for subject in (asa.user["id"], owed["id"]):
            page = (await auditor.get("/audit/history", params={"subject": str(subject)})).json()
            assert [entry["subject"] for entry in page["items"]] == [str(asa.user["id"])]
        page = (await auditor.get("/audit/history", params={"kind": "user.signed_up", "limit": 1})).json()
        rest = await auditor.get("/audit/history", params={"kind": "user.signed_up", "cursor": page["next_cursor"]})
        assert len(page["items"]) == len(rest.json()["items"]) == 1
        assert page["items"] != rest.json()["items"]
        assert set(page["items"][0]) == {
            *("id", "at", "kind", "subject", "related", "actor", "correlation_id", "detail")
        }
    assert (await signup_api.http.get("/audit/history")).status_code == 401


async def test_every_kind_of_problem_explains_itself(signup_api: Api) -> None:
    for kind in problems.kinds():
        answer = await signup_api.http.get(f"/problems/{kind.slug}")
        assert (answer.status_code, answer.json()["type"]) == (200, f"/problems/{kind.slug}")
        assert len(answer.json()["explanation"]) > len("too short to explain")
    assert (await signup_api.http.get("/problems/none-of-ours")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("DELETE", "/v1/signups", 405), ("GET", "/v1/signups", 405)],
)
async def test_the_frameworks_own_errors_are_problems(signup_api: Api, method: str, path: str, status: int) -> None:
    answer = await signup_api.http.request(method, path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


async def test_head_has_no_body_and_is_counted_as_head(signup_api: Api) -> None:
    """A server drops the body of a HEAD answer, but not every layer in front of the app is a server."""
    head = await signup_api.http.head("/version")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0
    text = (await signup_api.operations.get("/metrics")).text
    assert 'method="HEAD",route="/version"' in text


async def test_metrics_name_routes_and_never_paths(signup_api: Api) -> None:
    await signup_api.http.get("/verify/secret-token")
    await signup_api.http.get("/v1/users/asa@example.org")
    await signup_api.http.request("BREW", "/nothing")
    text = (await signup_api.operations.get("/metrics")).text
    assert 'route="/verify/{token}"' in text
    assert not any(word in text for word in ("secret-token", "asa@", "nothing", "BREW"))


async def test_the_worker_creates_the_partitions_of_the_next_months(
    ledger: SignupLedger, signup_database: Clone
) -> None:
    before = await ledger.pool.fetchval("SELECT count(*) FROM pg_inherits")
    assert await Partitions(signup_database.database.pool, Settings().kept).run_once() is False
    assert await ledger.pool.fetchval("SELECT count(*) FROM pg_inherits") == before, "the migration made them"


def test_the_document_describes_the_optional_key_and_problems(signup_settings: Settings) -> None:
    app: FastAPI = create_app(signup_settings)
    document = app.openapi()
    signup = document["paths"]["/v1/signups"]["post"]
    assert signup["security"] == [{}, {"ApiKey": []}]
    assert set(signup["responses"]) >= {"200", "201", "202", "401", "403", "409", "413", "415", "422", "500", "503"}
    assert "application/problem+json" in signup["responses"]["422"]["content"]
    assert "ProblemDocument" in document["components"]["schemas"]
