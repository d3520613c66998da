"""The outermost middleware of an API: correlation in and out, one log line per request, no exception escapes."""

import time
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..contract import correlation, problems
from ..db.pool import UNAVAILABLE
from ..observability.foreign_errors import describe as describe_error
from ..observability.log_throttle import LogThrottle
from ..observability.logs import get_logger
from .responses import problem_response

_log = get_logger(__name__)

UNMATCHED = "unmatched"
# For metrics and logs only: the client hung up in the middle of its request. No RFC has a status for it; nginx does.
CLIENT_GONE = 499
# An outage is worth a line now and then, not one for each request.
_SECONDS_BETWEEN_LINES = 5.0


class RequestMiddleware:
    """ASGI middleware. Answers 503 when the service's database is unavailable; 500 without internals on other errors.

    HEAD is answered like GET without the body (RFC 9110 section 9.3.2), so no route has to handle it.
    """

    def __init__(self, app: ASGIApp, *, observe: Callable[[str, str, int, float], None]) -> None:
        self._app = app
        self._observe = observe
        self._throttle = LogThrottle(_SECONDS_BETWEEN_LINES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        accepted = _accept(scope)
        correlation.bind(accepted)
        status = 0
        without_body = scope["method"] == "HEAD"
        # A copy: the server needs the original method to know that no body follows.
        inner = {**scope, "method": "GET"} if without_body else scope

        async def send_correlated(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(raw=message["headers"])
                headers[correlation.REQUEST_ID_HEADER] = accepted.request_id
                if accepted.traceparent:
                    headers[correlation.TRACEPARENT_HEADER] = accepted.traceparent
            elif without_body:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(inner, receive, send_correlated)
        except Exception as error:  # noqa: BLE001 - the last place that can still answer
            problem = self._problem_of(error, scope["method"], route_of(inner))
            if problem is None:
                status = status or CLIENT_GONE
            elif not status:
                await problem_response(problem)(scope, receive, send_correlated)
        seconds = time.perf_counter() - began
        route = route_of(inner)
        scope["route"] = inner.get("route")  # for outer middleware
        self._observe(scope["method"], route, status, seconds)
        _log.debug("request", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 2))

    def _problem_of(self, error: Exception, method: str, route: str) -> problems.Problem | None:
        """What to answer; None when the client is gone. Logs what is a fault of ours, or an outage."""
        if isinstance(error, ClientDisconnect):
            return None
        if isinstance(error, UNAVAILABLE):
            self._log_outage(error)
            return problems.Unavailable("The service's database is unavailable. Send this request again.")
        _log.error("request_failed", exc_info=error, method=method, route=route)
        return problems.Problem("Internal error. It was logged with this request ID.")

    def _log_outage(self, error: BaseException) -> None:
        if (left_out := self._throttle.admit(type(error))) is not None:
            _log.warning("database_unavailable", error=describe_error(error), left_out=left_out)


def route_of(scope: Scope) -> str:
    """The pattern that matched. The path itself may hold an address or a token, which must not be logged."""
    return getattr(scope.get("route"), "path", UNMATCHED)


def _accept(scope: Scope) -> correlation.Correlation:
    request_id = traceparent = None
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            request_id = value.decode("latin-1")
        elif name == b"traceparent":
            traceparent = value.decode("latin-1")
    return correlation.accept(request_id, traceparent)
