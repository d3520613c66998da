"""The spans of API requests, and the traceparents stored with their rows."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from services.signup.app import create_app
from services.signup.settings import Settings
from shared.observability.otlp import OtlpTracing
from tests.support.apis import Api, running
from tests.support.collector import Collector, SeenSpan, collecting
from tests.support.databases import Clone
from tests.support.signups import SignupLedger

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLERS_TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
ASA = {"email": "asa@example.org", "name": "Åsa Öberg"}


@dataclass
class Traced:
    """`http` has no key."""

    api: Api
    http: httpx.AsyncClient
    collector: Collector

    async def spans(self) -> list[SeenSpan]:
        (tracing,) = [layer.kwargs["tracing"] for layer in self.api.app.user_middleware if "tracing" in layer.kwargs]
        assert isinstance(tracing, OtlpTracing)
        assert tracing._provider.force_flush()
        return self.collector.spans


@pytest.fixture
async def traced(signup_settings: Settings, signup_database: Clone) -> AsyncIterator[Traced]:
    with collecting() as collector:
        settings = signup_settings.model_copy(update={"otel_exporter_otlp_endpoint": collector.url})
        async with running(create_app(settings), signup_database.database) as api:
            yield Traced(api, api.http, collector)


async def test_a_signup_is_a_child_span_of_the_callers_and_its_rows_store_it(
    traced: Traced, ledger: SignupLedger
) -> None:
    answer = await traced.http.post("/v1/signups", json=ASA, headers={"traceparent": CALLERS_TRACEPARENT})
    assert answer.status_code == 202
    (span,) = await traced.spans()
    assert (span.name, span.kind, span.service) == ("POST /v1/signups", "SERVER", "signup-api")
    assert (span.trace_id, span.parent_id) == (TRACE, CALLERS_TRACEPARENT.split("-")[2])
    assert span.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/signups",
        "http.response.status_code": 202,
        "url.scheme": "http",
        "network.protocol.version": "1.1",
    }
    assert not span.failed
    for table in ("outbox", "history"):
        assert (await ledger.row(table))["traceparent"].startswith(span.traceparent)


async def test_an_answer_carries_the_callers_traceparent_or_that_of_the_new_trace(traced: Traced) -> None:
    given = await traced.http.post("/v1/signups", json=ASA, headers={"traceparent": CALLERS_TRACEPARENT})
    absent = await traced.http.post("/v1/signups", json=ASA)
    nonsense = await traced.http.post("/v1/signups", json=ASA, headers={"traceparent": "nonsense"})
    spans = await traced.spans()
    assert given.headers.get_list("traceparent") == [CALLERS_TRACEPARENT]
    for answer, span in zip((absent, nonsense), spans[1:], strict=True):
        assert span.parent_id == ""
        assert answer.headers["traceparent"].startswith(span.traceparent)


async def test_a_client_error_is_not_a_failed_span_and_a_server_error_is(traced: Traced) -> None:
    await traced.http.post("/v1/signups", json={"email": "no address"})
    await traced.api.app.state.database.close()
    await traced.http.post("/v1/signups", json=ASA)
    refused, broken = await traced.spans()
    assert (refused.attributes["http.response.status_code"], refused.failed) == (422, False)
    assert (broken.attributes["http.response.status_code"], broken.failed) == (503, True)
    assert broken.attributes["error.type"] == "503"


async def test_spans_contain_no_raw_path_query_or_method(traced: Traced) -> None:
    await traced.http.get("/verify/secret-token")
    await traced.http.get("/v1/users", params={"email": "asa@example.org"})
    await traced.http.get("/asa@example.org")
    await traced.http.request("ASA", "/verify/secret-token")
    spans = await traced.spans()
    assert [span.name for span in spans] == ["GET /verify/{token}", "GET /v1/users", "GET", "HTTP /verify/{token}"]
    assert spans[3].attributes["http.request.method"] == "_OTHER"
    for secret in (b"secret-token", b"asa", b"ASA"):
        assert all(secret not in body for body in traced.collector.bodies)


async def test_probes_and_scrapes_make_no_traces(traced: Traced) -> None:
    for path in ("/health/live", "/health/ready", "/health"):
        assert (await traced.http.get(path)).status_code == 200
    assert (await traced.http.get("/metrics")).status_code == 401
    assert await traced.spans() == []


async def test_without_a_collector_the_callers_traceparent_is_stored_unchanged(
    signup_api: Api, ledger: SignupLedger
) -> None:
    answer = await signup_api.http.post("/v1/signups", json=ASA, headers={"traceparent": CALLERS_TRACEPARENT})
    assert answer.headers["traceparent"] == CALLERS_TRACEPARENT
    assert (await ledger.row("outbox"))["traceparent"] == CALLERS_TRACEPARENT
    assert "traceparent" not in (await signup_api.http.post("/v1/signups", json=ASA)).headers
