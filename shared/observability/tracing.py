"""Tracing as a process's environment asks for it: off, or OpenTelemetry's (ADR 0012)."""

from .spans import OFF, Tracing


def tracing_of(endpoint: str, process: str) -> Tracing:
    """Tracing as the environment wants it. `process` is the `service.name`, the word that logs know it by."""
    if not endpoint:
        return OFF
    from .otlp import OtlpTracing  # noqa: PLC0415 - the SDK takes 0.15 s and 20 MB, which only who uses it should pay

    return OtlpTracing.connect(endpoint, process)
