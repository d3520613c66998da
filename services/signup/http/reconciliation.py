"""/audit/reconciliation: request runs, read their results and findings. The worker performs the runs."""

from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from shared.contract import problems
from shared.contract.fields import Strict
from shared.contract.ids import UUID
from shared.contract.principals import Principal
from shared.contract.timestamps import Timestamp
from shared.db.pool import Record, load_engine
from shared.http import openapi
from shared.http.authentication import Key
from shared.http.pagination import Cursor, Limit, after_id, clamp, page
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..reconciliation.incomplete import why_incomplete
from ..reconciliation.queries import FIND_LATEST_RUN, FIND_RUN
from ..reconciliation.request import fault_of, request_run
from .app_state import state_of

router = APIRouter(prefix="/audit/reconciliation", route_class=StrictRoute, tags=["Reconciliation"])

MayRead = Depends(Key("audit:read"))
Kind = Literal["missing", "lost_records", "unexpected", "different", "stuck", "unserved_users"]
KINDS: tuple[Kind, ...] = ("missing", "lost_records", "unexpected", "different", "stuck", "unserved_users")


class RunRequest(Strict):
    """What to compare, and whether to repair. Every field may be left out."""

    from_: Timestamp | None = Field(
        None, alias="from", description="Default: the beginning of the ledgers; never earlier than `kept_from`"
    )
    to: Timestamp | None = Field(None, description="Cut to RECONCILE_LAG_SECONDS ago: later records may be in transit")
    heal: bool = Field(default=True, description="Repair the differences that are safe to repair")


class Window(BaseModel):
    """A time, with its beginning and without its end."""

    from_: datetime = Field(alias="from")
    """Mails requested at this time or later."""
    to: datetime
    """Mails requested before this time."""


class FindingExample(BaseModel):
    """A difference between the ledgers."""

    request_id: str
    """The mail's request ID, which is the ID of its outbox row. For `unserved_users` the user's ID."""
    mail_id: UUID | None
    """The mail in the mail service; null: not known."""
    user_id: UUID | None
    """The user whose mail it is; null: not known."""
    reason: str
    """What was seen."""


class Reconciliation(BaseModel):
    """A run that compares signup's ledger with the mail service's, and what it found."""

    id: UUID
    """The ID of the run."""
    state: Literal["running", "done", "failed"]
    """`running`, `done`, or `failed`."""
    verdict: Literal["balanced", "out_of_balance", "incomplete"]
    """What was found: `balanced`, `out_of_balance`, or `incomplete` when it compared nothing or could not finish."""
    reason: str | None = Field(description="Why an ended run is `incomplete`, and when to run it again")
    window: Window
    """The time that was compared. It ends RECONCILE_LAG_SECONDS (60) before the request."""
    kept_from: datetime | None = Field(
        description="Earlier settled rows were dropped (SIGNUP_SETTLED_MONTHS), so a new window cannot begin before "
        "this; null when none were ever dropped"
    )
    heal: bool
    """Whether it repairs what is safe to repair."""
    compared: int = Field(description="Mails compared in both ledgers")
    missing: int = Field(description="Delivered to the mail service, missing there, and not known to have been sent")
    lost_records: int = Field(description="Known here to have been sent, missing in the mail service")
    unexpected: int = Field(description="In the mail service, but never requested by signup")
    different: int = Field(description="In both ledgers with different content")
    stuck: int = Field(description="Overdue in either ledger")
    unserved_users: int = Field(description="Pending users without a verification mail in the ledgers")
    known: int = Field(description="Found by an earlier run, unchanged and not repairable; not counted above")
    healed: dict[Kind, int]
    """How many findings of each kind it repaired."""
    examples: dict[Kind, list[FindingExample]]
    """Up to 20 findings of each kind."""
    error: str | None = Field(description="Why the last step failed")
    started_at: datetime
    """When it was requested."""
    finished_at: datetime | None
    """When it ended; null: it runs."""


class Finding(FindingExample):
    """A difference between the ledgers, on record."""

    id: UUID
    """The ID of the finding."""
    run_id: UUID = Field(description="The latest run that found it")
    kind: Kind
    """What is wrong, named as the counts of a run."""
    found_at: datetime
    """When it was first found."""
    healed_at: datetime | None = Field(description="When it was repaired")


class FindingPage(BaseModel):
    """A page of findings."""

    items: list[Finding]
    next_cursor: str | None


_location = {"Location": {"description": "URL of the run", "schema": {"type": "string"}}}
_accepted: dict[int | str, dict[str, Any]] = {202: {"model": Reconciliation, "headers": _location}}


@router.post(
    "/run",
    status_code=202,
    response_model=Reconciliation,
    responses=_accepted | openapi.keyed(problems.UnsupportedMediaType),
)
async def run_reconciliation(
    request: Request, principal: Annotated[Principal, Depends(Key("audit:operate"))], body: RunRequest | None = None
) -> Response:
    """Request a run. When this answers, the request is committed and survives a crash of the worker."""
    body = body or RunRequest()
    if detail := fault_of(body.from_, body.to):
        raise problems.InvalidRequest(f"from: {detail}", errors=[problems.at("/from", detail)])
    state = state_of(request)
    row = await request_run(
        state.database.pool,
        body.from_,
        body.to,
        lag_seconds=state.reconcile_lag_seconds,
        repair=body.heal,
        actor=principal.actor,
    )
    return JsonResponse(
        _as_run(row, state.reconcile_lag_seconds), 202, {"Location": f"/audit/reconciliation/{row['id']}"}
    )


@router.get("", response_model=Reconciliation, responses=openapi.keyed(problems.NotFound), dependencies=[MayRead])
async def get_latest_reconciliation(request: Request) -> Response:
    """The latest run."""
    row = await state_of(request).database.pool.fetchrow(FIND_LATEST_RUN)
    if row is None:
        raise problems.NotFound("No reconciliation has been requested yet.")
    return JsonResponse(_as_run(row, state_of(request).reconcile_lag_seconds))


@router.get("/findings", response_model=FindingPage, responses=openapi.keyed(), dependencies=[MayRead])
async def list_findings(
    request: Request,
    kind: Annotated[list[Kind], Query(max_length=len(KINDS))] = [],  # noqa: B006 - FastAPI copies defaults
    run_id: Annotated[list[UUID], Query(max_length=100, description="Findings of this run")] = [],  # noqa: B006
    healed: Annotated[bool | None, Query(description="Repaired or not")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """All findings, newest first, each difference once."""
    await load_engine()
    from ..reconciliation import finding_list  # noqa: PLC0415 - SQLAlchemy takes 20 MB: only when a list is read

    shown = clamp(limit)
    rows = await finding_list.list_findings(
        state_of(request).database, kinds=kind, run_ids=run_id, healed=healed, below=after_id(cursor), limit=shown
    )
    return JsonResponse(page(rows, shown))


@router.get(
    "/{run_id:uuid}", response_model=Reconciliation, responses=openapi.keyed(problems.NotFound), dependencies=[MayRead]
)
async def get_reconciliation(request: Request, run_id: UUID) -> Response:
    """One run, running or finished."""
    row = await state_of(request).database.pool.fetchrow(FIND_RUN, run_id)
    if row is None:
        raise problems.NotFound("There is no reconciliation run with this ID.")
    return JsonResponse(_as_run(row, state_of(request).reconcile_lag_seconds))


def _as_run(row: Record, lag_seconds: float) -> dict[str, Any]:
    incomplete = why_incomplete(row, lag_seconds=lag_seconds)
    return {
        **{name: row[name] for name in ("id", "state", "verdict")},
        "reason": incomplete.reason if incomplete else None,
        "window": {"from": row["window_from"], "to": row["window_to"]},
        "kept_from": row["kept_from"],
        "heal": row["repair"],
        **{name: row[name] for name in ("compared", *KINDS, "known")},
        "healed": dict.fromkeys(KINDS, 0) | orjson.loads(row["repaired"]),
        "examples": {kind: [] for kind in KINDS} | orjson.loads(row["examples"]),
        "error": row["last_error"],
        **{name: row[name] for name in ("started_at", "finished_at")},
    }
