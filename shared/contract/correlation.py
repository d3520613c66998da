"""Correlation: the request ID and W3C trace context, passed on from the first request to the last SMTP attempt."""

import re
from contextvars import ContextVar
from dataclasses import dataclass

from .ids import uuid7

REQUEST_ID_HEADER = "X-Request-ID"
TRACEPARENT_HEADER = "traceparent"

_REQUEST_ID = re.compile(r"[!-~]{1,128}")
# W3C Trace Context, section 3.2: version 00, and neither ID may be all zeros.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Correlation:
    request_id: str
    traceparent: str | None = None

    def headers(self) -> dict[str, str]:
        """Headers for a request to the next service."""
        headers = {REQUEST_ID_HEADER: self.request_id}
        if self.traceparent:
            headers[TRACEPARENT_HEADER] = self.traceparent
        return headers


_current: ContextVar[Correlation | None] = ContextVar("correlation", default=None)


def current() -> Correlation | None:
    return _current.get()


def bind(correlation: Correlation | None) -> None:
    _current.set(correlation)


def accept(request_id: str | None, traceparent: str | None) -> Correlation:
    """The client's values where they are well formed; otherwise a new request ID and no traceparent.

    A malformed correlation is no reason to refuse work (W3C Trace Context, section 4.3, says to ignore it).
    """
    if request_id is None or not is_request_id(request_id):
        request_id = str(uuid7())
    if traceparent is not None and not is_traceparent(traceparent):
        traceparent = None
    return Correlation(request_id, traceparent)


def is_request_id(text: str) -> bool:
    return _REQUEST_ID.fullmatch(text) is not None


def is_traceparent(text: str) -> bool:
    return _TRACEPARENT.fullmatch(text) is not None
