"""Mailpit's most used endpoints, and a page for people. Mails are untrusted text: everything is escaped."""

import html
import json
import re
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from . import message
from .store import Store, StoredMail

DEFAULT_LIMIT = 50  # Mailpit's
LARGEST_LIMIT = 1_000_000
EVERYTHING = "1 = 1"
# No scripts and no external content: a mail is only displayed.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}}
td,th{{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top}}
pre{{white-space:pre-wrap}}</style>{body}</html>"""
LINK = re.compile(r"https?://[^\s<>\"']+")
SEARCH_WORD = re.compile(r'(?:(to|from|subject|message-id|addressed):)?("[^"]*"|\S+)', re.IGNORECASE)
WORD_CONDITIONS = {
    "to": "search_to LIKE ? ESCAPE '\\'",
    "from": "search_from LIKE ? ESCAPE '\\'",
    "subject": "subject LIKE ? ESCAPE '\\'",
    "addressed": "search_to || search_from LIKE ? ESCAPE '\\'",
    "": "search_to || search_from || subject || coalesce(message_id, '') LIKE ? ESCAPE '\\'",
}


def _whole_number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    try:
        return max(0, int(text)) if text else default
    except ValueError:
        raise HTTPException(400, f"{name} is not a whole number") from None


def _query(text: str) -> tuple[str, list[str]]:
    """A condition and its parameters for Mailpit's search words. All words must match."""
    conditions, parameters = [EVERYTHING], []
    for field, quoted in SEARCH_WORD.findall(text):
        word = quoted.strip('"').strip("<>") if field.lower() == "message-id" else quoted.strip('"')
        if field.lower() == "message-id":
            conditions.append("message_id = ?")
            parameters.append(word)
        else:
            escaped = re.sub(r"([\\%_])", r"\\\1", word.casefold())
            conditions.append(WORD_CONDITIONS[field.lower()])
            parameters.append(f"%{escaped}%")
    return " AND ".join(conditions), parameters


class Pages:
    """One method per route."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ready(self, _request: Request) -> Response:
        await run_in_threadpool(self._store.counts)
        return PlainTextResponse("ok\n")

    async def messages(self, request: Request) -> Response:
        return await run_in_threadpool(self._list, request, EVERYTHING, [])

    async def search(self, request: Request) -> Response:
        where, parameters = _query(request.query_params.get("query", ""))
        return await run_in_threadpool(self._list, request, where, parameters)

    def _list(self, request: Request, where: str, parameters: Sequence[str]) -> Response:
        start = _whole_number(request, "start", 0)
        limit = min(_whole_number(request, "limit", DEFAULT_LIMIT), LARGEST_LIMIT)
        self._store.settle()
        total, unread = self._store.counts()
        found = self._store.page(where, parameters, start, limit)
        matching = total if where == EVERYTHING else self._store.count(where, parameters)
        return JSONResponse(
            {
                "total": total,
                "unread": unread,
                "count": len(found),
                "messages_count": matching,
                "start": start,
                "tags": [],
                "messages": found,
            }
        )

    async def delete(self, request: Request) -> Response:
        text = await request.body()
        try:
            mail_ids = json.loads(text).get("IDs") if text.strip() else None
        except (ValueError, AttributeError):
            raise HTTPException(400, 'the body must be like {"IDs": ["…"]}') from None
        # As in Mailpit, an empty list means all.
        await run_in_threadpool(self._store.delete, mail_ids or None)
        return PlainTextResponse("ok")

    async def _open(self, request: Request, *, read: bool = False) -> StoredMail:
        found = await run_in_threadpool(self._store.open, request.path_params["mail_id"], read=read)
        if found is None:
            raise HTTPException(404, "no such message")
        return found

    async def message(self, request: Request) -> Response:
        mail = await self._open(request, read=True)
        return JSONResponse({"ID": mail.id, **message.detail(mail.raw, mail.envelope, mail.created)})

    async def raw(self, request: Request) -> Response:
        mail = await self._open(request)
        return PlainTextResponse(mail.raw, headers={"X-Content-Type-Options": "nosniff"})

    async def headers(self, request: Request) -> Response:
        mail = await self._open(request)
        return JSONResponse(message.headers(mail.raw))

    async def home(self, _request: Request) -> Response:
        await run_in_threadpool(self._store.settle)
        total, _ = await run_in_threadpool(self._store.counts)
        entries = await run_in_threadpool(self._store.page, EVERYTHING, [], 0, DEFAULT_LIMIT)
        rows = "".join(
            f"<tr><td>{html.escape(str(entry['Created'])[:19])}<td>{html.escape(_names(entry['To']))}"
            f'<td><a href="/view/{html.escape(str(entry["ID"]))}">{html.escape(str(entry["Subject"]) or "(none)")}</a>'
            for entry in entries
        )
        body = f"<h1>{total} mails caught</h1><table><tr><th>Received (UTC)<th>To<th>Subject{rows}</table>"
        return HTMLResponse(PAGE.format(title="Mails", body=body), headers=PAGE_HEADERS)

    async def view(self, request: Request) -> Response:
        mail = await self._open(request, read=True)
        entry = message.detail(mail.raw, mail.envelope, mail.created)
        text = html.escape(str(entry["Text"] or entry["HTML"]), quote=False)
        linked = LINK.sub(lambda link: f'<a href="{link[0]}" rel="noreferrer">{link[0]}</a>', text)
        body = (
            f"<h1>{html.escape(str(entry['Subject']))}</h1>"
            f"<p>To {html.escape(_names(entry['To']))}, from {html.escape(_names([entry['From']]))},"
            f' {mail.created[:19]} · <a href="/api/v1/message/{mail.id}/raw">raw</a> · <a href="/">all</a></p>'
            f"<pre>{linked}</pre>"
        )
        return HTMLResponse(PAGE.format(title="Mail", body=body), headers=PAGE_HEADERS)


def _names(people: object) -> str:
    assert isinstance(people, list)
    return ", ".join(f"{person['Name']} <{person['Address']}>".strip() for person in people)


def make_app(store: Store) -> Starlette:
    pages = Pages(store)
    return Starlette(
        routes=[
            Route("/", pages.home),
            Route("/view/{mail_id}", pages.view),
            Route("/livez", pages.ready),
            Route("/readyz", pages.ready),
            Route("/api/v1/messages", pages.messages),
            Route("/api/v1/messages", pages.delete, methods=["DELETE"]),
            Route("/api/v1/search", pages.search),
            Route("/api/v1/message/{mail_id}", pages.message),
            Route("/api/v1/message/{mail_id}/raw", pages.raw),
            Route("/api/v1/message/{mail_id}/headers", pages.headers),
        ]
    )
