"""Pages for people: the list of mails, and one mail. Plain HTML without scripts; templates are in `pages/`.

Mails are untrusted. Everything is escaped, and HTML is shown only in a sandboxed frame (`html_frame.py`).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from . import html_frame, message
from .message import Json
from .requests import open_mail, whole_number
from .search import condition_for_fields
from .store import Store, StoredMail

MAILS_PER_PAGE = 50
VIEWS = {"html": "HTML", "text": "Text", "headers": "Headers", "source": "Source", "attachments": "Attachments"}
LONGEST_SOURCE = 500_000  # characters on the page; the whole source is a link
# The frame inherits this policy: no scripts, nothing remote, and it can go nowhere. Styles and images of data: URLs are
# for the HTML of mails.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
LINK = re.compile(r"""https?://[^\s<>"']*[^\s<>"'.,;:!?)\]]""")


def _names(people: Sequence[Json]) -> str:
    return ", ".join(f"{one['Name']} <{one['Address']}>" if one["Name"] else str(one["Address"]) for one in people)


def _time(created: str) -> str:
    return created[:19].replace("T", " ")


def _linked(text: str) -> Markup:
    pieces, end = [], 0
    for found in LINK.finditer(text):
        link = Markup('<a href="{0}" target="_blank" rel="noopener noreferrer">{0}</a>').format(found[0])
        pieces += [escape(text[end : found.start()]), link]
        end = found.end()
    return Markup().join([*pieces, escape(text[end:])])


def _make_templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"names": _names, "time": _time, "linked": _linked}
    return templates


class Viewer:
    """One method per route."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._templates = _make_templates()

    async def home(self, request: Request) -> Response:
        return await run_in_threadpool(self._page, request, None)

    async def mail(self, request: Request) -> Response:
        mail = await open_mail(self._store, request, read=True)
        return await run_in_threadpool(self._page, request, mail)

    def _page(self, request: Request, mail: StoredMail | None) -> Response:
        shown = self._list(request)
        opened = _open(mail, request.query_params.get("view", "")) if mail else None
        page = self._templates.get_template("mails.html").render(**shown, mail=opened, views=VIEWS)
        return HTMLResponse(page, headers=PAGE_HEADERS)

    def _list(self, request: Request) -> Json:
        wanted = {name: request.query_params.get(name, "") for name in ("to", "subject")}
        start = whole_number(request, "start", 0)
        self._store.settle()
        where, parameters = condition_for_fields(**wanted)
        entries = self._store.page(where, parameters, start, MAILS_PER_PAGE + 1)
        total, unread = self._store.counts()

        def query(**changes: object) -> str:
            # Links of the page keep the search and the place in the list.
            return urlencode({name: value for name, value in {**wanted, "start": start, **changes}.items() if value})

        return {
            "entries": entries[:MAILS_PER_PAGE],
            "total": total,
            "unread": unread,
            "wanted": wanted,
            "query": query,
            "newer": max(0, start - MAILS_PER_PAGE) if start else None,
            "older": start + MAILS_PER_PAGE if len(entries) > MAILS_PER_PAGE else None,
        }


def _open(mail: StoredMail, view: str) -> Json:
    """What the page shows of a mail: all of `message.detail`, and what the chosen view needs."""
    entry = message.detail(mail.raw, mail.envelope, mail.created)
    html = str(entry["HTML"])
    if view not in VIEWS:
        view = "html" if html else "text"
    opened = {**entry, "id": mail.id, "created": mail.created, "envelope": mail.envelope, "view": view}
    if view == "html":
        opened |= {"frame": html_frame.document(html, message.inline_images(mail.raw)), "links": html_frame.links(html)}
    if view == "headers":
        opened["header_fields"] = message.header_fields(mail.raw)
    if view == "source":
        source = mail.raw.decode("utf-8", "replace")
        opened |= {"source": source[:LONGEST_SOURCE], "cut": len(source) > LONGEST_SOURCE}
    return opened
