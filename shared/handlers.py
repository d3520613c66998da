"""Every error of the framework becomes a problem too: 404, 405, 413, 422 and what our own code raises."""

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from . import problem

_OF_STATUS: dict[int, type[problem.Problem]] = {
    400: problem.MalformedRequest,
    404: problem.NotFound,
    405: problem.MethodNotAllowed,
    413: problem.PayloadTooLarge,
    415: problem.UnsupportedMediaType,
}
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def install(app: FastAPI) -> None:
    """Register the handlers on `app`."""
    app.add_exception_handler(problem.Problem, _own)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


async def _own(_request: Request, error: Exception) -> Response:
    assert isinstance(error, problem.Problem)
    return error.response()


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = _OF_STATUS.get(error.status_code, problem.Problem)
    headers = error.headers
    if kind is problem.MethodNotAllowed:
        headers = {**(headers or {}), "Allow": ", ".join(_methods_at(request))}
    return kind(error.detail if kind is not problem.Problem else "", headers=headers).response()


def _methods_at(request: Request) -> list[str]:
    """Starlette names those of the first route at this path only; each of our routes has one."""
    routes = request.app.routes
    return [m for m in _METHODS if any(r.matches({**request.scope, "method": m})[0] is Match.FULL for r in routes)]


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [as_problem_error(entry) for entry in error.errors()]
    return problem.InvalidRequest("; ".join(_sentence(e) for e in errors[:3]), errors=errors).response()


def _sentence(error: dict[str, str]) -> str:
    where = error.get("pointer", error.get("parameter", error.get("header", "")))
    return f"{where or 'body'}: {error['detail']}"


def as_problem_error(entry: Any) -> dict[str, str]:
    """An entry of pydantic's `errors()` as an entry of a problem's `errors`.

    The input is never repeated: it may be a secret, and it is the caller's to know.
    """
    kind, *path = entry["loc"] or ("body",)
    detail = _detail(entry)
    if kind == "query":
        return {"parameter": str(path[0]) if path else "", "detail": detail}
    if kind == "header":
        return {"header": str(path[0]) if path else "", "detail": detail}
    if kind == "path":
        return {"parameter": str(path[0]) if path else "", "detail": detail}
    if entry["type"] == "json_invalid":
        return {
            "pointer": "",
            "detail": f"Not valid JSON: {entry.get('ctx', {}).get('error', 'syntax error')}",
        }
    if entry["type"] == "misplaced":
        path.append(entry["ctx"]["field"])
    return {"pointer": pointer(path), "detail": detail}


def pointer(path: list[Any]) -> str:
    """A JSON pointer (RFC 6901) from the parts of a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _detail(entry: Any) -> str:
    message = str(entry["msg"])
    # pydantic puts "Value error, " before what our own validators say.
    return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
