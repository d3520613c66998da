"""What is exported of spans, and what they hand on."""

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

THEIRS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NOT_SAMPLED = THEIRS[:-2] + "00"


@pytest.fixture
def kept() -> KeptSpans:
    return KeptSpans()


def test_what_is_handed_on_lies_below_the_parent_and_is_a_traceparent(kept: KeptSpans) -> None:
    handed_on = kept.tracing.begin("x", Kind.SERVER, parent=THEIRS).traceparent
    assert handed_on is not None
    assert is_traceparent(handed_on)
    assert handed_on.split("-")[1] == THEIRS.split("-")[1]
    assert handed_on.split("-")[2] != THEIRS.split("-")[2]


@pytest.mark.parametrize("parent", [None, "", "nonsense", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"])
def test_without_a_readable_parent_a_span_begins_a_trace_of_its_own(kept: KeptSpans, parent: str | None) -> None:
    span = kept.tracing.begin("x", Kind.SERVER, parent=parent, links=[parent])
    span.end()
    (seen,) = kept.ended
    assert seen.parent is None
    assert not seen.links
    assert is_traceparent(str(span.traceparent))


def test_what_the_caller_does_not_sample_is_not_exported_and_stays_unsampled_further_on(kept: KeptSpans) -> None:
    above = kept.tracing.begin("x", Kind.SERVER, parent=NOT_SAMPLED)
    below = kept.tracing.begin("y", Kind.CONSUMER, parent=above.traceparent)
    below.end()
    above.end()
    assert kept.ended == ()
    assert str(below.traceparent).endswith("-00")
    assert str(below.traceparent).split("-")[1] == NOT_SAMPLED.split("-")[1]


def test_a_span_that_began_before_it_was_made_has_taken_that_long(kept: KeptSpans) -> None:
    kept.tracing.begin("x", Kind.CONSUMER, seconds_ago=60).end()
    (seen,) = kept.ended
    assert seen.start_time is not None
    assert seen.end_time is not None
    assert seen.end_time - seen.start_time >= 60e9


def test_an_error_is_its_kind_and_the_status_and_no_more(kept: KeptSpans) -> None:
    kept.tracing.begin("x", Kind.CONSUMER).end({"n": 1}, error="refused")
    kept.tracing.begin("y", Kind.CONSUMER).end({"n": 2})
    failed, fine = kept.ended
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.status.description is None
    assert dict(failed.attributes or {}) == {"n": 1, "error.type": "refused"}
    assert failed.events == ()
    assert fine.status.status_code is StatusCode.UNSET


def test_tracing_that_is_off_hands_on_what_it_was_given() -> None:
    span = OFF.begin("x", Kind.SERVER, parent=THEIRS)
    span.end({"n": 1}, error="x")
    assert span.traceparent == THEIRS
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
def test_spans_go_where_the_standard_variables_say(settings: dict[str, str | bool], endpoint: str) -> None:
    made = ServiceSettings(**settings)  # type: ignore[arg-type]
    assert made.traces_endpoint == endpoint
    if not endpoint:
        assert tracing_of(made.traces_endpoint, "x") is OFF


@pytest.mark.parametrize("url", ["collector:4317", "grpc://c:4317", "http://"])
def test_an_endpoint_that_is_no_url_of_http_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        ServiceSettings(otel_exporter_otlp_endpoint=url)


async def test_a_ratio_of_none_exports_only_what_a_caller_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    with collecting() as collector:
        tracing = OtlpTracing.connect(f"{collector.url}/v1/traces", "signup-api")
        tracing.begin("of nobody", Kind.SERVER).end()
        tracing.begin("of a caller", Kind.SERVER, parent=THEIRS).end()
        await tracing.close()
    assert [(span.name, span.service) for span in collector.spans] == [("of a caller", "signup-api")]


async def test_the_environment_has_the_last_word_on_the_name_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=ours,deployment.environment.name=test")
    with collecting() as collector:
        tracing = OtlpTracing.connect(f"{collector.url}/v1/traces", "signup-api")
        tracing.begin("x", Kind.SERVER).end()
        await tracing.close()
    assert [span.service for span in collector.spans] == ["ours"]


async def test_a_call_for_a_whole_batch_links_each_of_its_rows() -> None:
    rows = [f"00-{n:032x}-{n:016x}-01" for n in range(1, 501)]
    with collecting() as collector:
        tracing = OtlpTracing.connect(f"{collector.url}/v1/traces", "signup-worker")
        tracing.begin("x", Kind.CLIENT, links=rows).end()
        await tracing.close()
    (span,) = collector.spans
    assert [f"00-{trace_id}-{span_id}-01" for trace_id, span_id in span.links] == rows


def test_complaints_about_the_collector_come_through_seldom() -> None:
    line = logging.LogRecord("x", logging.WARNING, "", 0, "", None, None)
    often, seldom = OncePerInterval(0), OncePerInterval(3600)
    assert [often.filter(line) for _ in range(3)] == [True, True, True]
    assert [seldom.filter(line) for _ in range(3)] == [True, False, False]


async def test_whoever_ends_does_not_wait_for_a_collector_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "_CLOSE_SECONDS", 0.05)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tracing = OtlpTracing.connect(f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces", "signup-api")
        tracing.begin("x", Kind.SERVER).end()
        await tracing.close()
        (ending,) = [thread for thread in threading.enumerate() if thread.name == "tracing-end"]
        assert ending.daemon, "nor does the interpreter"
        await asyncio.to_thread(ending.join)
