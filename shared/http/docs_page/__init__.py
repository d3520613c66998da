"""`GET /docs`: Swagger UI over `/openapi.json`, served from here (`vendor/swagger-ui/README.md`, ADR 0041).

Nothing is read before the page is asked for. Files are streamed from the disk; what stays in memory is their hashes.
"""

import functools
import hashlib
from html import escape
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, FastAPI, Path
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from ...contract.problems import NotFound
from ..routing import StrictRoute, for_browsers

PATH = "/docs"

_HERE = FilePath(__file__).parent
_SWAGGER_UI = _HERE / "vendor" / "swagger-ui"
FILES = {
    file.name: (file, media)
    for file, media in (
        (_HERE / "docs.js", "text/javascript"),
        (_HERE / "docs.css", "text/css"),
        (_SWAGGER_UI / "swagger-ui-bundle.js", "text/javascript"),
        (_SWAGGER_UI / "swagger-ui.css", "text/css"),
        (_SWAGGER_UI / "favicon-32x32.png", "image/png"),
        (_SWAGGER_UI / "LICENSE.txt", "text/plain"),
        (_SWAGGER_UI / "NOTICE.txt", "text/plain"),
        (_SWAGGER_UI / "swagger-ui-bundle.js.LICENSE.txt", "text/plain"),
    )
}
_HEADERS = {
    # All comes from here, nothing stands inline. Icons of the style sheet are data: URLs, pictures in answers blobs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# Their URLs change with their content.
_FILE_HEADERS = _HEADERS | {"Cache-Control": "public, max-age=31536000, immutable", "Accept-Ranges": "none"}


class _WholeFile(FileResponse):
    """Ignores `Range`, as a server may (RFC 9110 section 14.2): Starlette answers a wrong one in plain text."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


def docs_router() -> APIRouter:
    """The page, and the files that it loads. The app must be made with `docs_url=None`."""
    router = APIRouter(route_class=StrictRoute)

    @router.get(PATH, response_class=Response, include_in_schema=False)
    @for_browsers
    async def get_docs(request: Request) -> Response:
        """Every call, to read and to try."""
        app: FastAPI = request.app
        return Response(_page(app.title), headers=_HEADERS | {"Cache-Control": "no-cache"}, media_type="text/html")

    @router.get(PATH + "/{mark}/{file}", response_class=Response, include_in_schema=False)
    async def get_docs_file(
        mark: Annotated[str, Path(max_length=100)], file: Annotated[str, Path(max_length=100)]
    ) -> Response:
        """A script, style sheet or licence of the page."""
        if file not in FILES or mark != _mark(file):
            raise NotFound("The page of the API has no such file, or had it in another version.")
        path, media = FILES[file]
        return _WholeFile(path, headers=_FILE_HEADERS, media_type=media)

    return router


@functools.cache
def _mark(name: str) -> str:
    """A hash of the file's content. Reads the file once."""
    return hashlib.sha256(FILES[name][0].read_bytes()).hexdigest()[:12]


def _page(title: str) -> str:
    """Its links are relative, so that it works below a prefix of a proxy."""
    page = (_HERE / "page.html").read_text(encoding="utf-8").replace("{title}", escape(title))
    for name in FILES:
        page = page.replace(f"{{{name}}}", f"docs/{_mark(name)}/{name}")
    return page
