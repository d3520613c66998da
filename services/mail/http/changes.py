"""The change feed, for clients that keep their own ledger."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, JsonValue
from starlette.requests import Request
from starlette.responses import Response

from shared.contract.ids import UUID
from shared.contract.principals import Principal
from shared.http import openapi
from shared.http.authentication import Key
from shared.http.pagination import Limit, clamp
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..errors import CursorLost
from ..ledger import change_feed, listing
from .app_state import state_of
from .schemas import State

router = APIRouter(route_class=StrictRoute, tags=["mails"])


class Change(BaseModel):
    id: UUID
    at: datetime
    kind: str
    mail_id: UUID
    request_id: str
    client: str
    state: State
    message_id: str
    sent_at: datetime | None
    fingerprint: str
    template: str | None
    correlation_id: str | None
    detail: dict[str, JsonValue]


class Changes(BaseModel):
    items: list[Change]
    next_cursor: str


@router.get("/v1/changes", response_model=Changes, responses=openapi.keyed(CursorLost))
async def list_changes(
    request: Request,
    principal: Annotated[Principal, Depends(Key("mails:read"))],
    after: Annotated[str | None, Query(max_length=64, description="`next_cursor` of the previous call.")] = None,
    limit: Limit = 500,
) -> Response:
    """Every state change of the caller's mails, oldest first, without gaps. `next_cursor` is never null."""
    state = state_of(request)
    return JsonResponse(await change_feed.changes(state.database, listing.client_scope(principal), after, clamp(limit)))
