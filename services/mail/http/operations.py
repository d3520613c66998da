"""Operator actions on mails (cancel, retry, resolve), and restoring records of sent mails."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from shared.contract import problems
from shared.contract.fields import Line, Strict
from shared.contract.ids import UUID
from shared.contract.mails import MAX_BATCH
from shared.contract.principals import Principal
from shared.http import openapi
from shared.http.authentication import Key
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..errors import ContentGone, WrongState
from ..ledger.listing import client_scope
from ..operator_actions import state_changes
from ..operator_actions.group_retry import GivenUp, retry_matching
from ..operator_actions.restore import SentMail, restore
from .app_state import state_of
from .schemas import Mail

router = APIRouter(prefix="/v1/mails", route_class=StrictRoute, tags=["Mail operations"])

MayOperate = Annotated[Principal, Depends(Key("mails:operate"))]
MailId = Annotated[UUID, Path()]


class Resolve(Strict):
    """The decision about an uncertain mail."""

    as_: state_changes.Resolution = Field(
        alias="as", description="`sent`: it was sent; `resend`: send it again; `abandon`: give up."
    )
    reason: Annotated[Line, Field(min_length=1, max_length=500)] = Field(description="The evidence, for history.")


class Restore(Strict):
    """Mails to write back."""

    mails: Annotated[list[SentMail], Field(min_length=1, max_length=MAX_BATCH)]
    """Up to 500 mails that your own records know to have been sent."""


class Retried(BaseModel):
    """How many mails it concerned."""

    retried: int
    """How many mails are queued again."""


class Restored(BaseModel):
    """Which of the mails were written back."""

    restored: list[str]
    """Request IDs that were written back or corrected."""
    known: list[str]
    """Request IDs that stayed as they are."""


@router.post("/restore", response_model=Restored, responses=openapi.keyed(problems.UnsupportedMediaType))
async def restore_mails(body: Restore, request: Request, principal: MayOperate) -> Response:
    """Record as sent, without sending, the mails that the client's own ledger knows as sent.

    Known request IDs stay as they are, unless the item sets `even_if_known` and this ledger does not have it as sent.
    """
    return JsonResponse(await restore(state_of(request).database, principal, body.mails))


@router.post("/retry", response_model=Retried, responses=openapi.keyed(problems.UnsupportedMediaType))
async def retry_mails(body: GivenUp, request: Request, principal: MayOperate) -> Response:
    """Send all matching failed or expired mails again, once the cause is repaired.

    A mail whose address is suppressed still becomes `suppressed`: see `DELETE /v1/suppressions`.
    """
    state = state_of(request)
    retried = await retry_matching(
        state.database.pool,
        body,
        client=client_scope(principal),
        actor=principal.actor,
        lifetime_seconds=state.intake.lifetime_seconds,
    )
    state.pinger.ping()
    return JsonResponse({"retried": retried})


@router.post("/{mail_id:uuid}/cancel", response_model=Mail, responses=openapi.keyed(problems.NotFound, WrongState))
async def cancel_mail(mail_id: MailId, request: Request, principal: MayOperate) -> Response:
    """Cancel a waiting mail: it leaves the queue."""
    return JsonResponse(await state_changes.cancel(state_of(request).database, principal, mail_id))


@router.post(
    "/{mail_id:uuid}/retry", response_model=Mail, responses=openapi.keyed(problems.NotFound, WrongState, ContentGone)
)
async def retry_mail(mail_id: MailId, request: Request, principal: MayOperate) -> Response:
    """Send a failed or expired mail again, or a deferred one now."""
    state = state_of(request)
    mail = await state_changes.retry(state.database, principal, mail_id, state.intake.lifetime_seconds)
    state.pinger.ping()
    return JsonResponse(mail)


@router.post(
    "/{mail_id:uuid}/resolve",
    response_model=Mail,
    responses=openapi.keyed(problems.NotFound, WrongState, ContentGone, problems.UnsupportedMediaType),
)
async def resolve_mail(mail_id: MailId, body: Resolve, request: Request, principal: MayOperate) -> Response:
    """Decide an uncertain mail: it was sent, send it again, or give up."""
    state = state_of(request)
    mail = await state_changes.resolve(
        state.database,
        principal,
        mail_id,
        resolution=body.as_,
        reason=body.reason,
        lifetime_seconds=state.intake.lifetime_seconds,
    )
    state.pinger.ping()
    return JsonResponse(mail)
