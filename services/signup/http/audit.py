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

router = APIRouter(prefix="/audit", route_class=StrictRoute, tags=["operators"])

MayRead = [Depends(Key("audit:read"))]
Operator = Annotated[Principal, Depends(Key("audit:operate"))]
RowState = Literal["pending", "leased", "dead", "delivered", "canceled"]


class TimelineItem(BaseModel):
    at: datetime
    service: Literal["signup", "mail"]
    kind: str
    subject: str
    detail: dict[str, JsonValue]
    correlation_id: str | None


class Timeline(BaseModel):
    user_id: UUID
    complete: bool
    unavailable: list[Literal["mail"]]
    kept_from: datetime | None = Field(
        description="Earlier events are no longer on record (HISTORY_MONTHS, SIGNUP_SETTLED_MONTHS); "
        "null when the timeline is complete since the signup"
    )
    items: list[TimelineItem]


class OutboxRow(BaseModel):
    id: UUID
    effect: str
    user_id: UUID | None
    state: RowState
    attempts: int
    last_error: str | None
    due_at: datetime | None
    created_at: datetime
    expires_at: datetime | None
    dead_at: datetime | None
    settled_at: datetime | None
    outcome: Literal["delivered", "canceled"] | None
    result: dict[str, JsonValue] | None
    correlation_id: str | None


class OutboxPage(BaseModel):
    items: list[OutboxRow]
    next_cursor: str | None


class Redrive(Strict):
    state: operator_actions.Redrivable = Field(description="`dead`, or `pending` for rows that wait for their next try")
    effect: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    error_like: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        None, description="A part of the last error; `%` and `_` as in SQL LIKE"
    )


class Redriven(BaseModel):
    retried: int


@router.get(
    "/users/{user_id}", response_model=Timeline, responses=openapi.keyed(problems.NotFound), dependencies=MayRead
)
async def get_user_timeline(request: Request, user_id: UUID) -> Response:
    """The timeline of one user over both services, oldest first. Erased users have one too."""
    mail: MailServiceView = request.app.state.mail_service_view
    return JsonResponse(await timeline(state_of(request).database.pool, mail, user_id))


@router.get("/outbox", response_model=OutboxPage, responses=openapi.keyed(), dependencies=MayRead)
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


@router.post("/outbox/retry", response_model=Redriven, responses=openapi.keyed(problems.UnsupportedMediaType))
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
    "/outbox/{row_id:uuid}", response_model=OutboxRow, responses=openapi.keyed(problems.NotFound), dependencies=MayRead
)
async def get_outbox_row(request: Request, row_id: UUID) -> Response:
    """One row, owed or settled."""
    return JsonResponse(await operator_actions.find_row(state_of(request).database.pool, row_id))


_changed: dict[int | str, dict[str, Any]] = openapi.keyed(problems.NotFound, WrongState)


@router.post("/outbox/{row_id:uuid}/retry", response_model=OutboxRow, responses=_changed)
async def retry_outbox_row(request: Request, row_id: UUID, operator: Operator) -> Response:
    """Make a dead or pending row due now."""
    state = state_of(request)
    row = await operator_actions.retry(
        state.database.pool, row_id, actor=operator.actor, give_up_seconds=state.policy.give_up_seconds
    )
    state.pinger.ping()
    return JsonResponse(row)


@router.post("/outbox/{row_id:uuid}/cancel", response_model=OutboxRow, responses=_changed)
async def cancel_outbox_row(request: Request, row_id: UUID, operator: Operator) -> Response:
    """Cancel a dead or pending row: its effect is never performed."""
    return JsonResponse(await operator_actions.cancel(state_of(request).database.pool, row_id, actor=operator.actor))
