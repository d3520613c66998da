"""Which spans are exported, and which trace context they pass on."""

import asyncio
import logging
import socket
import threading

import pytest
from opentelemetry.trace import StatusCode
from pydantic import ValidationError

from shared.contract.correlation import is_traceparent
from shared.observability import otlp
from shared.observability.otlp import OncePerInterval, OtlpTracing
from shared.observability.spans import OFF, Kind
from shared.observability.tracing import tracing_of
from shared.process.settings import ServiceSettings
from tests.support.collector import collecting
from tests.support.spans import KeptSpans

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NOT_SAMPLED = CALLER[:-2] + "00"


@pytest.fixture
def kept() -> KeptSpans:
    return KeptSpans()


def test_the_traceparent_passed_on_belongs_to_a_child_of_the_parent(kept: KeptSpans) -> None:
    passed_on = kept.tracing.begin("x", Kind.SERVER, parent=CALLER).traceparent
    assert passed_on is not None
    assert is_traceparent(passed_on)
    assert passed_on.split("-")[1] == CALLER.split("-")[1]
    assert passed_on.split("-")[2] != CALLER.split("-")[2]


@pytest.mark.parametrize("parent", [None, "", "nonsense", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"])
def test_a_span_without_a_readable_parent_begins_its_own_trace(kept: KeptSpans, parent: str | None) -> None:
    span = kept.tracing.begin("x", Kind.SERVER, parent=parent, links=[parent])
    span.end()
    (seen,) = kept.ended
    assert seen.parent is None
    assert not seen.links
    assert is_traceparent(str(span.traceparent))


def test_an_unsampled_parent_is_not_exported_and_its_children_stay_unsampled(kept: KeptSpans) -> None:
    above = kept.tracing.begin("x", Kind.SERVER, parent=NOT_SAMPLED)
    below = kept.tracing.begin("y", Kind.CONSUMER, parent=above.traceparent)
    below.end()
    above.end()
    assert kept.ended == ()
    assert str(below.traceparent).endswith("-00")
    assert str(below.traceparent).split("-")[1] == NOT_SAMPLED.split("-")[1]


def test_a_span_can_begin_in_the_past(kept: KeptSpans) -> None:
    kept.tracing.begin("x", Kind.CONSUMER, seconds_ago=60).end()
    (seen,) = kept.ended
    assert seen.start_time is not None
    assert seen.end_time is not None
    assert seen.end_time - seen.start_time >= 60e9


def test_an_error_is_exported_as_its_type_and_the_status_only(kept: KeptSpans) -> None:
    kept.tracing.begin("x", Kind.CONSUMER).end({"n": 1}, error="refused")
    kept.tracing.begin("y", Kind.CONSUMER).end({"n": 2})
    failed, fine = kept.ended
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.status.description is None
    assert dict(failed.attributes or {}) == {"n": 1, "error.type": "refused"}
    assert failed.events == ()
    assert fine.status.status_code is StatusCode.UNSET


def test_disabled_tracing_passes_the_traceparent_on_unchanged() -> None:
    span = OFF.begin("x", Kind.SERVER, parent=CALLER)
    span.end({"n": 1}, error="x")
    assert span.traceparent == CALLER
    assert OFF.begin("x", Kind.SERVER).traceparent is None


@pytest.mark.parametrize(
    ("settings", "endpoint"),
    [
        ({}, ""),
        ({"otel_exporter_otlp_endpoint": "http://c:4318"}, "http://c:4318/v1/traces"),
        ({"otel_exporter_otlp_endpoint": "https://c/otlp/"}, "https://c/otlp/v1/traces"),
        ({"otel_exporter_otlp_traces_endpoint": "http://c:4318/mine"}, "http://c:4318/mine"),
        (
            {"otel_exporter_otlp_endpoint": "http://c:4318", "otel_exporter_otlp_traces_endpoint": "http://d/t"},
            "http://d/t",
        ),
        ({"otel_exporter_otlp_endpoint": "http://c:4318", "otel_sdk_disabled": True}, ""),
        ({"otel_exporter_otlp_endpoint": "c:4317", "otel_sdk_disabled": True}, ""),
        ({"otel_exporter_otlp_endpoint": "c:4317", "otel_traces_exporter": "none"}, ""),
    ],
)
def test_the_standard_variables_choose_the_endpoint(settings: dict[str, str | bool], endpoint: str) -> None:
    made = ServiceSettings(**settings)  # type: ignore[arg-type]
    assert made.traces_endpoint == endpoint
    if not endpoint:
        assert tracing_of(made.traces_endpoint, "x") is OFF


@pytest.mark.parametrize("url", ["collector:4317", "grpc://c:4317", "http://"])
def test_an_endpoint_that_is_not_an_http_url_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        ServiceSettings(otel_exporter_otlp_endpoint=url)


async def test_a_ratio_of_zero_exports_only_traces_that_a_caller_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    with collecting() as collector:
        tracing = OtlpTracing.connect(f"{collector.url}/v1/traces", "signup-api")
        tracing.begin("without a caller", Kind.SERVER).end()
        tracing.begin("of a caller", Kind.SERVER, parent=CALLER).end()
        await tracing.close()
    assert [(span.name, span.service) for span in collector.spans] == [("of a caller", "signup-api")]


async def test_the_environment_overrides_the_service_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=ours,deployment.environment.name=test")
    with collecting() as collector:
        tracing = OtlpTracing.connect(f"{collector.url}/v1/traces", "signup-api")
        tracing.begin("x", Kind.SERVER).end()
        await tracing.close()
    assert [span.service for span in collector.spans] == ["ours"]


async def test_the_span_of_a_batch_call_links_each_row() -> None:
    rows = [f"00-{n:032x}-{n:016x}-01" for n in range(1, 501)]
    with collecting() as collector:
        tracing = OtlpTracing.connect(f"{collector.url}/v1/traces", "signup-worker")
        tracing.begin("x", Kind.CLIENT, links=rows).end()
        await tracing.close()
    (span,) = collector.spans
    assert [f"00-{trace_id}-{span_id}-01" for trace_id, span_id in span.links] == rows


def test_log_lines_about_the_collector_are_limited() -> None:
    line = logging.LogRecord("x", logging.WARNING, "", 0, "", None, None)
    often, seldom = OncePerInterval(0), OncePerInterval(3600)
    assert [often.filter(line) for _ in range(3)] == [True, True, True]
    assert [seldom.filter(line) for _ in range(3)] == [True, False, False]


async def test_shutdown_does_not_wait_for_a_collector_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "_CLOSE_SECONDS", 0.05)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tracing = OtlpTracing.connect(f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces", "signup-api")
        tracing.begin("x", Kind.SERVER).end()
        await tracing.close()
        (ending,) = [thread for thread in threading.enumerate() if thread.name == "tracing-end"]
        assert ending.daemon, "the interpreter does not wait either"
        await asyncio.to_thread(ending.join)
