"""Mailpit's most used endpoints. The pages for people are in `viewer.py`."""

import json
from collections.abc import Sequence
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from . import message
from .requests import open_mail, whole_number
from .search import EVERYTHING, condition_for
from .store import Store
from .viewer import Viewer

DEFAULT_LIMIT = 50  # Mailpit's
LARGEST_LIMIT = 1_000_000
# A part may be a page or a picture with scripts: it is downloaded, never opened here.
FILE_HEADERS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}


class Api:
    """One method per route."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ready(self, _request: Request) -> Response:
        await run_in_threadpool(self._store.counts)
        return PlainTextResponse("ok\n")

    async def messages(self, request: Request) -> Response:
        return await run_in_threadpool(self._list, request, EVERYTHING, [])

    async def search(self, request: Request) -> Response:
        where, parameters = condition_for(request.query_params.get("query", ""))
        return await run_in_threadpool(self._list, request, where, parameters)

    def _list(self, request: Request, where: str, parameters: Sequence[str]) -> Response:
        start = whole_number(request, "start", 0)
        limit = min(whole_number(request, "limit", DEFAULT_LIMIT), LARGEST_LIMIT)
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

    async def message(self, request: Request) -> Response:
        mail = await open_mail(self._store, request, read=True)
        return JSONResponse({"ID": mail.id, **message.detail(mail.raw, mail.envelope, mail.created)})

    async def raw(self, request: Request) -> Response:
        mail = await open_mail(self._store, request)
        return PlainTextResponse(mail.raw, headers={"X-Content-Type-Options": "nosniff"})

    async def headers(self, request: Request) -> Response:
        mail = await open_mail(self._store, request)
        return JSONResponse(message.headers(mail.raw))

    async def part(self, request: Request) -> Response:
        mail = await open_mail(self._store, request)
        file = await run_in_threadpool(message.part, mail.raw, request.path_params["part_id"])
        if file is None:
            raise HTTPException(404, "no such part")
        # Without a path, and without what no header may contain.
        name = "".join(c for c in file.name.replace("\\", "/").rpartition("/")[2] if c.isprintable()) or "attachment"
        disposition = f"attachment; filename*=utf-8''{quote(name, safe='')}"
        return Response(
            file.content,
            headers={**FILE_HEADERS, "Content-Type": file.content_type, "Content-Disposition": disposition},
        )


def make_app(store: Store) -> Starlette:
    api, viewer = Api(store), Viewer(store)
    return Starlette(
        routes=[
            Route("/", viewer.home),
            Route("/view/{mail_id}", viewer.mail),
            Route("/livez", api.ready),
            Route("/readyz", api.ready),
            Route("/api/v1/messages", api.messages),
            Route("/api/v1/messages", api.delete, methods=["DELETE"]),
            Route("/api/v1/search", api.search),
            Route("/api/v1/message/{mail_id}", api.message),
            Route("/api/v1/message/{mail_id}/raw", api.raw),
            Route("/api/v1/message/{mail_id}/headers", api.headers),
            Route("/api/v1/message/{mail_id}/part/{part_id}", api.part),
        ]
    )
