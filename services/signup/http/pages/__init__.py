"""Pages for users who follow a link in a mail: plain HTML without scripts or external requests."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from shared.process.template_faults import refusal

_FOLDER = Path(__file__).parent


@cache
def _environment(folder: Path = _FOLDER) -> Environment:
    return Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )


@cache
def _style() -> str:
    return (_FOLDER / "style.css").read_text(encoding="utf-8")


@cache
def _headers() -> dict[str, str]:
    style_hash = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return {
        # No scripts, no loaded resources, no framing; the form posts to this origin only.
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{style_hash}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'",
        # The URL holds the token.
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "X-Robots-Tag": "noindex",
    }


def check(folder: Path = _FOLDER) -> None:
    """Render every page once.

    Raises:
        ConfigurationError: a page is broken; so it stops the start, not the first person who follows a link.
    """
    environment = _environment(folder)
    for file in (folder / "style.css", *sorted(folder.glob("*.html"))):
        try:
            file.read_text(encoding="utf-8")
            if file.suffix == ".html":
                environment.get_template(file.name).render(style="")
        except Exception as error:  # noqa: BLE001 - a template may raise anything
            raise refusal(error, file, "the page cannot be rendered") from None


def render(page: str, status: int = 200, more_headers: Mapping[str, str] | None = None) -> Response:
    """The page `<page>.html`. Pages take no values, because they show nothing about the user."""
    html = _environment().get_template(f"{page}.html").render(style=_style())
    return Response(html, status, {**_headers(), **(more_headers or {})}, media_type="text/html")
