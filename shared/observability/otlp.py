"""Tracing with OpenTelemetry's SDK, sent as OTLP over HTTP. Only `tracing` imports it, and only when tracing is on.

Spans wait in a bounded queue that a thread empties. While the collector is down the oldest are dropped; nothing waits
for it or fails because of it. The SDK reads sampler, queue, headers and more from `OTEL_…` variables.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import ClassVar

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_SPAN_LINK_COUNT_LIMIT
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as SdkSpan

from ..contract.correlation import is_traceparent
from ..contract.mails import MAX_BATCH
from .spans import NO_ATTRIBUTES, Attributes, Kind, Span, Tracing

# Time to export the remaining spans when a process ends. A slower collector counts as down.
_CLOSE_SECONDS = 3.0
_SECONDS_BETWEEN_WARNINGS = 60.0
_EXPORTER_LOGGER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_KINDS = {
    Kind.SERVER: SpanKind.SERVER,
    Kind.CLIENT: SpanKind.CLIENT,
    Kind.PRODUCER: SpanKind.PRODUCER,
    Kind.CONSUMER: SpanKind.CONSUMER,
}


class OtlpSpan(Span):
    """A span that is exported when it ends, if it is sampled."""

    __slots__ = ("_span",)

    def __init__(self, span: SdkSpan) -> None:
        super().__init__(_traceparent(span.get_span_context()))
        self._span = span

    def end(self, attributes: Attributes = NO_ATTRIBUTES, *, name: str | None = None, error: str | None = None) -> None:
        if name is not None:
            self._span.update_name(name)
        self._span.set_attributes(attributes)
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class OtlpTracing(Tracing):
    """Makes real spans. Leaves OpenTelemetry's global state alone, so that two apps in one process do not clash."""

    on: ClassVar[bool] = True

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("counterfoil")

    @classmethod
    def connect(cls, endpoint: str, process: str) -> "OtlpTracing":
        """Export spans of `process` to `endpoint`. Starts a thread, which connects when there is something to send."""
        exporter_logger = logging.getLogger(_EXPORTER_LOGGER)
        if not exporter_logger.filters:
            exporter_logger.addFilter(OncePerInterval(_SECONDS_BETWEEN_WARNINGS))
        provider = provider_of(process)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
        return cls(provider)

    def begin(
        self,
        name: str,
        kind: Kind,
        *,
        parent: str | None = None,
        links: Sequence[str | None] = (),
        attributes: Attributes = NO_ATTRIBUTES,
        seconds_ago: float = 0.0,
    ) -> Span:
        # Explicit even when empty: spans of other OpenTelemetry users in this process are no parents of ours.
        context = Context()
        if (parent_context := _span_context(parent)) is not None:
            context = set_span_in_context(NonRecordingSpan(parent_context), context)
        return OtlpSpan(
            self._tracer.start_span(
                name,
                context,
                _KINDS[kind],
                attributes,
                [Link(linked) for linked in map(_span_context, links) if linked is not None],
                start_time=time.time_ns() - int(seconds_ago * 1e9),
            )
        )

    async def close(self) -> None:
        # The SDK's own shutdown may take half a minute while the collector is down, and accepts no timeout.
        shutdown = threading.Thread(target=self._provider.shutdown, name="tracing-end", daemon=True)
        shutdown.start()
        await asyncio.to_thread(shutdown.join, _CLOSE_SECONDS)


class OncePerInterval(logging.Filter):
    """Passes one record per interval: an outage of the collector is worth one line a minute."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._next = 0.0

    def filter(self, _record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True


def provider_of(process: str) -> TracerProvider:
    """Makes the spans of `process`, without an exporter yet. Not shut down at exit by itself: that may take long."""
    return TracerProvider(resource=_resource(process), span_limits=_limits(), shutdown_on_exit=False)


def _resource(process: str) -> Resource:
    """Names the process; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence."""
    ours = Resource.create({"service.name": process, "service.namespace": "counterfoil"})
    return ours.merge(OTELResourceDetector().detect())


def _limits() -> SpanLimits:
    """The span of a batch call links each of its rows; the SDK would keep 128 links and drop the others."""
    return SpanLimits() if os.environ.get(OTEL_SPAN_LINK_COUNT_LIMIT) else SpanLimits(max_links=MAX_BATCH)


def _span_context(traceparent: str | None) -> SpanContext | None:
    """None for a malformed traceparent: the work of its row goes on."""
    if traceparent is None or not is_traceparent(traceparent):
        return None
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _traceparent(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
