"""What operators ask, the same of both services: alive, ready, healthy, which build, metrics, history, problems.

The service's `health.py` says which checks make up its health; everything else is here. The routes find
`app.state.database` and, for keys, `app.state.authenticator`.
"""

import asyncio
import platform
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Path, Query
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, JsonValue
from starlette.requests import Request
from starlette.responses import Response

from . import health, openapi, problem
from .auth import Key
from .database import UNAVAILABLE, Database, Pool
from .history import read_history
from .ids import UUID
from .paging import Cursor, Limit, Moment, Words, after_id, clamp, page
from .web import Answer, StrictRoute

VERSION = "0.1.0"
# A ready check that waits longer than this is as good as a failed one for whoever asks.
_READY_SECONDS = 2.0

HealthChecks = Callable[[Request], Awaitable[Mapping[str, health.Check]]]
Collect = Callable[[Pool], Awaitable[None]]


class Alive(BaseModel):
    status: Literal["pass"]


class Build(BaseModel):
    service: str
    version: str
    python: str


class CheckDocument(BaseModel):
    status: health.Status
    observed_value: float | str | None
    observed_unit: str
    detail: str


class HealthReport(BaseModel):
    status: health.Status
    checks: dict[str, CheckDocument]


class ProblemKind(BaseModel):
    type: str
    title: str
    status: int
    explanation: str


class HistoryEntry(BaseModel):
    id: UUID
    at: datetime
    kind: str
    subject: str
    related: list[str]
    actor: str
    correlation_id: str | None
    detail: dict[str, JsonValue]


class HistoryPage(BaseModel):
    items: list[HistoryEntry]
    next_cursor: str | None


def operations_router(
    *, service: str, history: sa.Table, registry: CollectorRegistry, checks: HealthChecks, collect: Collect
) -> APIRouter:
    """Every operators' endpoint that both services have.

    `checks`, and `collect` (which brings `registry` up to date), must answer within a few seconds and not raise.
    """
    router = APIRouter(route_class=StrictRoute, tags=["operators"])
    _add_health(router, checks)
    _add_build(router, service)
    _add_metrics(router, registry, collect)
    _add_problems(router)
    _add_history(router, history)
    return router


def _add_health(router: APIRouter, checks: HealthChecks) -> None:
    @router.get("/health/live", response_model=Alive, responses=openapi.problems())
    async def live() -> Response:
        """The process answers; nothing else is touched."""
        return Answer({"status": "pass"})

    @router.get("/health/ready", response_model=Alive, responses=openapi.problems())
    async def ready(request: Request) -> Response:
        """The service can do its work: its own PostgreSQL answers. Nothing else makes it unready."""
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await database_of(request).pool.fetchval("SELECT 1")
        except UNAVAILABLE:
            raise problem.Unavailable("The service's database does not answer.") from None
        return Answer({"status": "pass"})

    failing: dict[int | str, dict[str, Any]] = {
        503: {"model": HealthReport, "description": "A check fails; `checks` says which"}
    }

    @router.get("/health", response_model=HealthReport, responses=openapi.problems() | failing)
    async def report(request: Request) -> Response:
        """Each check with what it saw; the worst one is the status of the whole."""
        status, body = health.report(dict(await checks(request)))
        return Answer(body, status)


def _add_build(router: APIRouter, service: str) -> None:
    @router.get("/version", response_model=Build, responses=openapi.problems())
    async def version() -> Response:
        """Which build this is."""
        return Answer({"service": service, "version": VERSION, "python": platform.python_version()})


def _add_metrics(router: APIRouter, registry: CollectorRegistry, collect: Collect) -> None:
    text: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus text format"}
    }

    @router.get("/metrics", response_class=Response, responses=openapi.problems() | text)
    async def metrics(request: Request) -> Response:
        """Numbers of this process and of every stage behind it, for Prometheus."""
        await collect(database_of(request).pool)
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _add_problems(router: APIRouter) -> None:
    @router.get("/problems/{slug}", response_model=ProblemKind, responses=openapi.problems(problem.NotFound))
    async def explain(slug: Annotated[str, Path(max_length=100)]) -> Response:
        """What a kind of problem means: the address in every problem's `type`."""
        for kind in problem.kinds():
            if kind.slug == slug:
                explanation = " ".join((kind.__doc__ or kind.title).split())
                body = {"type": f"/problems/{slug}", "title": kind.title, "status": kind.status}
                return Answer(body | {"explanation": explanation})
        raise problem.NotFound("There is no such kind of problem.")


def _add_history(router: APIRouter, history: sa.Table) -> None:
    @router.get(
        "/audit/history",
        response_model=HistoryPage,
        responses=openapi.keyed(),
        dependencies=[Depends(Key("audit:read"))],
    )
    async def list_history(
        request: Request,
        subject: Annotated[Words, Query(description="Any ID: matches what an entry is about or related to")] = (),
        kind: Words = (),
        after: Moment | None = None,
        before: Moment | None = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """What happened, append-only, newest first."""
        shown = clamp(limit)
        entries = await read_history(
            database_of(request),
            history,
            subjects=list(subject),
            kinds=list(kind),
            after=after,
            before=before,
            cursor=after_id(cursor),
            limit=shown,
        )
        return Answer(page(entries, shown))


def database_of(request: Request) -> Database:
    database: Database = request.app.state.database
    return database
