"""Operator endpoints of both services: health, version, metrics, history, problem types.

The public port asks for a key wherever an answer says more than a status. The operations port (`operations_app`) asks
for none: it must not be reachable by strangers. Each service's `http/health.py` lists its health checks; everything
else is here. The routes use `app.state.database` and, for keys, `app.state.authenticator`.
"""

import platform
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query, params
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, JsonValue
from starlette.datastructures import State
from starlette.requests import Request
from starlette.responses import Response

from ..contract import problems
from ..contract.ids import UUID
from ..contract.principals import Principal
from ..db.pool import Pool, load_engine
from . import error_handlers, openapi
from .authentication import AnyKey, HealthKey, Key
from .middleware import RequestMiddleware
from .pagination import Cursor, FilterTexts, Limit, Timestamp, after_id, clamp, cursor_of
from .readiness import HealthChecks, add_health_routes, database_of
from .responses import JsonResponse
from .routing import StrictRoute
from .tracing_middleware import NO_TELEMETRY

VERSION = "0.1.0"

Collect = Callable[[Pool], Awaitable[None]]


class Build(BaseModel):
    """The build that is running."""

    service: str
    """`signup` or `mail`."""
    version: str
    """The version of Counterfoil."""
    python: str
    """The version of Python that runs it."""


class OwnKey(BaseModel):
    """An API key, without its secret."""

    client: str
    """The client that the key belongs to."""
    key_id: str
    """The public part of the key, as history names it."""
    scopes: list[str]
    """What the key may do, in alphabetical order."""


class ProblemKind(BaseModel):
    """A kind of problem, as each problem's `type` names it."""

    type: str
    """The `type` of problems of this kind."""
    title: str
    """The `title` of problems of this kind."""
    status: int
    """The HTTP status of problems of this kind."""
    explanation: str
    """What it means, and what to do."""


class HistoryEntry(BaseModel):
    """One entry of the append-only history."""

    id: UUID
    """UUIDv7: IDs are in the order of time."""
    at: datetime
    """When it happened."""
    kind: str
    """What happened, like `mail.sent` or `user.verified`."""
    subject: str
    """What it happened to: most often the ID of a user, mail, outbox row, import or subscriber."""
    related: list[str]
    """Other IDs that have to do with it, like the request ID of a mail."""
    actor: str
    """Who did it: a key (`key:CLIENT/KEY_ID`), an operator in the console (`console:NAME`), a process, or
    `anonymous`."""
    correlation_id: str | None
    """The X-Request-ID of the request that caused it; null when no request did."""
    detail: dict[str, JsonValue]
    """More about it. Its members depend on `kind`."""


class HistoryPage(BaseModel):
    """A page of history."""

    items: list[HistoryEntry]
    next_cursor: str | None


def operations_router(
    *, service: str, registry: CollectorRegistry, checks: HealthChecks, collect: Collect
) -> APIRouter:
    """All operator endpoints that both services have.

    `checks` and `collect` (which refreshes `registry`) must return within a few seconds and not raise.
    """
    router = APIRouter(route_class=StrictRoute, tags=["Service"])
    audit = APIRouter(route_class=StrictRoute, tags=["Audit"])
    add_health_routes(router, checks, HealthKey("audit:read"))
    _add_build(router, service)
    _add_metrics(router, registry, collect, [Depends(Key("audit:read", in_outage=True))])
    _add_problems(router)
    _add_history(audit)
    _add_own_key(router)
    router.routes.extend(audit.routes)
    return router


def operations_app(
    *,
    service: str,
    state: State,
    registry: CollectorRegistry,
    checks: HealthChecks,
    collect: Collect,
    observe: Callable[[str, str, int, float], None],
) -> FastAPI:
    """The operations port of an API: health with every check, metrics and version, without a key.

    `state` is that of the API's own app, which opens and closes everything in it.
    """
    router = APIRouter(route_class=StrictRoute)
    add_health_routes(router, checks, _anyone)
    _add_build(router, service)
    _add_metrics(router, registry, collect, [])
    _add_problems(router)
    app = FastAPI(
        title=f"Counterfoil {service} operations", openapi_url=None, redirect_slashes=False, telemetry=NO_TELEMETRY
    )
    app.router.routes.extend(router.routes)
    app.state = state
    error_handlers.install(app)
    app.add_middleware(RequestMiddleware, observe=observe)
    return app


async def _anyone() -> bool:
    return True


def _add_build(router: APIRouter, service: str) -> None:
    @router.get("/version", response_model=Build, responses=openapi.error_responses())
    async def get_version() -> Response:
        """The build that is running."""
        return JsonResponse({"service": service, "version": VERSION, "python": platform.python_version()})


def _add_metrics(
    router: APIRouter, registry: CollectorRegistry, collect: Collect, keys: Sequence[params.Depends]
) -> None:
    text: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus text format"}
    }

    @router.get("/metrics", response_class=Response, responses=openapi.keyed() | text, dependencies=keys)
    async def get_metrics(request: Request) -> Response:
        """Metrics of this process and of every stage behind it, for Prometheus. The operations port needs no key."""
        await collect(database_of(request).pool)
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _add_own_key(router: APIRouter) -> None:
    @router.get("/v1/key", response_model=OwnKey, responses=openapi.error_responses(problems.Unauthorized))
    async def get_own_key(principal: Annotated[Principal, Depends(AnyKey())]) -> Response:
        """The key that this request carries: whose it is, and what it may do."""
        return JsonResponse(
            {"client": principal.client, "key_id": principal.key_id, "scopes": sorted(principal.scopes)}
        )


def _add_problems(router: APIRouter) -> None:
    @router.get("/problems/{slug}", response_model=ProblemKind, responses=openapi.error_responses(problems.NotFound))
    async def explain_problem(slug: Annotated[str, Path(max_length=100)]) -> Response:
        """Explains one problem type. The `type` of every problem is a path to this call."""
        for kind in problems.kinds():
            if kind.slug == slug:
                explanation = " ".join((kind.__doc__ or kind.title).split())
                body = {"type": f"/problems/{slug}", "title": kind.title, "status": kind.status}
                return JsonResponse(body | {"explanation": explanation})
        raise problems.NotFound("No problem type has this name.")


def _add_history(router: APIRouter) -> None:
    @router.get(
        "/audit/history",
        response_model=HistoryPage,
        responses=openapi.keyed(),
        dependencies=[Depends(Key("audit:read"))],
    )
    async def list_history(
        request: Request,
        subject: Annotated[FilterTexts, Query(description="Any ID: matches entries about it or related to it")] = (),
        kind: FilterTexts = (),
        after: Timestamp | None = None,
        before: Timestamp | None = None,
        among: Annotated[
            int | None,
            Query(
                ge=1,
                le=100_000,
                description="With `kind` and without `subject`: look at so many entries only, however rare the kind "
                "is. A page may then be short, or empty, and still have a next one",
            ),
        ] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """The append-only history, newest first."""
        await load_engine()
        from ..db.history import Asked, read_history  # noqa: PLC0415 - SQLAlchemy takes 20 MB: only when a list is read

        asked = Asked(subject, kind, after, before, after_id(cursor), among)
        entries, last = await read_history(database_of(request), asked, limit=clamp(limit))
        return JsonResponse({"items": entries, "next_cursor": cursor_of(last) if last else None})
