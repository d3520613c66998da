"""Chooses the tracing of a process: off, or OpenTelemetry's (ADR 0012)."""

from .spans import OFF, Tracing


def tracing_of(endpoint: str, process: str) -> Tracing:
    """Tracing to `endpoint`, off when it is empty. `process` is the `service.name`, the same as in logs."""
    if not endpoint:
        return OFF
    from .otlp import OtlpTracing  # noqa: PLC0415 - the SDK takes 0.15 s and 20 MB: only when used

    return OtlpTracing.connect(endpoint, process)
