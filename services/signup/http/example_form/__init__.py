"""A sign-up form to copy: /signup/example, with ALTCHA's widget served from here (`vendor/README.md`).

It posts to this service like a form of the product would, with or without SIGNUP_CHALLENGE.
"""

from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from shared.contract.problems import NotFound
from shared.http import openapi
from shared.http.routing import StrictRoute, for_browsers

router = APIRouter(route_class=StrictRoute, tags=["Signups"])

_HERE = FilePath(__file__).parent
_PAGE = (_HERE / "form.html").read_bytes()
_FILES = {
    file.name: (media, file.read_bytes())
    for file, media in (
        (_HERE / "form.js", "text/javascript"),
        (_HERE / "form.css", "text/css"),
        (_HERE / "vendor" / "altcha.js", "text/javascript"),
        (_HERE / "vendor" / "altcha-sha.js", "text/javascript"),
        (_HERE / "vendor" / "altcha.css", "text/css"),
        (_HERE / "vendor" / "LICENSE.txt", "text/plain"),
    )
}
_HEADERS = {
    # All comes from here, nothing stands inline. Without scripts the form is not sent: a URL would show what was typed.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; worker-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}


_html: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}}}, "description": "A page with a form"}
}


@router.get("/signup/example", response_class=Response, responses=openapi.error_responses() | _html)
@for_browsers
async def get_example_form(request: Request) -> Response:
    """A sign-up form that solves the challenge, for developers to try and to copy."""
    del request
    return Response(_PAGE, headers=_HEADERS, media_type="text/html")


@router.get("/signup/example/{file}", response_class=Response, include_in_schema=False)
async def get_example_file(file: Annotated[str, Path(max_length=100)]) -> Response:
    """A script or style sheet of the example form."""
    if file not in _FILES:
        raise NotFound("The example form has no such file.")
    media, content = _FILES[file]
    return Response(content, headers=_HEADERS, media_type=media)
