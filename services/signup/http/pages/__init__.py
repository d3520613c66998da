"""Pages for users who follow a link in a mail: plain HTML without scripts or external requests.

`<page>.html` is the structure of a page, `<language>.toml` has its texts, and `layout.html` surrounds both.
"""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from shared.process.template_faults import refusal

from . import languages
from .accept_language import preferred
from .languages import Language

_FOLDER = Path(__file__).parent


@cache
def _environment(folder: Path) -> Environment:
    return Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )


@cache
def _languages(folder: Path) -> Mapping[str, Language]:
    return languages.load(folder)


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
        "Vary": "Accept-Language",
        "X-Content-Type-Options": "nosniff",
        "X-Robots-Tag": "noindex",
    }


def check(folder: Path = _FOLDER) -> None:
    """Render every page once in every language.

    Raises:
        ConfigurationError: a page is broken or a text is missing; so it stops the start, not the first person who
            follows a link.
    """
    environment = _environment(folder)
    spoken = _languages(folder)
    for file in (folder / "style.css", *(folder / f"{page}.html" for page in languages.pages_in(folder))):
        try:
            file.read_text(encoding="utf-8")
            if file.suffix == ".html":
                for language in spoken.values():
                    _html(environment, file.stem, language, style="")
        except Exception as error:  # noqa: BLE001 - a template may raise anything
            raise refusal(error, file, "the page cannot be rendered") from None


def render(
    page: str, accept_language: str, status: int = 200, more_headers: Mapping[str, str] | None = None
) -> Response:
    """The page `<page>.html` in the language that an Accept-Language header prefers.

    Pages take no values, because they show nothing about the user.
    """
    spoken = _languages(_FOLDER)
    language = spoken[preferred(accept_language, tuple(spoken))]
    html = _html(_environment(_FOLDER), page, language, _style())
    headers = {**_headers(), "Content-Language": language.tag, **(more_headers or {})}
    return Response(html, status, headers, media_type="text/html")


def _html(environment: Environment, page: str, language: Language, style: str) -> str:
    template = environment.get_template(f"{page}.html")
    return template.render(language=language, texts=language.texts[page], style=style)
