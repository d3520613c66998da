"""Pages for users who follow a link in a mail: plain HTML, without scripts or external requests but for a logo.

`<page>.html` is the structure of a page, `<language>.toml` has its texts, and `layout.html` surrounds both. A folder of
one's own (SIGNUP_PAGES) lies over them, file by file.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from shared.contract.configuration import ConfigurationError
from shared.process.template_faults import refusal

from ...brand import Brand
from . import languages
from .accept_language import preferred

SHIPPED = Path(__file__).parent
_STYLE = "style.css"
# Black or white is read on it, whichever differs more (WCAG 2.2, relative luminance).
_BRIGHT = 0.179


class Pages:
    """All pages, in all languages. It reads no file after `load`."""

    def __init__(self, layers: tuple[Path, ...], brand: Brand) -> None:
        self._layers = layers
        self._brand = brand
        self._environment = Environment(
            loader=FileSystemLoader(layers),
            autoescape=True,
            undefined=StrictUndefined,
            keep_trailing_newline=True,
            auto_reload=False,
            cache_size=-1,
        )
        self._languages = languages.load(layers)
        self._style = ""
        self._headers: dict[str, str] = {}

    @classmethod
    def load(cls, own: Path | None = None, brand: Brand | None = None, *, shipped: Path = SHIPPED) -> "Pages":
        """Read everything, and render every page once in every language, with a way back and without.

        Raises:
            ConfigurationError: a page is broken or a text is missing; so it stops the start, not the first person who
                follows a link.
        """
        if own is not None and not own.is_dir():
            raise ConfigurationError(f"SIGNUP_PAGES: there is no folder {own}")
        layers = (shipped,) if own is None else (own, shipped)
        pages = cls(layers, brand or Brand())
        pages._read_style()
        for page in languages.pages_in(layers):
            try:
                for tag in pages._languages:
                    for back in (None, "https://example.com/"):
                        pages._html(page, tag, back)
            except Exception as error:  # noqa: BLE001 - a template may raise anything
                raise refusal(error, languages.file_in(layers, f"{page}.html"), "the page cannot be rendered") from None
        return pages

    def render(
        self,
        page: str,
        accept_language: str,
        status: int = 200,
        more_headers: Mapping[str, str] | None = None,
        *,
        back: str | None = None,
    ) -> Response:
        """The page `<page>.html` in the language that an Accept-Language header prefers.

        Pages show nothing about the user; `back` is the page of the product that they lead back to.
        """
        tag = preferred(accept_language, tuple(self._languages))
        headers = {**self._headers, "Content-Language": tag, **(more_headers or {})}
        return Response(self._html(page, tag, back), status, headers, media_type="text/html")

    def _html(self, page: str, tag: str, back: str | None) -> str:
        language = self._languages[tag]
        return self._environment.get_template(f"{page}.html").render(
            language=language, texts=language.texts[page], style=self._style, brand=self._brand, back=back
        )

    def _read_style(self) -> None:
        file = languages.file_in(self._layers, _STYLE)
        try:
            self._style = file.read_text(encoding="utf-8") + _accent(self._brand.accent_color)
        except (OSError, UnicodeDecodeError) as error:
            raise refusal(error, file, "the style sheet cannot be read") from None
        style_hash = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        logo = urlsplit(self._brand.logo_url)
        pictures = f"img-src {logo.scheme}://{logo.netloc}; " if logo.netloc else ""
        self._headers = {
            # No scripts, no loaded resources but the logo, no framing; the form posts to this origin only.
            "Content-Security-Policy": f"default-src 'none'; {pictures}style-src 'sha256-{style_hash}'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            # The URL holds the token.
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            "Vary": "Accept-Language",
            "X-Content-Type-Options": "nosniff",
            "X-Robots-Tag": "noindex",
        }


def _accent(color: str) -> str:
    if not color:
        return ""
    on_color = "#000" if _luminance(color) > _BRIGHT else "#fff"
    return f":root {{ --accent: {color}; --on-accent: {on_color}; }}\n"


def _luminance(color: str) -> float:
    """Relative luminance of `#rrggbb`, 0 to 1 (WCAG 2.2)."""
    linear = []
    for place in (1, 3, 5):
        share = int(color[place : place + 2], 16) / 255
        linear.append(share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004 - sRGB
    red, green, blue = linear
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
