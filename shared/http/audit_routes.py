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
    id: str
    what: str


class CheckResult(BaseModel):
    name: str
    description: str
    severity: Severity
    fixes: bool
    last_run_at: datetime | None
    violations: int
    examples: list[ViolationExample]
    fixed: int
    fixed_total: int
    error: str | None


class CheckResults(BaseModel):
    items: list[CheckResult]


class Alert(BaseModel):
    id: UUID
    name: str
    severity: Severity
    subject: str
    since: datetime
    opened_at: datetime
    seen_at: datetime
    reminded_at: datetime | None
    closed_at: datetime | None
    mails_sent: int
    mails_owed: int


class Alerts(BaseModel):
    items: list[Alert]


def checks_router(catalog: AlertCatalog) -> APIRouter:
    """The routes use `app.state.database`."""
    router = APIRouter(prefix="/audit", route_class=StrictRoute, tags=["operators"])
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
