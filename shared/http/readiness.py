"""Liveness, readiness and health: is the process alive, can it work, and what is the state of each part.

Each service's `http/health.py` lists its health checks. The routes use `app.state.database`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from ..contract import problems
from ..db.pool import UNAVAILABLE, Database
from ..observability import health_checks
from . import openapi
from .responses import JsonResponse

# A slower readiness check counts as failed.
_READY_SECONDS = 2.0

HealthChecks = Callable[[Request], Awaitable[Mapping[str, health_checks.Check]]]


class Alive(BaseModel):
    """The process can do what was asked about."""

    status: Literal["pass"]
    """Always `pass`. Otherwise the answer is a problem."""


class CheckDocument(BaseModel):
    """What one health check saw."""

    status: health_checks.Status
    """`pass`, `warn` (to be looked at) or `fail` (broken)."""
    observed_value: float | str | None
    """What was measured; null when nothing is."""
    observed_unit: str
    """The unit of the value, like `s` or `rows`; may be empty."""
    detail: str
    """What it means or what to do; may be empty."""


class Health(BaseModel):
    """The status alone, for callers without a key."""

    status: health_checks.Status
    """The worst status of all checks."""


class HealthReport(Health):
    """The status and each check."""

    checks: dict[str, CheckDocument]
    """Each check, by name."""


def add_health_routes(router: APIRouter, checks: HealthChecks, sees_checks: Callable[..., Any]) -> None:
    """`sees_checks` is a dependency: the caller sees each check when its value is true, else the status alone."""

    @router.get("/health/live", response_model=Alive, responses=openapi.error_responses())
    async def get_liveness() -> Response:
        """The process answers. Touches nothing else."""
        return JsonResponse({"status": "pass"})

    @router.get("/health/ready", response_model=Alive, responses=openapi.error_responses())
    async def get_readiness(request: Request) -> Response:
        """The service can work: its own PostgreSQL answers and takes writes. Nothing else makes it unready."""
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await database_of(request).pool.fetchval("SELECT 1")
        except UNAVAILABLE:
            raise problems.Unavailable("The service's database does not answer.") from None
        if database_of(request).pool.refuses_writes:
            raise problems.Unavailable("The service's database refuses writes: it is read-only, or its disk is full.")
        return JsonResponse({"status": "pass"})

    failing: dict[int | str, dict[str, Any]] = {
        503: {"model": HealthReport | Health, "description": "A check fails; with a key `checks` says which"}
    }

    @router.get(
        "/health",
        response_model=HealthReport | Health,
        responses=openapi.keyed() | failing,
        openapi_extra={"security": [{}]},  # beside the key: or none
    )
    async def get_health(request: Request, shown: Annotated[object, Depends(sees_checks)]) -> Response:
        """The status: that of the worst check. With a key that has `audit:read`, each check with its observed value."""
        status, body = health_checks.report(dict(await checks(request)))
        return JsonResponse(body if shown else {"status": body["status"]}, status)


def database_of(request: Request) -> Database:
    database: Database = request.app.state.database
    return database
