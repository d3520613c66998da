"""/audit/reconciliation: both ledgers laid side by side; what was found, what was mended. The worker does it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import orjson
import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from shared.contract import problems
from shared.contract.correlation import current
from shared.contract.fields import Strict
from shared.contract.ids import UUID
from shared.contract.timestamps import Timestamp
from shared.db.pool import Record
from shared.http import openapi
from shared.http.authentication import Key, Principal
from shared.http.pagination import Cursor, Limit, after_id, clamp, page
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..reconciliation.queries import FIND_LATEST_RUN, FIND_RUN, REQUEST_RUN
from ..tables import reconciliation_findings
from .app_state import state_of

router = APIRouter(prefix="/audit/reconciliation", route_class=StrictRoute, tags=["operators"])

MayRead = Depends(Key("audit:read"))
Kind = Literal["missing", "lost_records", "unexpected", "different", "stuck", "unserved_users"]
KINDS: tuple[Kind, ...] = ("missing", "lost_records", "unexpected", "different", "stuck", "unserved_users")


# Of callers and of this machine: what lies further ahead was not meant.
_CLOCKS_DIFFER_BY = timedelta(minutes=5)


class RunRequest(Strict):
    from_: Timestamp | None = Field(
        None,
        alias="from",
        description="From the beginning of the ledgers unless said, and never earlier than `kept_from`",
    )
    to: Timestamp | None = Field(None, description="Cut to RECONCILE_LAG_SECONDS ago: the rest is still on its way")
    heal: bool = Field(default=True, description="Mend what is safe to mend")


class Window(BaseModel):
    from_: datetime = Field(alias="from")
    to: datetime


class Example(BaseModel):
    request_id: str
    mail_id: UUID | None
    user_id: UUID | None
    reason: str


class Reconciliation(BaseModel):
    id: UUID
    state: Literal["running", "done", "failed"]
    verdict: Literal["balanced", "out_of_balance", "incomplete"]
    window: Window
    kept_from: datetime | None = Field(
        description="Settled rows of an earlier time were dropped (SIGNUP_SETTLED_MONTHS), so no window asked for "
        "now begins before it; null when none were ever dropped"
    )
    heal: bool
    compared: int = Field(description="Mails that were looked at in both ledgers")
    missing: int = Field(description="Handed over, unknown there, not known to have been sent")
    lost_records: int = Field(description="Known here to have been sent, unknown there")
    unexpected: int = Field(description="There, but never asked for here")
    different: int = Field(description="In both ledgers, but not the same")
    stuck: int = Field(description="Waiting too long, on either side")
    unserved_users: int = Field(description="Pending users without a verification mail on the ledgers")
    known: int = Field(description="Named by an earlier run, unchanged, and not to be mended: not counted above")
    healed: dict[Kind, int]
    examples: dict[Kind, list[Example]]
    error: str | None = Field(description="What kept the last step from being taken")
    started_at: datetime
    finished_at: datetime | None


class FoundThing(Example):
    id: UUID
    run_id: UUID = Field(description="The run that named it last")
    kind: Kind
    found_at: datetime
    healed_at: datetime | None = Field(description="When it was repaired")


class FindingPage(BaseModel):
    items: list[FoundThing]
    next_cursor: str | None


_location = {"Location": {"description": "Where the run is", "schema": {"type": "string"}}}
_accepted: dict[int | str, dict[str, Any]] = {202: {"model": Reconciliation, "headers": _location}}


@router.post(
    "/run",
    status_code=202,
    response_model=Reconciliation,
    responses=_accepted | openapi.keyed(problems.UnsupportedMediaType),
)
async def run_reconciliation(
    request: Request,
    principal: Annotated[Principal, Depends(Key("audit:operate"))],
    body: RunRequest | None = None,
) -> Response:
    """Ask for a run. It is committed when this answers, and survives whatever happens to the worker."""
    body = body or RunRequest()
    if body.from_ and body.to and body.from_ >= body.to:
        detail = "Must be earlier than `to`"
        raise problems.InvalidRequest(f"from: {detail}", errors=[problems.at("/from", detail)])
    if body.from_ and body.from_ > datetime.now(UTC) + _CLOCKS_DIFFER_BY:
        detail = "Must not lie in the future"
        raise problems.InvalidRequest(f"from: {detail}", errors=[problems.at("/from", detail)])
    state, here = state_of(request), current()
    row = await state.database.pool.fetchrow(
        REQUEST_RUN,
        body.from_,
        body.to,
        state.reconcile_lag_seconds,
        body.heal,
        principal.actor,
        here.request_id if here else None,
    )
    assert row is not None  # RETURNING
    return JsonResponse(_as_run(row), 202, {"Location": f"/audit/reconciliation/{row['id']}"})


@router.get("", response_model=Reconciliation, responses=openapi.keyed(problems.NotFound), dependencies=[MayRead])
async def latest_reconciliation(request: Request) -> Response:
    """The run that was asked for last."""
    row = await state_of(request).database.pool.fetchrow(FIND_LATEST_RUN)
    if row is None:
        raise problems.NotFound("The ledgers have not been laid side by side yet.")
    return JsonResponse(_as_run(row))


@router.get("/findings", response_model=FindingPage, responses=openapi.keyed(), dependencies=[MayRead])
async def list_findings(
    request: Request,
    kind: Annotated[list[Kind], Query(max_length=len(KINDS))] = [],  # noqa: B006 - FastAPI copies defaults
    run_id: Annotated[list[UUID], Query(max_length=100, description="Those that this run named")] = [],  # noqa: B006
    healed: Annotated[bool | None, Query(description="Mended or not")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Everything that was ever found, newest first; each thing once."""
    found, shown, below = reconciliation_findings.c, clamp(limit), after_id(cursor)
    columns = {**found, "healed_at": found.repaired_at.label("healed_at")}
    query = sa.select(*(columns[name] for name in FoundThing.model_fields)).order_by(found.id.desc()).limit(shown + 1)
    if kind:
        query = query.where(found.kind.in_(kind))
    if run_id:
        query = query.where(found.run_id.in_(run_id))
    if healed is not None:
        query = query.where(found.repaired_at.is_not(None) if healed else found.repaired_at.is_(None))
    if below:
        query = query.where(found.id < below)
    rows = await state_of(request).database.fetch_all(query)
    return JsonResponse(page([{name: row[name] for name in FoundThing.model_fields} for row in rows], shown))


@router.get(
    "/{run_id:uuid}", response_model=Reconciliation, responses=openapi.keyed(problems.NotFound), dependencies=[MayRead]
)
async def get_reconciliation(request: Request, run_id: UUID) -> Response:
    """One run, under way or finished."""
    row = await state_of(request).database.pool.fetchrow(FIND_RUN, run_id)
    if row is None:
        raise problems.NotFound("There is no such run.")
    return JsonResponse(_as_run(row))


def _as_run(row: Record) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("id", "state", "verdict")},
        "window": {"from": row["window_from"], "to": row["window_to"]},
        "kept_from": row["kept_from"],
        "heal": row["repair"],
        **{name: row[name] for name in ("compared", *KINDS, "known")},
        "healed": dict.fromkeys(KINDS, 0) | orjson.loads(row["repaired"]),
        "examples": {kind: [] for kind in KINDS} | orjson.loads(row["examples"]),
        "error": row["last_error"],
        **{name: row[name] for name in ("started_at", "finished_at")},
    }
