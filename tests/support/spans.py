"""Tracing that keeps its spans in memory."""

from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from shared.observability.otlp import OtlpTracing, provider_of


@dataclass
class KeptSpans:
    """`tracing` goes into the code under test; `ended` are its spans in the order they ended."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    def __post_init__(self) -> None:
        provider = provider_of("test")
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = OtlpTracing(provider)

    @property
    def ended(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def summaries(self) -> list[tuple[str, object, object]]:
        """Name, `counterfoil.outcome` and `error.type`; the span status must agree with the latter."""
        summaries: list[tuple[str, object, object]] = []
        for span in self.ended:
            attributes = dict(span.attributes or {})
            error = attributes.get("error.type")
            assert (span.status.status_code is StatusCode.ERROR) is (error is not None)
            summaries.append((span.name, attributes.get("counterfoil.outcome"), error))
        return summaries


def context_of(span: ReadableSpan) -> str:
    """As a traceparent."""
    assert span.context is not None
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"


def parent_of(span: ReadableSpan) -> str | None:
    """As a traceparent without its flags."""
    return f"00-{span.parent.trace_id:032x}-{span.parent.span_id:016x}" if span.parent else None


def links_of(span: ReadableSpan) -> list[str]:
    """As traceparents without their flags."""
    return [f"00-{link.context.trace_id:032x}-{link.context.span_id:016x}" for link in span.links]
