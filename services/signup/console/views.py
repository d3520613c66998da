"""Turns values into pages: the templates, what they may call, and the headers of every answer.

All text is escaped; no template marks text from people or gateways as safe. Times are UTC.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import Response

from .static_files import StaticFiles

HEADERS = {
    # All comes from here, and nothing stands inline: no script, no style, no event handler.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    # `no-referrer` would take the Origin from our own forms.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_MANY = 10_000
NOTHING = "\N{EN DASH}"


class Views:
    def __init__(self, static: StaticFiles) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        self._environment.filters |= {
            "when": when,
            "ago": ago,
            "lasting": lasting,
            "count": count,
            "rate": rate,
            "detail": detail,
            "query": query,
        }
        self._environment.globals |= {"file": static.url_of, "now": lambda: datetime.now(UTC)}

    def page(
        self, template: str, values: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response:
        html = self._environment.get_template(template).render(values)
        return Response(html, status, {**HEADERS, **(headers or {})}, media_type="text/html")


def as_time(value: datetime | str) -> datetime:
    """Times of signup's database are times, those of the mail service text."""
    return (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone(UTC)


def when(value: datetime | str | None) -> Markup:
    """A time, to the second."""
    if value is None:
        return Markup(NOTHING)  # noqa: S704 - a dash of our own
    at = as_time(value)
    exact = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(exact, at.strftime("%Y-%m-%d %H:%M:%S"))


def ago(value: datetime | str | None) -> str:
    if value is None:
        return "never"
    seconds = (datetime.now(UTC) - as_time(value)).total_seconds()
    return f"{lasting(seconds)} ago" if seconds >= 0 else f"in {lasting(-seconds)}"


def lasting(seconds: float | None) -> str:
    """A length of time in its largest unit."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return "< 1 s"
    for limit, unit, name in ((_MINUTE, 1, "s"), (_HOUR, _MINUTE, "min"), (2 * _DAY, _HOUR, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / _DAY:.0f} days"


def count(number: float | None) -> str:
    """A number with thin spaces; what the services count up to 10,000 has a plus there."""
    if number is None:
        return NOTHING
    return f"{number:,.0f}".replace(",", "\u202f") + ("+" if number == _MANY else "")


def rate(per_minute: float | None) -> str:
    if per_minute is None:
        return NOTHING
    if per_minute and per_minute < 10:  # noqa: PLR2004 - below ten a digit more says something
        return f"{per_minute:.1f}"
    return count(round(per_minute))


def detail(values: Mapping[str, Any], leave_out: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The members of a JSON object, as text, without those that are empty."""
    shown = ((name, value) for name, value in values.items() if name not in leave_out and value not in (None, "", []))
    return [(name.replace("_", " "), value if isinstance(value, str) else _json(value)) for name, value in shown]


def _json(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()


def query(values: Mapping[str, Any], **changes: Any) -> str:
    """A query string with these fields changed; empty ones are left out."""
    return urlencode({k: v for k, v in {**values, **changes}.items() if v not in (None, "", [])}, doseq=True)
