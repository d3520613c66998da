"""Serves `/openapi.json`, and marks which problems a call can answer.

What the document teaches besides is in `document/`, which is imported when it is first asked for.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..contract import problems
from ..contract.problems import Problem
from .responses import JsonResponse

if TYPE_CHECKING:  # loaded when a document is asked for
    from .document.teaching import Teaching

# Marks an answer with the slugs of its problems, until `document.problem_answers` describes them.
SLUGS = "x-problems"
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
    """What is wrong there, in a sentence."""


class ProblemDocument(BaseModel):
    """An error (RFC 9457). GET its `type` for an explanation."""

    model_config = ConfigDict(extra="allow")

    type: str
    """The path that explains this kind of problem: `/problems/` and its slug."""
    title: str
    """The kind of problem in a few words, the same for every problem of this type."""
    status: int
    """The HTTP status, again."""
    detail: str
    """What is wrong with this request, and often what to do."""
    request_id: str | None = Field(description="The correlation ID, as in the X-Request-ID header")
    errors: list[ErrorPlace] | None = None
    """Each part of the request that is wrong. Left out when no part is."""


def error_responses(*kinds: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that can answer `kinds`, besides what any route can."""
    of_status = defaultdict[int, list[type[Problem]]](list)
    for kind in dict.fromkeys((*kinds, *_EVERYWHERE)):
        of_status[kind.status].append(kind)
    return {
        status: {
            "description": of_status[status][0].title,
            "content": {problems.MEDIA_TYPE: {"schema": _REFERENCE}},
            SLUGS: [kind.slug for kind in of_status[status]],
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


def install(app: FastAPI, teach: "Callable[[], Teaching]") -> None:
    """Serve a document with what `teach` imports and returns. It is made when it is first asked for, and kept."""
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
            from .document.complete import complete  # noqa: PLC0415 - only when a document is asked for

            complete(schema, app, teach())
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = with_problem  # type: ignore[method-assign] # FastAPI's documented way to extend the schema

    async def document(_request: Request) -> Response:
        return JsonResponse(app.openapi())

    # FastAPI's own response lacks the final newline.
    for place, route in enumerate(app.router.routes):
        if isinstance(route, Route) and route.path == app.openapi_url:
            app.router.routes[place] = Route(route.path, document, include_in_schema=False)
