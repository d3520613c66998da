"""The operator endpoints that only signup has: one user's timeline, and the outbox row by row."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field, JsonValue
from starlette.requests import Request
from starlette.responses import Response

from shared.contract import problems
from shared.contract.fields import Strict
from shared.contract.ids import UUID
from shared.contract.principals import Principal
from shared.db.pool import load_engine
from shared.http import openapi
from shared.http.authentication import Key
from shared.http.pagination import Cursor, Limit, after_id, clamp, page
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..audit.mail_service_view import MailServiceView
from ..audit.timeline import timeline
from ..errors import WrongState
from ..outbox import operator_actions
from .app_state import state_of

router = APIRouter(prefix="/audit", route_class=StrictRoute)

MayRead = [Depends(Key("audit:read"))]
Operator = Annotated[Principal, Depends(Key("audit:operate"))]
RowState = Literal["pending", "leased", "dead", "delivered", "canceled"]


class TimelineItem(BaseModel):
    """One thing that happened to a user."""

    at: datetime
    """When it happened."""
    service: Literal["signup", "mail"]
    """The service that has it on record."""
    kind: str
    """What happened, as in history; `outbox.owed` is the time when an effect was owed."""
    subject: str
    """What it happened to: the user, an outbox row or a mail."""
    detail: dict[str, JsonValue]
    """More about it. Its members depend on `kind`."""
    correlation_id: str | None
    """The X-Request-ID of the request that caused it; null when no request did."""


class Timeline(BaseModel):
    """What happened to a user, over both services."""

    user_id: UUID
    """The user."""
    complete: bool
    """False when the mail service could not be asked."""
    unavailable: list[Literal["mail"]]
    """`mail` when the mail service could not be asked; else empty."""
    kept_from: datetime | None = Field(
        description="Earlier events are no longer on record (HISTORY_MONTHS, SIGNUP_SETTLED_MONTHS); "
        "null when the timeline is complete since the signup"
    )
    items: list[TimelineItem]
    """What happened, oldest first."""


class OutboxRow(BaseModel):
    """An effect that is owed to a user, or was."""

    id: UUID
    """The ID of the row. For mails it is the request ID, too."""
    effect: str
    """What is owed: `mail`, `stats`, `cache`, `erase_mail` or `webhook`."""
    user_id: UUID | None
    """The user to whom it is owed."""
    state: RowState
    """`pending` waits, `leased` is being performed, `dead` was given up, `delivered` is done, `canceled` never is."""
    attempts: int
    """Attempts that got a verdict. Outages do not count."""
    last_error: str | None
    """Why the last attempt failed; null: it did not."""
    due_at: datetime | None
    """When the next attempt is due; null once settled."""
    created_at: datetime
    """When it was owed, in the commit of what it is owed for."""
    expires_at: datetime | None
    """When it is given up."""
    dead_at: datetime | None
    """When it was given up; null: it was not."""
    settled_at: datetime | None
    """When it was delivered or canceled; null: neither yet."""
    outcome: Literal["delivered", "canceled"] | None
    """How it was settled; null: not yet."""
    result: dict[str, JsonValue] | None
    """What the peer answered, like `mail_id`; null: nothing on record."""
    correlation_id: str | None
    """The X-Request-ID of the request that caused it; null when no request did."""


class OutboxPage(BaseModel):
    """A page of outbox rows."""

    items: list[OutboxRow]
    next_cursor: str | None


class Redrive(Strict):
    """Which rows: all conditions must hold."""

    state: operator_actions.Redrivable = Field(description="`dead`, or `pending` for rows that wait for their next try")
    effect: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Only rows of this effect, like `mail`. Default: of all effects."""
    error_like: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        None, description="A part of the last error; `%` and `_` as in SQL LIKE"
    )


class Redriven(BaseModel):
    """How many rows it concerned."""

    retried: int
    """How many rows are due now."""


@router.get(
    "/users/{user_id}",
    tags=["Audit"],
    response_model=Timeline,
    responses=openapi.keyed(problems.NotFound),
    dependencies=MayRead,
)
async def get_user_timeline(request: Request, user_id: UUID) -> Response:
    """The timeline of one user over both services, oldest first. Erased users have one too."""
    mail: MailServiceView = request.app.state.mail_service_view
    return JsonResponse(await timeline(state_of(request).database.pool, mail, user_id))


@router.get("/outbox", tags=["Outbox"], response_model=OutboxPage, responses=openapi.keyed(), dependencies=MayRead)
async def list_outbox(
    request: Request,
    state: Annotated[Sequence[RowState], Query(max_length=5)] = (),
    effect: Annotated[Sequence[str], Query(max_length=20)] = (),
    user_id: Annotated[Sequence[UUID], Query(max_length=100)] = (),
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Outbox rows, owed and settled, newest first."""
    await load_engine()
    from ..outbox import row_list  # noqa: PLC0415 - SQLAlchemy takes 20 MB: only when a list is read

    shown = clamp(limit)
    filters = row_list.Filters(state, effect, user_id)
    rows = await row_list.list_rows(state_of(request).database, filters, before=after_id(cursor), limit=shown)
    return JsonResponse(page(rows, shown))


@router.post(
    "/outbox/retry", tags=["Outbox"], response_model=Redriven, responses=openapi.keyed(problems.UnsupportedMediaType)
)
async def redrive_outbox(body: Redrive, request: Request, operator: Operator) -> Response:
    """Make all matching rows due now. Dead rows also get a new expiry time."""
    state = state_of(request)
    retried = await operator_actions.redrive(
        state.database.pool,
        body.state,
        effects=[body.effect] if body.effect else [],
        error_like=body.error_like,
        actor=operator.actor,
        give_up_seconds=state.policy.give_up_seconds,
    )
    state.pinger.ping()
    return JsonResponse({"retried": retried})


@router.get(
    "/outbox/{row_id:uuid}",
    tags=["Outbox"],
    response_model=OutboxRow,
    responses=openapi.keyed(problems.NotFound),
    dependencies=MayRead,
)
async def get_outbox_row(request: Request, row_id: UUID) -> Response:
    """One row, owed or settled."""
    return JsonResponse(await operator_actions.find_row(state_of(request).database.pool, row_id))


_changed: dict[int | str, dict[str, Any]] = openapi.keyed(problems.NotFound, WrongState)


@router.post("/outbox/{row_id:uuid}/retry", tags=["Outbox"], response_model=OutboxRow, responses=_changed)
async def retry_outbox_row(request: Request, row_id: UUID, operator: Operator) -> Response:
    """Make a dead or pending row due now."""
    state = state_of(request)
    row = await operator_actions.retry(
        state.database.pool, row_id, actor=operator.actor, give_up_seconds=state.policy.give_up_seconds
    )
    state.pinger.ping()
    return JsonResponse(row)


@router.post("/outbox/{row_id:uuid}/cancel", tags=["Outbox"], response_model=OutboxRow, responses=_changed)
async def cancel_outbox_row(request: Request, row_id: UUID, operator: Operator) -> Response:
    """Cancel a dead or pending row: its effect is never performed."""
    return JsonResponse(await operator_actions.cancel(state_of(request).database.pool, row_id, actor=operator.actor))
