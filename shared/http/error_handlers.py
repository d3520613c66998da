"""Renders every error as a problem: 404, 405, 413 and 422 of the framework, and those of our own code."""

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from ..contract import problems
from ..contract.validation_sentences import sentence
from .responses import problem_response

_PROBLEM_BY_STATUS: dict[int, type[problems.Problem]] = {
    400: problems.MalformedRequest,
    404: problems.NotFound,
    405: problems.MethodNotAllowed,
    413: problems.PayloadTooLarge,
    415: problems.UnsupportedMediaType,
}
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def install(app: FastAPI) -> None:
    """Register the handlers on `app`."""
    app.add_exception_handler(problems.Problem, _render_problem)
    app.add_exception_handler(RequestValidationError, _render_invalid)
    app.add_exception_handler(HTTPException, _render_http)


async def _render_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, problems.Problem)
    return problem_response(error)


async def _render_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = _PROBLEM_BY_STATUS.get(error.status_code, problems.Problem)
    headers = error.headers
    if kind is problems.MethodNotAllowed:
        headers = {**(headers or {}), "Allow": ", ".join(_methods_at(request))}
    return problem_response(kind(error.detail if kind is not problems.Problem else "", headers=headers))


def _methods_at(request: Request) -> list[str]:
    """All methods at this path. Starlette names only those of the first route; each of our routes has one."""
    routes = request.app.routes
    methods = [m for m in _METHODS if any(r.matches({**request.scope, "method": m})[0] is Match.FULL for r in routes)]
    return ["GET", "HEAD", *methods[1:]] if "GET" in methods else methods  # see RequestMiddleware


async def _render_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem_response(problems.invalid([as_problem_error(entry, error.body) for entry in error.errors()]))


def as_problem_error(entry: Any, body: Any) -> dict[str, str]:
    """An entry of pydantic's `errors()` as an entry of a problem's `errors`; `body` is the validated input.

    The input is never repeated: it may be a secret, and the client knows it.
    """
    kind, *path = entry["loc"] or ("body",)
    detail = sentence(entry, repeatable=kind == "query")
    if kind in {"query", "path"}:
        return {"parameter": str(path[0]) if path else "", "detail": detail}
    if kind == "header":
        return {"header": str(path[0]) if path else "", "detail": detail}
    if entry["type"] == "json_invalid":
        return {"pointer": "", "detail": _not_json(str(entry["ctx"]["error"]), *path)}
    path = _client_path(path, body, missing=entry["type"] == "missing")
    if entry["type"] == "misplaced":
        path.append(entry["ctx"]["field"])
    return {"pointer": problems.pointer(path), "detail": detail}


def _not_json(reason: str, place: int) -> str:
    """`place`: the number of characters before the fault."""
    if "UTF-8" in reason:  # the parser does not know where
        return "Not valid JSON: must be UTF-8"
    if reason == "depth limit exceeded":
        return "Not valid JSON: nested too deep"
    return f"Not valid JSON: {reason} (at character {place + 1})"


def _client_path(path: list[Any], body: Any, *, missing: bool) -> list[Any]:
    """The part of pydantic's path that the client wrote, plus a field that is missing there.

    The rest are pydantic's own names: a member of a union, the field behind a short form.
    """
    client_path = []
    for place, part in enumerate(path):
        last = place == len(path) - 1
        if isinstance(body, dict) and (part in body or (missing and last)):
            client_path.append(part)
            body = body.get(part)
        elif isinstance(body, list) and isinstance(part, int) and part < len(body):
            client_path.append(part)
            body = body[part]
    return client_path
