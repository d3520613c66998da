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

router = APIRouter(route_class=StrictRoute, tags=["Mails"])


class Change(BaseModel):
    """A change of a mail's state."""

    id: UUID
    """The ID of the entry in history. Webhooks use it as `webhook-id`."""
    at: datetime
    """When it happened."""
    kind: str
    """What happened, like `mail.sent`."""
    mail_id: UUID
    """The mail."""
    request_id: str
    """The mail's request ID."""
    client: str
    """The client that requested the mail."""
    state: State
    """The mail's state after this change."""
    message_id: str
    """The mail's Message-ID, with its angle brackets."""
    sent_at: datetime | None
    """When a gateway accepted it, which may be later than this change; null: not yet."""
    fingerprint: str
    """SHA-256 of the canonical content, hexadecimal."""
    template: str | None
    """The template that it was made from; null: none."""
    correlation_id: str | None
    """The X-Request-ID of the request that caused it; null when no request did."""
    detail: dict[str, JsonValue]
    """More about it. Its members depend on `kind`."""


class Changes(BaseModel):
    """The next changes in the feed, and where to go on."""

    items: list[Change]
    """Changes, oldest first."""
    next_cursor: str
    """Send it as `after` to go on from here, also when `items` is empty."""
    more: bool
    """Whether to go on at once. Where changes of other clients lie between, a page may be short, or empty, and still
    have more behind it. False: all is read."""


@router.get("/v1/changes", response_model=Changes, responses=openapi.keyed(CursorLost))
async def list_changes(
    request: Request,
    principal: Annotated[Principal, Depends(Key("mails:read"))],
    after: Annotated[str | None, Query(max_length=64, description="`next_cursor` of the previous call.")] = None,
    limit: Limit = 500,
) -> Response:
    """Every state change of the caller's mails, oldest first, without gaps. `next_cursor` is never null.

    Go on from it at once while `more` is true.
    """
    state = state_of(request)
    return JsonResponse(await change_feed.changes(state.database, listing.client_scope(principal), after, clamp(limit)))
