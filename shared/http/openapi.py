"""Documents the problems that calls can answer in `/openapi.json`."""

from collections import defaultdict
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..contract import problems
from ..contract.problems import Problem
from .responses import JsonResponse

_REFERENCE = {"$ref": "#/components/schemas/ProblemDocument"}
# Any call can answer these: body over the limit, unknown query parameter, internal error, database unavailable.
_EVERYWHERE: tuple[type[Problem], ...] = (
    problems.MalformedRequest,
    problems.PayloadTooLarge,
    problems.InvalidRequest,
    Problem,
    problems.Unavailable,
)


class ErrorPlace(BaseModel):
    """One error: where (one of the first three fields), and why."""

    pointer: str | None = Field(None, description="JSON pointer (RFC 6901) into the body")
    parameter: str | None = Field(None, description="Query or path parameter")
    header: str | None = Field(None, description="Header")
    detail: str


class ProblemDocument(BaseModel):
    """An error (RFC 9457). GET its `type` for an explanation."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None = Field(description="The correlation ID, as in the X-Request-ID header")
    errors: list[ErrorPlace] | None = None


def error_responses(*kinds: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that can answer `kinds`, besides what any route can."""
    of_status = defaultdict[int, list[type[Problem]]](list)
    for kind in dict.fromkeys((*kinds, *_EVERYWHERE)):
        of_status[kind.status].append(kind)
    return {
        status: {
            "description": "; ".join(f"{kind.title} (`{kind.slug}`)" for kind in of_status[status]),
            "content": {problems.MEDIA_TYPE: {"schema": _REFERENCE}},
        }
        for status in sorted(of_status)
    }


def keyed(*kinds: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Like `error_responses`, for a route that needs an API key."""
    return error_responses(problems.Unauthorized, problems.Forbidden, *kinds)


def _name_operations(app: FastAPI, schema: dict[str, Any]) -> None:
    """Each operation is called like the function behind it: generated clients make their names from it."""
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                operation = schema["paths"][route.path_format][method.lower()]
                operation["operationId"] = route.operation_id or route.name


def install(app: FastAPI) -> None:
    """Make `app.openapi()` describe the problem document that `error_responses()` refers to."""
    describe = app.openapi

    def with_problem() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = describe()
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            own = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(own.pop("$defs", {}))
            schemas["ProblemDocument"] = own
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            _name_operations(app, schema)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = with_problem  # type: ignore[method-assign] # FastAPI's documented way to extend the schema

    async def document(_request: Request) -> Response:
        return JsonResponse(app.openapi())

    # FastAPI's own response lacks the final newline.
    for place, route in enumerate(app.router.routes):
        if isinstance(route, Route) and route.path == app.openapi_url:
            app.router.routes[place] = Route(route.path, document, include_in_schema=False)
