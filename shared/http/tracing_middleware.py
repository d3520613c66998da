"""A span for each request to an API, outside all other middleware, which takes it for the caller's trace context.

So everything logged, stored and passed on belongs to this span. Installed only when tracing is on.
"""

from typing import Final

from fastapi.telemetry import TelemetryConfig
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..contract.correlation import TRACEPARENT_HEADER, is_traceparent
from ..observability.spans import Kind, Span, Tracing
from .middleware import UNMATCHED, route_of

# FastAPI's own telemetry exports paths and queries, which hold tokens and addresses here, and exception texts.
NO_TELEMETRY: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
# Traces of probes and scrapes would only hide the others.
_UNTRACED = ("/health", "/metrics")
# Span names must stay bounded, whatever clients send.
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_SERVER_ERRORS = 500
_HEADER = TRACEPARENT_HEADER.encode()


class RequestSpans:
    """ASGI middleware, the outermost. The response echoes the client's own traceparent, if it sent one."""

    def __init__(self, app: ASGIApp, *, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_UNTRACED):
            await self._app(scope, receive, send)
            return
        client_traceparent = _traceparent(scope)
        span = self._begin(scope, client_traceparent)
        other_headers = [header for header in scope["headers"] if header[0] != _HEADER]
        scope = {**scope, "headers": [*other_headers, (_HEADER, (span.traceparent or "").encode())]}
        status = 0

        async def send_echoing(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if client_traceparent:
                    MutableHeaders(raw=message["headers"])[TRACEPARENT_HEADER] = client_traceparent
            await send(message)

        try:
            await self._app(scope, receive, send_echoing)
        finally:
            _end(span, scope, status)

    def _begin(self, scope: Scope, parent: str | None) -> Span:
        attributes = {
            "http.request.method": scope["method"] if scope["method"] in _METHODS else "_OTHER",
            "url.scheme": scope["scheme"],
            "network.protocol.version": scope["http_version"],
        }
        return self._tracing.begin(_method(scope), Kind.SERVER, parent=parent, attributes=attributes)


def _end(span: Span, scope: Scope, status: int) -> None:
    """Follow OpenTelemetry's conventions for HTTP servers: a 4xx is not an error of the server.

    Leave out `url.path`, which they ask for: the path may identify a person, the route does not.
    """
    attributes: dict[str, str | int] = {"http.response.status_code": status} if status else {}
    name, route = _method(scope), route_of(scope)
    if route != UNMATCHED:
        attributes["http.route"] = route
        name = f"{name} {route}"
    span.end(attributes, name=name, error=str(status) if status >= _SERVER_ERRORS else None)


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "HTTP"


def _traceparent(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        text: str = value.decode("latin-1")
        if name == _HEADER and is_traceparent(text):
            return text
    return None
