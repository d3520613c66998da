"""Structured logs: one JSON line per event on standard output, with the correlation ID of its cause.

Personal and secret data is masked (`masking`), also in tracebacks (`tracebacks`) and in lines of libraries.
"""

import logging
import sys
from types import TracebackType
from typing import TextIO

import structlog

from ..contract.correlation import current
from .masking import Masker
from .tracebacks import render

# These log every request or job; our own events say more.
_QUIET = ("uvicorn.access", "httpx", "httpcore", "arq.worker", "arq.jobs", "mail.log")
_OURS = ("services", "shared")


def _add_correlation(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    correlation = current()
    if correlation is not None:
        event.setdefault("correlation_id", correlation.request_id)
        if correlation.traceparent:
            event.setdefault("traceparent", correlation.traceparent)
    return event


def configure(service: str, level: str = "INFO", *, personal_data: bool = False, stream: TextIO | None = None) -> None:
    """Send structlog, the standard library's loggers, warnings and fatal errors through one JSON renderer.

    `personal_data` turns masking off. Without a `stream`, lines go to standard output.
    """

    def add_service(_l: object, _m: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    common: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_service,
        _add_correlation,
        structlog.processors.format_exc_info if personal_data else structlog.processors.ExceptionRenderer(render),
    ]
    structlog.configure(
        processors=[*common, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        cache_logger_on_first_use=True,
    )
    rendering: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        *([] if personal_data else [Masker()]),
        structlog.processors.JSONRenderer(),
    ]
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=common, processors=rendering))
    root = logging.getLogger()
    root.handlers = [handler]
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    # Debug lines of libraries show the data they work on: rows, arguments, whole conversations.
    root.setLevel(level if personal_data else max(logging.getLevelName(level), logging.INFO))
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_fatal_error


def _log_fatal_error(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, Exception):  # Ctrl-C is not a fault
        sys.__excepthook__(kind, error, traceback)
        return
    get_logger(__name__).critical("process_died", exc_info=(kind, error, traceback))


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    return structlog.get_logger(name)  # type: ignore[no-any-return]
