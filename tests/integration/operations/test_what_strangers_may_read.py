"""Strangers read a status. What is down, and how many people sign up, is for operators."""

import pytest

from shared.contract.problems import Unauthorized
from shared.db import api_keys
from shared.db.pool import UNAVAILABLE, DatabaseOptions, open_database
from shared.http.authentication import Authenticator
from shared.worker.heartbeats import BEAT
from tests.integration.operations.conftest import OfService
from tests.support.databases import Clone
from tests.support.tcp_forwarder import Forwarder


async def test_without_a_key_health_is_a_status_and_nothing_else(either: OfService) -> None:
    answer = await either.api.http.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "warn"})  # no worker has reported
    assert answer.text.endswith("\n")


async def test_a_key_with_audit_read_sees_each_check(either: OfService) -> None:
    auditor = await either.api.key("auditor", "audit:read")
    answer = await either.api.http.get("/health", headers=auditor)
    assert answer.status_code == 200
    assert answer.json()["checks"]["database"]["status"] == "pass"


async def test_a_key_without_audit_read_sees_no_more_than_the_scope_that_it_lacks(either: OfService) -> None:
    shop = await either.api.key("shop", "mails:read")
    for path in ("/health", "/metrics"):
        answer = await either.api.http.get(path, headers=shop)
        assert (answer.status_code, "audit:read" in answer.json()["detail"]) == (403, True)
    for path in ("/health", "/metrics"):
        answer = await either.api.http.get(path, headers={"Authorization": f"Bearer {api_keys.mint().text}"})
        assert answer.status_code == 401


async def test_metrics_need_a_key_with_audit_read(either: OfService) -> None:
    assert (await either.api.http.get("/metrics")).status_code == 401
    auditor = await either.api.key("auditor", "audit:read")
    answer = await either.api.http.get("/metrics", headers=auditor)
    assert (answer.status_code, f"counterfoil_{either.service}_database_up 1.0" in answer.text) == (200, True)


async def test_a_failing_check_is_503_with_and_without_a_key(either: OfService) -> None:
    await either.api.database.pool.execute(BEAT, f"{either.service}-worker", "here:1", "{}")
    await either.api.database.pool.execute("UPDATE heartbeats SET at = at - interval '2 minutes'")
    stranger = await either.api.http.get("/health")
    assert (stranger.status_code, stranger.json()) == (503, {"status": "fail"})
    auditor = await either.api.http.get("/health", headers=await either.api.key("auditor", "audit:read"))
    assert (auditor.status_code, auditor.json()["status"]) == (503, "fail")
    assert "fail" in {check["status"] for check in auditor.json()["checks"].values()}


async def test_the_operations_port_needs_no_key_and_serves_nothing_else(either: OfService) -> None:
    operations = either.api.operations
    assert (await operations.get("/health")).json()["checks"]["database"]["status"] == "pass"
    assert f"counterfoil_{either.service}_database_up 1.0" in (await operations.get("/metrics")).text
    assert (await operations.get("/version")).json()["service"] == either.service
    for path in ("/health/live", "/health/ready"):
        assert (await operations.get(path)).json() == {"status": "pass"}
    for path in ("/audit/history", "/v1/users", "/v1/mails", "/docs", "/openapi.json", "/"):
        answer = await operations.get(path)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found"), path
    assert (await operations.get("/problems/not-found")).status_code == 200


async def test_both_ports_count_into_the_same_metrics(either: OfService) -> None:
    await either.api.http.get("/version")
    text = (await either.api.operations.get("/metrics")).text
    assert 'http_request_duration_seconds_count{method="GET",route="/version",status="200"} 1.0' in text


async def test_without_its_database_the_status_is_told_and_the_details_to_keys_that_are_known(
    either: OfService,
) -> None:
    known = await either.api.key("auditor", "audit:read")
    never_seen = await either.api.key("monitor", "audit:read")
    assert (await either.api.http.get("/health", headers=known)).status_code == 200
    await either.database_door.shut()
    for headers in ({}, never_seen):
        answer = await either.api.http.get("/health", headers=headers)
        assert (answer.status_code, answer.json()) == (503, {"status": "fail"})
    for answer in (await either.api.http.get("/health", headers=known), await either.api.operations.get("/health")):
        assert (answer.status_code, answer.json()["checks"]["database"]["status"]) == (503, "fail")
    for answer in (await either.api.http.get("/metrics", headers=known), await either.api.operations.get("/metrics")):
        assert (answer.status_code, f"counterfoil_{either.service}_database_up 0.0" in answer.text) == (200, True)
    refused = await either.api.http.get("/metrics", headers=never_seen)
    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/unavailable")


@pytest.mark.parametrize("in_outage", [True, False])
async def test_a_key_that_is_no_longer_fresh_is_known_in_an_outage_only_to_calls_that_say_what_is_wrong(
    signup_database: Clone, *, in_outage: bool
) -> None:
    now = 0.0
    key = api_keys.mint()
    async with signup_database.database.pool.acquire() as connection:
        await api_keys.store(connection, key, client="auditor", scopes=["audit:read"], days=None, actor="test")
    door = Forwarder(signup_database.runtime_url)
    await door.open()
    database = await open_database(DatabaseOptions(door.url, "test"))
    authenticator = Authenticator(database.pool, clock=lambda: now)
    await authenticator.authenticate(f"Bearer {key.text}")
    now = 3600.0
    await door.shut()
    if in_outage:
        assert (await authenticator.authenticate(f"Bearer {key.text}", in_outage=True)).client == "auditor"
        with pytest.raises(Unauthorized):
            await authenticator.authenticate(f"Bearer {key.text[:-1]}", in_outage=True)
    else:
        with pytest.raises(UNAVAILABLE):
            await authenticator.authenticate(f"Bearer {key.text}")
    await database.close()
