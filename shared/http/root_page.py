"""`GET /` says what this service is and where to go: a page for browsers, JSON or plain text for programs and curl."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from . import openapi
from .responses import JsonResponse
from .routing import StrictRoute, for_browsers

# An app shows those that it serves.
_LINKS = {
    "/docs": "Every call, to read and to try",
    "/openapi.json": "The same for programs: OpenAPI",
    "/console": "The console for operators",
    "/health": "Whether it is well; every check, with a key for audit:read",
    "/metrics": "Numbers for Prometheus, with a key for audit:read",
    "/version": "The build that runs",
}
_STYLE = (
    ":root{color-scheme:light dark;font:1rem/1.6 system-ui,sans-serif}"
    "body{max-width:40rem;margin:3rem auto;padding:0 1rem}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGE_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


class Link(BaseModel):
    """A place to go on from here."""

    path: str
    """A path on this service."""
    what: str
    """What is there."""


class Root(BaseModel):
    """What this service is, and where to go from here."""

    service: str
    """The name of the service."""
    version: str
    """The version of Counterfoil."""
    description: str
    """What it does, in a sentence."""
    links: list[Link]
    """Where to go from here."""


def root_router() -> APIRouter:
    """The route of `/`. Title, version and description are those of the app."""
    router = APIRouter(route_class=StrictRoute, tags=["Service"])
    texts: dict[int | str, dict[str, Any]] = {
        200: {"content": {media: {"schema": {"type": "string"}} for media in ("text/html", "text/plain")}}
    }

    @router.get("/", response_model=Root, responses=openapi.error_responses() | texts)
    @for_browsers
    async def get_root(request: Request) -> Response:
        """What this service is, and where to go. JSON, unless `Accept` prefers `text/html` or `text/plain`."""
        media = preferred(",".join(request.headers.getlist("accept")), tuple(_RENDERERS))
        response = _RENDERERS[media](_describe(request))
        response.headers["Vary"] = "Accept"
        return response

    return router


def preferred(accept: str, offered: Sequence[str]) -> str:
    """The media type of `offered` that an Accept header prefers (RFC 9110 section 12.5.1).

    The first of equals, and the first of all when none is acceptable: an answer helps more than a refusal.
    """
    wanted = dict(_media_range(part) for part in accept.split(",") if part.strip())

    def quality(media: str) -> float:
        for pattern in (media, f"{media.partition('/')[0]}/*", "*/*"):
            if pattern in wanted:
                return wanted[pattern]
        return 0.0

    return max(offered, key=quality)


def _media_range(part: str) -> tuple[str, float]:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media, float(value)
            except ValueError:
                return media, 0.0
    return media, 1.0


def _describe(request: Request) -> Root:
    app = request.app
    links = [Link(path=path, what=what) for path, what in _LINKS.items() if _is_served(request, path)]
    return Root(service=app.title, version=app.version, description=app.description, links=links)


def _is_served(request: Request, path: str) -> bool:
    scope = {**request.scope, "method": "GET", "path": path}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)


def _as_json(root: Root) -> Response:
    return JsonResponse(root.model_dump())


def _as_text(root: Root) -> Response:
    width = max(len(link.path) for link in root.links) + 2
    lines = [f"{root.service} {root.version}", root.description, ""]
    lines += [f"{link.path:{width}}{link.what}" for link in root.links]
    return Response("\n".join(lines) + "\n", media_type="text/plain")


def _as_page(root: Root) -> Response:
    items = "\n".join(
        f'<li><a href="{escape(at.path)}">{escape(at.path)}</a>: {escape(at.what)}</li>' for at in root.links
    )
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(root.service)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(root.service)} {escape(root.version)}</h1>
<p>{escape(root.description)}</p>
<ul>
{items}
</ul>
</body>
</html>
"""
    return Response(page, headers=_PAGE_HEADERS, media_type="text/html")


_RENDERERS: dict[str, Callable[[Root], Response]] = {
    "application/json": _as_json,
    "text/html": _as_page,
    "text/plain": _as_text,
}
