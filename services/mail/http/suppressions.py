"""Suppressed addresses, with the reason and the mail that caused each."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from shared.contract import problems
from shared.contract.addresses import Address, parse_address
from shared.contract.fields import Line, Strict
from shared.contract.ids import UUID
from shared.contract.principals import Principal
from shared.contract.problems import InvalidRequest
from shared.http import openapi
from shared.http.authentication import Key
from shared.http.pagination import Cursor, FilterTexts, Limit, Timestamp, clamp
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..ledger import suppressions
from .app_state import state_of

router = APIRouter(prefix="/v1/suppressions", route_class=StrictRoute, tags=["Suppressions"])

MayOperate = Annotated[Principal, Depends(Key("mails:operate"))]
Email = Annotated[str, Path(max_length=320)]
Sources = Annotated[
    list[str],
    Query(
        min_length=1,
        max_length=100,
        description="What suppressed them: `smtp` (a refusal), `bounce`, `complaint`, or the key of an operator",
    ),
]


class Suppress(Strict):
    """Why an address is suppressed."""

    reason: Annotated[Line, Field(min_length=1, max_length=500)] = "Suppressed by an operator"
    """Why, for the record: 1 to 500 characters."""


class Suppression(BaseModel):
    """An address that is not mailed."""

    email: str
    """The address, normalized, with a Unicode domain."""
    reason: str
    """Why it is suppressed."""
    source: str
    """What suppressed it: `smtp` (a refusal), `bounce`, `complaint`, or an operator's key."""
    mail_id: UUID | None
    """The mail that caused it; null: an operator did."""
    created_at: datetime
    """When it was suppressed."""
    ends_at: datetime | None = Field(description="When it ends by itself; null: never")


class Deleted(BaseModel):
    """How many suppressions it concerned."""

    deleted: int
    """How many addresses are allowed again."""


class SuppressionPage(BaseModel):
    """A page of suppressions."""

    items: list[Suppression]
    next_cursor: str | None


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise InvalidRequest(str(error), errors=[{"parameter": "email", "detail": str(error)}]) from None


@router.get("", response_model=SuppressionPage, responses=openapi.keyed())
async def list_suppressions(
    request: Request, _principal: MayOperate, email: FilterTexts = (), limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """Suppressed addresses, newest first."""
    keys = [_address(text).key for text in email]
    return JsonResponse(await suppressions.list_suppressions(state_of(request).database, keys, cursor, clamp(limit)))


@router.delete("", response_model=Deleted, responses=openapi.keyed())
async def delete_suppressions(
    request: Request,
    principal: MayOperate,
    source: Sources,
    after: Timestamp | None = None,
    before: Timestamp | None = None,
) -> Response:
    """Allow again, as a group, the addresses that these sources suppressed at or after `after` and before `before`.

    Mails that failed are not sent again by this: see `POST /v1/mails/retry`.
    """
    deleted = await suppressions.unsuppress_matching(state_of(request).database, source, after, before, principal.actor)
    return JsonResponse({"deleted": deleted})


@router.put(
    "/{email}",
    response_model=Suppression,
    responses=openapi.keyed(problems.UnsupportedMediaType) | {201: {"model": Suppression, "description": "New"}},
)
async def put_suppression(
    email: Email, request: Request, principal: MayOperate, body: Suppress | None = None
) -> Response:
    """Stop mailing this address, for ever. It keeps the first reason that a person gave."""
    row, is_new = await suppressions.suppress(
        state_of(request).database, _address(email), (body or Suppress()).reason, principal.actor
    )
    return JsonResponse(row, 201 if is_new else 200)


@router.delete("/{email}", status_code=204, responses=openapi.keyed(problems.NotFound))
async def delete_suppression(email: Email, request: Request, principal: MayOperate) -> Response:
    """Allow this address again. Mails that were suppressed stay suppressed; request new ones."""
    if not await suppressions.unsuppress(state_of(request).database, _address(email), principal.actor):
        raise problems.NotFound("This address is not suppressed.")
    return Response(status_code=204)
