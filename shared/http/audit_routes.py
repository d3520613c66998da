"""Sanity checks and alerts of both services: list the findings, run the checks now, list the alerts."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from ..audit import incidents
from ..audit.alert_loop import AlertCatalog
from ..audit.severity import Severity
from ..contract.ids import UUID
from ..contract.principals import Principal
from . import openapi
from .authentication import Key
from .readiness import database_of
from .responses import JsonResponse
from .routing import StrictRoute


class ViolationExample(BaseModel):
    """One row that is wrong."""

    id: str
    """The ID of the row that is wrong."""
    what: str
    """What is wrong with it; nothing personal."""


class CheckResult(BaseModel):
    """A sanity check, and what its last run found."""

    name: str
    """The name of the check, as `docs/operating.md` lists it."""
    description: str
    """What must not be, and what the check looks for."""
    severity: Severity
    """`red` mails the operators, `warning` is counted."""
    fixes: bool
    """Whether the check repairs what it finds."""
    last_run_at: datetime | None
    """When it last ran; null: never."""
    violations: int
    """Rows that were wrong in the last run, counted up to 1,000."""
    examples: list[ViolationExample]
    """Up to 20 of them."""
    fixed: int
    """Rows that the last run repaired."""
    fixed_total: int
    """Rows that all runs repaired together."""
    error: str | None
    """Why the last run did not finish; null: it did."""


class CheckResults(BaseModel):
    """Every sanity check, and what its last run found."""

    items: list[CheckResult]
    """Every check of this service."""


class Alert(BaseModel):
    """An incident: opened once, closed when it is over."""

    id: UUID
    """The ID of the incident."""
    name: str
    """The name of the alert, as `docs/operating.md` lists it."""
    severity: Severity
    """`red` mails the operators, `warning` is counted."""
    subject: str
    """What an operator should do."""
    since: datetime
    """When it was first seen."""
    opened_at: datetime
    """When it became an incident, and red ones owed the operators a mail; null: not seen for long enough yet."""
    seen_at: datetime
    """When it was last seen."""
    reminded_at: datetime | None
    """When the operators were last owed a reminder, once a day; null: never."""
    closed_at: datetime | None
    """When it was over; null: it is open."""
    mails_sent: int
    """Mails to the operators that left."""
    mails_owed: int
    """Mails to the operators that wait to leave."""


class Alerts(BaseModel):
    """The incidents on record."""

    items: list[Alert]
    """The incidents, open ones first."""


def checks_router(catalog: AlertCatalog) -> APIRouter:
    """The routes use `app.state.database`."""
    router = APIRouter(prefix="/audit", route_class=StrictRoute, tags=["Audit"])
    may_read = [Depends(Key("audit:read"))]
    Operator = Annotated[Principal, Depends(Key("audit:operate"))]  # noqa: N806 - a type

    async def results(request: Request) -> dict[str, Any]:
        return {"items": await catalog.checks_in(database_of(request).pool).results()}

    @router.get("/checks", response_model=CheckResults, responses=openapi.keyed(), dependencies=may_read)
    async def list_checks(request: Request) -> Response:
        """Each sanity check with the findings of its last run, repaired or not."""
        return JsonResponse(await results(request))

    @router.post("/checks/run", response_model=CheckResults, responses=openapi.keyed())
    async def run_checks(request: Request, operator: Operator) -> Response:
        """Run every sanity check now. Answers with the findings when all have run."""
        await catalog.checks_in(database_of(request).pool).run_for(operator.actor)
        return JsonResponse(await results(request))

    @router.get("/alerts", response_model=Alerts, responses=openapi.keyed(), dependencies=may_read)
    async def list_alerts(request: Request) -> Response:
        """Incidents, open ones first: what to do, since when, and whether the operators were mailed."""
        return JsonResponse({"items": await incidents.list_alerts(database_of(request).pool)})

    return router
