"""Reads mails: one by one, in bulk by request ID, and as a filtered list."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from shared.contract import problems
from shared.contract.addresses import address_key
from shared.contract.fields import Spelled
from shared.contract.ids import UUID
from shared.contract.principals import Principal
from shared.contract.problems import InvalidRequest
from shared.db.pool import load_engine
from shared.http import openapi
from shared.http.authentication import Key
from shared.http.operations_routes import HistoryPage
from shared.http.pagination import Cursor, FilterTexts, Limit, Timestamp, after_id, clamp, cursor_of, page
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute, takes_family

from ..ledger import listing
from .app_state import state_of
from .schemas import AttemptPage, Lookup, LookupResult, Mail, MailPage, State

router = APIRouter(prefix="/v1/mails", route_class=StrictRoute, tags=["Mails"])

MayRead = Annotated[Principal, Depends(Key("mails:read"))]
MailId = Annotated[UUID, Path()]

_METADATA_PREFIX = "metadata."


@router.get(
    "",
    response_model=MailPage,
    responses=openapi.keyed(),
    openapi_extra={
        "parameters": [
            {
                "name": "metadata",
                "in": "query",
                "style": "form",
                "explode": True,
                "description": "`metadata.KEY=value`: mails whose metadata has this member, for any KEY; repeated: any "
                "of the values. A number, `true` and `false` also match as JSON has them",
                "schema": {
                    "type": "object",
                    "propertyNames": {"pattern": "^metadata\\."},
                    "additionalProperties": {"type": "string"},
                },
            }
        ]
    },
)
@takes_family(_METADATA_PREFIX)
async def list_mails(
    request: Request,
    principal: MayRead,
    request_id: FilterTexts = (),
    message_id: Annotated[FilterTexts, Query(description="With its angle brackets, as recipients see it")] = (),
    to: FilterTexts = (),
    state: Annotated[Sequence[State], Query(max_length=20)] = (),
    template: FilterTexts = (),
    client: FilterTexts = (),
    tag: FilterTexts = (),
    accepted_after: Timestamp | None = None,
    accepted_before: Timestamp | None = None,
    sent_after: Timestamp | None = None,
    sent_before: Timestamp | None = None,
    among: Annotated[
        int | None,
        Query(
            ge=1,
            le=100_000,
            description="Look at so many mails only, however few of them match. A page may then be short, or empty, "
            "and still have a next one",
        ),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Mails, newest first. Different filters combine with AND, a repeated one with OR."""
    await load_engine()
    from ..ledger import mail_list  # noqa: PLC0415 - SQLAlchemy takes 20 MB: only when a list is read

    filters = mail_list.Filters(
        request_ids=request_id,
        message_ids=message_id,
        to_keys=_keys(to),
        states=state,
        templates=template,
        clients=client,
        tags=tag,
        metadata=_metadata(request),
        accepted_after=accepted_after,
        accepted_before=accepted_before,
        sent_after=sent_after,
        sent_before=sent_before,
    )
    database, below = state_of(request).database, after_id(cursor)
    items, last = await mail_list.list_mails(
        database, principal, filters, cursor=below, limit=clamp(limit), among=among
    )
    return JsonResponse({"items": items, "next_cursor": cursor_of(last) if last else None})


def _keys(addresses: Sequence[str]) -> list[str]:
    try:
        return [address_key(address) for address in addresses]
    except ValueError as error:
        raise InvalidRequest(str(error), errors=[{"parameter": "to", "detail": str(error)}]) from None


def _metadata(request: Request) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if name.startswith(_METADATA_PREFIX):
            wanted.setdefault(name.removeprefix(_METADATA_PREFIX), []).append(value)
    return wanted


@router.post("/lookup", response_model=LookupResult, responses=openapi.keyed(problems.UnsupportedMediaType))
async def look_up_mails(body: Lookup, request: Request, principal: MayRead) -> Response:
    """Which of up to 1,000 request IDs are known, and their mails.

    `lost` holds what is kept of missing mails whose row was deleted. Do not resend one that has `sent_at`.
    """
    looked_up = await listing.look_up(state_of(request).database, principal, body.request_ids, body.client)
    answer = {"found": looked_up.found, "missing": looked_up.missing}
    return JsonResponse(answer | ({"lost": looked_up.lost} if looked_up.lost else {}))


@router.get("/{mail_id:uuid}", response_model=Mail, responses=openapi.keyed(problems.NotFound))
async def get_mail(
    mail_id: MailId,
    request: Request,
    principal: MayRead,
    include: Annotated[Sequence[Literal["content"]], Query(max_length=5)] = (),
) -> Response:
    """One mail in its current state."""
    database = state_of(request).database
    mail: dict[str, Any] = await listing.find_mail(database, principal, mail_id)
    if "content" in include:
        mail["content"] = await listing.content_of(database, mail_id)
    return JsonResponse(mail)


@router.get("/{mail_id:uuid}/history", response_model=HistoryPage, responses=openapi.keyed(problems.NotFound))
async def get_mail_history(
    mail_id: MailId, request: Request, principal: MayRead, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """The append-only history of this mail, newest first."""
    database = state_of(request).database
    await listing.find_mail(database, principal, mail_id)
    limit = clamp(limit)
    return JsonResponse(page(await listing.history_of(database, mail_id, after_id(cursor), limit), limit))


@router.get("/{mail_id:uuid}/attempts", response_model=AttemptPage, responses=openapi.keyed(problems.NotFound))
async def get_mail_attempts(
    mail_id: MailId,
    request: Request,
    principal: MayRead,
    limit: Limit = 50,
    cursor: Annotated[Annotated[str, Spelled("[0-9]{1,9}", "Not a cursor of this list")] | None, Query()] = None,
) -> Response:
    """Every attempt to send this mail, newest first, with the gateway's replies."""
    database = state_of(request).database
    await listing.find_mail(database, principal, mail_id)
    limit = clamp(limit)
    attempts = await listing.attempts_of(database, mail_id, int(cursor) if cursor else None, limit)
    more = len(attempts) > limit
    shown = attempts[:limit]
    return JsonResponse({"items": shown, "next_cursor": str(shown[-1]["n"]) if more else None})
