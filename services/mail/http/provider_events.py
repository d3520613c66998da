"""Events that mail providers post."""

from datetime import UTC, datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from shared.contract.ids import UUID
from shared.contract.problems import NotFound
from shared.db.pool import UNAVAILABLE
from shared.http import openapi
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..errors import SendAgain, SendLater, SignatureInvalid
from ..provider_events.ingest import receive
from .app_state import state_of

router = APIRouter(prefix="/v1/events", route_class=StrictRoute, tags=["Bounces"])

Outcome = Literal["bounced", "delayed", "delivered", "complaint", "unmatched", "ignored", "unreadable", "confirmed"]


class EventResult(BaseModel):
    """What one event did."""

    outcome: Outcome
    """What the event did: `unmatched` knows no mail, `ignored` says nothing new, `confirmed` is a subscription."""
    mail_id: UUID | None = None
    """The mail that the event is about. Left out when none is known."""


class EventResults(BaseModel):
    """What each event of the call did."""

    results: list[EventResult]
    """One result for each event, in the order of the call."""


@router.post(
    "/{provider}",
    response_model=EventResults,
    response_model_exclude_none=True,
    responses=openapi.error_responses(NotFound, SignatureInvalid, SendAgain, SendLater),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "As the provider sends it, at most 1 MiB and 5,000 events",
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def receive_events(request: Request, provider: str) -> Response:
    """Take a call of a mail provider's webhook (docs/providers). Its signature or secret takes the place of a key.

    The events are applied one by one, in the order of `results`: what an event says of a mail counts as a notice from
    the bounce mailbox does, and the same event again changes nothing. A call that is answered with `send-again` or
    `send-later` must be sent again. A provider that is not in MAIL_PROVIDER_EVENTS is not found.
    """
    state = state_of(request)
    source = state.event_sources.get(provider)
    if source is None:
        raise NotFound("Events of this provider are not accepted here; MAIL_PROVIDER_EVENTS lists those that are.")
    raw = await request.body()
    try:
        results = await receive(
            state.database,
            source,
            request.headers,
            raw,
            now=datetime.now(UTC),
            suppression_days=state.suppression_days,
            count=lambda outcome: state.provider_events.labels(source.name, outcome).inc(),
        )
    except SendAgain as error:
        if source.again_status == SendLater.status:
            raise SendLater(error.detail) from None
        raise
    except UNAVAILABLE:
        if source.again_status == SendLater.status:
            raise SendLater("The service's database is unavailable.") from None
        raise
    return JsonResponse(
        {
            "results": [
                {"outcome": result.outcome} | ({"mail_id": result.mail_id} if result.mail_id else {})
                for result in results
            ]
        }
    )
