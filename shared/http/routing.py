"""Strict reading of requests, the same in both services."""

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeAlias, TypeVar

import orjson
from fastapi import params
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from ..contract import problems
from ..contract.problems import at
from . import text_gate
from .authentication import Key
from .text_gate import MAX_ERRORS, StrictRequest

__all__ = ["StrictRequest", "StrictRoute", "asks_for_key", "checks_first", "for_browsers", "judges_each", "keys_of"]

Endpoint = TypeVar("Endpoint", bound=Callable[..., object])

Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]

Check: TypeAlias = Callable[[StrictRequest], Awaitable[None]]


class StrictRoute(APIRoute):
    """A route that authenticates the client before it reads the request, and then reads the request strictly.

    It refuses unknown query parameters, JSON outside RFC 8259, a body where the call takes none, and text that
    PostgreSQL cannot hold, wherever it stands (ADR 0025). `for_browsers`, `asks_for_key`, `takes_family`,
    `judges_each` and `checks_first` mark endpoints: below the route, which reads the marks when it is made.
    """

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        known = {field.alias for field in get_flat_params(self.dependant) if isinstance(field.field_info, params.Query)}
        prefixes: tuple[str, ...] = getattr(self.endpoint, "__query_prefixes__", ())
        takes_json = self.body_field is not None
        may_be_empty = self.body_field is not None and not self.body_field.field_info.is_required()
        keys = keys_of(self)
        for_browsers: bool = getattr(self.endpoint, "__for_browsers__", False)
        judged_each: str | None = getattr(self.endpoint, "__judged_each__", None)
        check: Check | None = getattr(self.endpoint, "__checks_first__", None)
        headers = text_gate.declared_headers(self)
        # A GET body has no meaning (RFC 9110 section 9.3.1), and caches drop it.
        takes_no_body = not takes_json and "requestBody" not in (self.openapi_extra or {}) and self.methods != {"GET"}

        async def handle_strictly(request: Request) -> Response:
            for key in keys:
                await key(request)
            if for_browsers:
                return await handle(request)
            text_gate.check_path(request)
            text_gate.check_headers(request, headers)
            if request.scope["query_string"]:
                _refuse_unknown_parameters(request, known, prefixes)
                text_gate.check_query(request)
            if takes_json:
                request = StrictRequest(request.scope, request.receive)
                if not (may_be_empty and await _is_blank(request)):
                    _refuse_other_media(request)
                    if check is not None:
                        await check(request)
                    await text_gate.check_body(request, judged_each)
            elif takes_no_body and not _has_no_body(request):
                _refuse_body(await request.body())
            return await handle(request)

        return handle_strictly


def for_browsers(endpoint: Endpoint) -> Endpoint:
    """Mark a page: people read its answers, and mail programs and trackers change links.

    So unknown parameters and broken text are not refused with a problem; the endpoint answers its path with a page.
    """
    endpoint.__for_browsers__ = True  # type: ignore[attr-defined] # read by StrictRoute
    return endpoint


def asks_for_key(key: Key) -> Callable[[Endpoint], Endpoint]:
    """Mark an endpoint that checks `key` itself, not as a dependency."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.__keys__ = (key,)  # type: ignore[attr-defined] # read by StrictRoute
        return endpoint

    return mark


def takes_family(prefix: str) -> Callable[[Endpoint], Endpoint]:
    """Mark an endpoint that takes every query parameter whose name begins with `prefix`, like `metadata.KEY`."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.__query_prefixes__ = (prefix,)  # type: ignore[attr-defined] # read by StrictRoute
        return endpoint

    return mark


def judges_each(field: str) -> Callable[[Endpoint], Endpoint]:
    """Mark an endpoint that judges each item of the list `field` alone, with `storable_text.problem_errors` too."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.__judged_each__ = field  # type: ignore[attr-defined] # read by StrictRoute
        return endpoint

    return mark


def checks_first(check: Check) -> Callable[[Endpoint], Endpoint]:
    """Mark an endpoint whose JSON body `check` sees before it is validated."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.__checks_first__ = check  # type: ignore[attr-defined] # read by StrictRoute
        return endpoint

    return mark


def keys_of(route: APIRoute) -> list[Key]:
    """What the route asks the caller's key for."""
    return [*_keys_of(route.dependant), *getattr(route.endpoint, "__keys__", ())]


def _keys_of(dependant: Dependant) -> Iterator[Key]:
    for inner in dependant.dependencies:
        if isinstance(inner.call, Key):
            yield inner.call
        yield from _keys_of(inner)


def _refuse_unknown_parameters(request: Request, known: set[str], prefixes: tuple[str, ...]) -> None:
    unknown = [
        name
        for name in dict.fromkeys(name for name, _ in request.query_params.multi_items())
        if name not in known and not name.startswith(prefixes)
    ]
    if unknown:
        raise problems.InvalidRequest(
            "Unknown query parameters are refused, so that a misspelled filter is never ignored.",
            errors=[{"parameter": name, "detail": "This call has no such parameter"} for name in unknown],
        )


def _has_no_body(request: Request) -> bool:
    """RFC 9112 section 6.3: without either header there is no body."""
    return request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers


async def _is_blank(request: Request) -> bool:
    """Whether the body is missing or blank. A chunked body may turn out to be empty."""
    if _has_no_body(request):
        return True
    if "transfer-encoding" not in request.headers or (await request.body()).strip():
        return False
    request._body = b""  # noqa: SLF001 - where Starlette keeps the body: FastAPI reports a blank one as broken JSON
    return True


def _refuse_body(body: bytes) -> None:
    """Accept an empty body, and the `null` or `{}` that some clients send instead. Anything else would be ignored."""
    try:
        content = orjson.loads(body) if body.strip() else None
    except ValueError:
        content = [body]
    if content in (None, {}):
        return
    fields = list(content)[:MAX_ERRORS] if isinstance(content, dict) else []
    raise problems.InvalidRequest(
        "This call takes no body.",
        errors=[at(problems.pointer([field]), "This call has no such field") for field in fields]
        or [at("", "Must be empty, or an empty object")],
    )


def _refuse_other_media(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise problems.UnsupportedMediaType(
            "Send the body as JSON.", errors=[{"header": "Content-Type", "detail": "Must be application/json"}]
        )
