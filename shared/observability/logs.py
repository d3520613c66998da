"""Structured logs: one JSON line per event on standard output, with the correlation ID of whoever caused it.

What is personal or secret is masked (`masking`), also in tracebacks and in what libraries say.
"""

import logging
import sys
from types import TracebackType
from typing import TextIO

import structlog

from ..contract.correlation import current
from .masking import Masker

# These say on every request or job what our own events say better.
_QUIET = ("uvicorn.access", "httpx", "httpcore", "arq.worker", "arq.jobs")
_OURS = ("services", "shared")


def _add_correlation(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    here = current()
    if here is not None:
        event.setdefault("correlation_id", here.request_id)
        if here.traceparent:
            event.setdefault("traceparent", here.traceparent)
    return event


def configure(service: str, level: str = "INFO", *, personal_data: bool = False, stream: TextIO | None = None) -> None:
    """Send everything that this process says through one JSON renderer: structlog, the standard library's loggers,
    warnings, and what it dies of. `personal_data` shows what is masked otherwise; without a `stream` it is standard
    output.
    """

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
    # Libraries that debug show the very data they work on: rows, arguments, whole conversations.
    root.setLevel(level if personal_data else max(logging.getLevelName(level), logging.INFO))
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_fatal_error


def _log_fatal_error(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, Exception):  # Ctrl-C is no fault
        sys.__excepthook__(kind, error, traceback)
        return
    get_logger(__name__).critical("process_died", exc_info=(kind, error, traceback))


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    return structlog.get_logger(name)  # type: ignore[no-any-return]
