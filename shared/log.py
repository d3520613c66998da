"""Structured logs: one JSON line per event on standard output, with the correlation ID of whoever caused it."""

import logging
import sys

import structlog

from .correlation import current

# These say on every request or job what our own events say better.
_QUIET = ("uvicorn.access", "httpx", "httpcore", "arq.worker", "arq.jobs")


def _add_correlation(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    here = current()
    if here is not None:
        event.setdefault("correlation_id", here.request_id)
        if here.traceparent:
            event.setdefault("traceparent", here.traceparent)
    return event


def configure(service: str, level: str = "INFO") -> None:
    """Send structlog and the standard library's loggers through one JSON renderer."""

    def add_service(_l: object, _m: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    common: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_service,
        _add_correlation,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*common, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=common,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    return structlog.get_logger(name)  # type: ignore[no-any-return]
