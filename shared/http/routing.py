"""Strict reading of requests, the same in both services."""

from collections.abc import Callable, Coroutine, Iterator
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
from .authentication import Key

# Naming more fields does not help the client.
_MAX_ERRORS = 20

Endpoint = TypeVar("Endpoint", bound=Callable[..., object])

Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRequest(Request):
    """Reads JSON by RFC 8259: UTF-8 only, no NaN, no lone surrogates. Python's own parser accepts all of these."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = orjson.loads(await self.body())
        return self._json


class StrictRoute(APIRoute):
    """A route that authenticates the client before it reads the request, and then reads the request strictly.

    It refuses unknown query parameters, JSON outside RFC 8259, and a body where the call takes none. `for_browsers` and
    `asks_for_key` mark endpoints; `__query_prefixes__` names families of parameters like `metadata.KEY`.
    """

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        known = {field.alias for field in get_flat_params(self.dependant) if isinstance(field.field_info, params.Query)}
        prefixes: tuple[str, ...] = getattr(self.endpoint, "__query_prefixes__", ())
        takes_json = self.body_field is not None
        may_be_empty = self.body_field is not None and not self.body_field.field_info.is_required()
        keys = [*_keys_of(self.dependant), *getattr(self.endpoint, "__keys__", ())]
        for_browsers: bool = getattr(self.endpoint, "__for_browsers__", False)
        # A GET body has no meaning (RFC 9110 section 9.3.1), and caches drop it.
        takes_no_body = not takes_json and "requestBody" not in (self.openapi_extra or {}) and self.methods != {"GET"}

        async def handle_strictly(request: Request) -> Response:
            for key in keys:
                await key(request)
            if for_browsers:
                return await handle(request)
            if request.scope["query_string"]:
                _refuse_unknown_parameters(request, known, prefixes)
            if takes_json:
                request = StrictRequest(request.scope, request.receive)
                if not (may_be_empty and await _is_blank(request)):
                    _refuse_other_media(request)
            elif takes_no_body and not _has_no_body(request):
                _refuse_body(await request.body())
            return await handle(request)

        return handle_strictly


def for_browsers(endpoint: Endpoint) -> Endpoint:
    """Mark a page: mail programs and trackers add query parameters, so unknown ones are not refused."""
    endpoint.__for_browsers__ = True  # type: ignore[attr-defined] # read by StrictRoute
    return endpoint


def asks_for_key(key: Key) -> Callable[[Endpoint], Endpoint]:
    """Mark an endpoint that checks `key` itself, not as a dependency."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.__keys__ = (key,)  # type: ignore[attr-defined] # read by StrictRoute
        return endpoint

    return mark


def _keys_of(dependant: Dependant) -> Iterator[Key]:
    for inner in dependant.dependencies:
        if isinstance(inner.call, Key):
            yield inner.call
        yield from _keys_of(inner)


def _refuse_unknown_parameters(request: Request, known: set[str], prefixes: tuple[str, ...]) -> None:
    unknown = [
        name
        for name in dict.fromkeys(name for name, _ in request.query_params.multi_items())
        if name not in known and not name.startswith(prefixes or "\0")
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
    fields = list(content)[:_MAX_ERRORS] if isinstance(content, dict) else []
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
