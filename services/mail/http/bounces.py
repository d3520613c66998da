"""Notices about sent mails: ingest one, list them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from shared.contract.ids import UUID
from shared.contract.principals import Principal
from shared.contract.problems import InvalidRequest, UnsupportedMediaType, at
from shared.db.pool import load_engine
from shared.http import openapi
from shared.http.authentication import Key
from shared.http.pagination import Cursor, Limit, after_id, clamp, page
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..bounces.ingest import ingest
from ..errors import StillSending
from .app_state import state_of

router = APIRouter(prefix="/v1/bounces", route_class=StrictRoute, tags=["Bounces"])

Outcome = Literal["bounced", "delayed", "delivered", "complaint", "ignored", "unmatched"]

# The correct type, and the generic one that mail systems use for any file.
_MEDIA_TYPES = ("message/rfc822", "application/octet-stream")


class Ingested(BaseModel):
    """What was made of a notice."""

    outcome: Outcome
    """What the notice did: it changed a mail, or `unmatched` (no mail is known) or `ignored` (no notice, or nothing
    new)."""
    mail_id: UUID | None
    """The mail that the notice is about; null: none is known."""


class Bounce(BaseModel):
    """A notice about a mail, on record."""

    id: UUID
    """The ID of the notice."""
    received_at: datetime
    """When it came in."""
    mail_id: UUID | None
    """The mail that it is about; null: none is known."""
    kind: Literal["failed", "delayed", "delivered", "complaint", "other"]
    """What the notice says of the mail."""
    outcome: Outcome
    """What the notice did."""
    status: str | None
    """The enhanced status code that it reports (RFC 3463), like `5.1.1`; null: none."""
    code: int | None
    """The SMTP reply code that it reports, like 550; null: none."""
    diagnostic: str | None
    """What the reporting system says, in its own words; null: nothing, or wiped."""
    provider: str | None = Field(description="Whose event it is; null: a notice from the bounce mailbox")


class BouncePage(BaseModel):
    """A page of notices."""

    items: list[Bounce]
    next_cursor: str | None


@router.post(
    "",
    status_code=202,
    response_model=Ingested,
    responses=openapi.keyed(UnsupportedMediaType, StillSending),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The whole message, unchanged, at most 10 MiB; `application/octet-stream` is taken, too",
            # One alone: of two that are bytes, generated clients cannot tell which is meant.
            "content": {_MEDIA_TYPES[0]: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def ingest_bounce(request: Request, principal: Annotated[Principal, Depends(Key("mails:operate"))]) -> Response:
    """Ingest a message from the bounce mailbox: a delivery status notification (RFC 3464), a complaint (RFC 5965), or
    what mail systems write in their own words.

    Repeating a message changes nothing. Any other kind of message is `ignored`, automatic answers too.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _MEDIA_TYPES:
        detail = f"Must be {' or '.join(_MEDIA_TYPES)}"
        raise UnsupportedMediaType(
            "Send the whole message, unchanged.", errors=[{"header": "Content-Type", "detail": detail}]
        )
    raw = await request.body()
    if not raw.strip():
        raise InvalidRequest("The body is empty; it must be a message.", errors=[at("", "Must be a message")])
    state = state_of(request)
    ingested = await ingest(state.database, principal, raw, state.bounce_domain, state.suppression_days)
    state.bounces.labels(ingested.outcome).inc()
    return JsonResponse({"outcome": ingested.outcome, "mail_id": ingested.mail_id}, 202)


@router.get("", response_model=BouncePage, responses=openapi.keyed())
async def list_bounces(
    request: Request,
    principal: Annotated[Principal, Depends(Key("mails:read"))],
    mail_id: Annotated[Sequence[UUID], Query(max_length=100)] = (),
    outcome: Annotated[Sequence[Outcome], Query(max_length=10)] = (),
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Notices, newest first. Only keys with `mails:all` see notices that matched no mail."""
    await load_engine()
    from ..bounces import listing  # noqa: PLC0415 - SQLAlchemy takes 20 MB: only when a list is read

    state = state_of(request)
    limit = clamp(limit)
    rows = await listing.list_bounces(
        state.database, principal, mail_ids=mail_id, outcomes=outcome, cursor=after_id(cursor), limit=limit
    )
    return JsonResponse(page(rows, limit))
