"""/v1/imports: upload files of users as a stream, read progress and row outcomes, pause, resume and cancel."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from pydantic import AfterValidator, StringConstraints
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from shared.contract import problems
from shared.contract.fields import RequestId, plain_text
from shared.contract.ids import UUID
from shared.contract.mails import IDEMPOTENCY_KEY_HEADER, REPLAYED_HEADER
from shared.contract.principals import Principal
from shared.db.pool import load_engine
from shared.http import openapi
from shared.http.authentication import Key
from shared.http.pagination import Cursor, Limit, after_id, clamp, cursor_of, page
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..errors import ImportTakenOver, RequestIdReused, WrongState
from ..imports import listing
from ..imports.file_format import CSV_EXAMPLE, NDJSON_EXAMPLE, columns_as_text
from ..imports.operator_actions import ImportAction, apply_action
from ..imports.states import Outcome
from ..imports.upload import ImportCommand, receive
from .app_state import state_of
from .import_schemas import Import, ImportPage, ImportRowPage

router = APIRouter(route_class=StrictRoute, tags=["Imports"])

PATH = "/v1/imports"
_MEDIA = {
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "text/csv": "csv",
}
_ACCEPTED = 202
_PAYLOAD_TOO_LARGE = 413
_UTF_8 = frozenset({"utf-8", "utf8"})
_MAX_SHOWN = 50
_DESCRIPTION = (
    "One row per line, in UTF-8: `{external_id, email, name, locale?, verified?, metadata?}`. The first line of CSV "
    "names the columns; only metadata may hold line ends, inside quotes. Every line that is not blank belongs to "
    f"one of the `rows`, and every row gets one outcome.\n\n```text\n{columns_as_text()}\n```\n\n"
    f"```csv\n{CSV_EXAMPLE}```\n\n```json\n{NDJSON_EXAMPLE}```"
)
_location = {"Location": {"description": "URL of the import", "schema": {"type": "string"}}}
_replayed = {REPLAYED_HEADER: {"description": "`true`: an earlier request used this key", "schema": {"type": "string"}}}
_Importer = Annotated[Principal, Depends(Key("users:import"))]

_started: dict[int | str, dict[str, Any]] = {
    _ACCEPTED: {
        "model": Import,
        "description": "The whole body is stored; the worker will process it",
        "headers": _location | _replayed,
    }
}


@router.post(
    PATH,
    status_code=_ACCEPTED,
    response_model=Import,
    responses=openapi.keyed(ImportTakenOver, RequestIdReused, problems.UnsupportedMediaType) | _started,
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": _DESCRIPTION,
            # As binary, clients are generated that take a file; openapi-python-client names the last of the types.
            "content": {media: {"schema": {"type": "string", "format": "binary"}} for media in reversed(_MEDIA)},
        }
    },
)
async def start_import(
    request: Request,
    principal: _Importer,
    source: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(plain_text)] | None,
        Query(description="Where these users come from. Source and external ID identify a user. Default: the client"),
    ] = None,
    mails_per_minute: Annotated[int, Query(ge=0, le=1_000_000, description="0: unpaced")] = 600,
    dry_run: Annotated[bool, Query(description="Report each row's outcome and create no user")] = False,  # noqa: FBT002 - a query parameter
    idempotency_key: Annotated[
        RequestId | None,
        Header(alias=IDEMPOTENCY_KEY_HEADER, description="Same key and body: the same import, not a second one"),
    ] = None,
) -> Response:
    """Upload users. When this answers, every row is durable. The worker processes them."""
    command = ImportCommand(
        client=principal.client,
        actor=principal.actor,
        idempotency_key=idempotency_key,
        source=source or principal.client,
        media=_media_of(request),
        dry_run=dry_run,
        mails_per_minute=mails_per_minute,
    )
    row, replayed = await receive(state_of(request).database.pool, command, _body(request))
    headers = {"Location": f"{PATH}/{row['id']}"} | ({REPLAYED_HEADER: "true"} if replayed else {})
    return JsonResponse(listing.as_import(row), _ACCEPTED, headers)


@router.get(PATH, response_model=ImportPage, responses=openapi.keyed())
async def list_imports(request: Request, principal: _Importer, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """The client's imports, newest first."""
    shown = clamp(limit)
    items = await listing.list_imports(state_of(request).database, principal.client, after_id(cursor), shown)
    return JsonResponse(page(items, shown))


@router.get(PATH + "/{import_id}", response_model=Import, responses=openapi.keyed(problems.NotFound))
async def get_import(request: Request, principal: _Importer, import_id: UUID) -> Response:
    """One import with its progress."""
    row = await listing.find(state_of(request).database, import_id, principal.client)
    if row is None:
        raise problems.NotFound("There is no import with this ID.")
    return JsonResponse(listing.as_import(row))


@router.get(PATH + "/{import_id}/rows", response_model=ImportRowPage, responses=openapi.keyed(problems.NotFound))
async def list_import_rows(
    request: Request,
    principal: _Importer,
    import_id: UUID,
    outcome: Annotated[list[Outcome], Query(max_length=10)] = [],  # noqa: B006 - FastAPI copies defaults
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """The outcomes of the rows processed so far, in file order."""
    await load_engine()
    from ..imports import row_list  # noqa: PLC0415 - SQLAlchemy takes 20 MB: only when a list is read

    database = state_of(request).database
    if await listing.find(database, import_id, principal.client) is None:
        raise problems.NotFound("There is no import with this ID.")
    shown = clamp(limit)
    items = await row_list.list_rows(database, import_id, outcome, _line_of(cursor), shown)
    more = len(items) > shown
    # The cursor encodes the line number as if it were an ID.
    next_cursor = cursor_of(UUID(int=items[shown - 1]["line"])) if more else None
    return JsonResponse({"items": items[:shown], "next_cursor": next_cursor})


_action_options: dict[str, Any] = {"response_model": Import, "responses": openapi.keyed(problems.NotFound, WrongState)}


@router.post(PATH + "/{import_id}/pause", **_action_options)
async def pause_import(request: Request, principal: _Importer, import_id: UUID) -> Response:
    """Hold the remaining rows and mails."""
    return await _act(request, principal, import_id, "pause")


@router.post(PATH + "/{import_id}/resume", **_action_options)
async def resume_import(request: Request, principal: _Importer, import_id: UUID) -> Response:
    """Continue with the held rows and mails. Mails are paced from now on."""
    return await _act(request, principal, import_id, "resume")


@router.post(PATH + "/{import_id}/cancel", **_action_options)
async def cancel_import(request: Request, principal: _Importer, import_id: UUID) -> Response:
    """Drop the remaining rows and mails. Users already created stay."""
    return await _act(request, principal, import_id, "cancel")


async def _act(request: Request, principal: Principal, import_id: UUID, event: str) -> Response:
    state = state_of(request)
    action = ImportAction(import_id, principal.client, principal.actor, event)
    row = await apply_action(state.database.pool, action, state.policy.give_up_seconds)
    state.pinger.ping()
    return JsonResponse(listing.as_import(row))


def _media_of(request: Request) -> str:
    media_type, *parameters = request.headers.get("content-type", "").split(";")
    media = _MEDIA.get(media_type.strip().lower())
    if media is None:
        raise _unsupported("Send NDJSON or CSV, in UTF-8.", f"Must be one of {', '.join(_MEDIA)}")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        charset = value.strip().strip('"')
        if name.strip().lower() == "charset" and charset.lower() not in _UTF_8:
            detail = f"The charset `{charset[:_MAX_SHOWN]}` is not supported; convert the body to utf-8"
            raise _unsupported(f"{detail}.", detail)
    return media


def _unsupported(detail: str, reason: str) -> problems.UnsupportedMediaType:
    return problems.UnsupportedMediaType(detail, errors=[{"header": "Content-Type", "detail": reason}])


def _line_of(cursor: str | None) -> int:
    encoded = after_id(cursor)
    return min(encoded.int, 2**31 - 1) if encoded else 0


async def _body(request: Request) -> AsyncIterator[bytes]:
    """The body's chunks. A broken or too large body raises a problem."""
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise problems.MalformedRequest("The connection closed before the end of the body.") from None
    except HTTPException as error:
        if error.status_code != _PAYLOAD_TOO_LARGE:
            raise
        raise problems.PayloadTooLarge(error.detail, headers={"Connection": "close"}) from None
