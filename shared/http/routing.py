"""How requests are read and answers written, the same in both services: strict in, newline-terminated JSON out."""

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

# More names than these explain nothing more.
_MOST_ERRORS = 20

Endpoint = TypeVar("Endpoint", bound=Callable[..., object])

Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRequest(Request):
    """Reads JSON as RFC 8259 writes it: no NaN, no lone surrogates, UTF-8 only. Python's own reader takes all three."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = orjson.loads(await self.body())
        return self._json


class StrictRoute(APIRoute):
    """A route that asks who is calling before it looks at anything they say, and then reads that strictly: no query
    parameters that it does not know, JSON as RFC 8259 writes it, no body where it takes none.

    Endpoints may be marked with `for_browsers` and `asking`, and may have `__query_prefixes__` for families of parameters
    like `metadata.KEY`.
    """

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        known = {field.alias for field in get_flat_params(self.dependant) if isinstance(field.field_info, params.Query)}
        prefixes: tuple[str, ...] = getattr(self.endpoint, "__query_prefixes__", ())
        takes_json = self.body_field is not None
        may_be_empty = self.body_field is not None and not self.body_field.field_info.is_required()
        keys = [*_keys_of(self.dependant), *getattr(self.endpoint, "__keys__", ())]
        for_browsers: bool = getattr(self.endpoint, "__for_browsers__", False)
        # What a GET says in a body has no meaning anywhere (RFC 9110 section 9.3.1), and caches drop it on the way.
        takes_nothing = not takes_json and "requestBody" not in (self.openapi_extra or {}) and self.methods != {"GET"}

        async def handle_strictly(request: Request) -> Response:
            for key in keys:
                await key(request)
            if for_browsers:
                return await handle(request)
            if request.scope["query_string"]:
                _refuse_unknown(request, known, prefixes)
            if takes_json:
                request = StrictRequest(request.scope, request.receive)
                if not (may_be_empty and await _says_nothing(request)):
                    _refuse_other_media(request)
            elif takes_nothing and not _has_no_body(request):
                _refuse_words(await request.body())
            return await handle(request)

        return handle_strictly


def for_browsers(endpoint: Endpoint) -> Endpoint:
    """Mark a page: what mail programs and trackers add to its address is nobody's mistake."""
    endpoint.__for_browsers__ = True  # type: ignore[attr-defined] # read by StrictRoute
    return endpoint


def asks_for_key(key: Key) -> Callable[[Endpoint], Endpoint]:
    """Mark an endpoint that asks for `key` by hand, and not as a dependency."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.__keys__ = (key,)  # type: ignore[attr-defined] # read by StrictRoute
        return endpoint

    return mark


def _keys_of(dependant: Dependant) -> Iterator[Key]:
    for inner in dependant.dependencies:
        if isinstance(inner.call, Key):
            yield inner.call
        yield from _keys_of(inner)


def _refuse_unknown(request: Request, known: set[str], prefixes: tuple[str, ...]) -> None:
    unknown = [
        name
        for name in dict.fromkeys(name for name, _ in request.query_params.multi_items())
        if name not in known and not name.startswith(prefixes or "\0")
    ]
    if unknown:
        raise problems.InvalidRequest(
            "Unknown query parameters are refused, so that a misspelt filter is never ignored.",
            errors=[{"parameter": name, "detail": "This call has no such parameter"} for name in unknown],
        )


def _has_no_body(request: Request) -> bool:
    """RFC 9112 section 6.3: neither header means that there is none."""
    return request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers


async def _says_nothing(request: Request) -> bool:
    """Whether there is no body, or a blank one: what comes in chunks may turn out to be nothing at all."""
    if _has_no_body(request):
        return True
    if "transfer-encoding" not in request.headers or (await request.body()).strip():
        return False
    request._body = b""  # noqa: SLF001 - where Starlette keeps what it has read: FastAPI takes a blank for broken JSON
    return True


def _refuse_words(body: bytes) -> None:
    """A call that takes no body: nothing, or what some programs send for it. Whatever else it says would be ignored."""
    try:
        said = orjson.loads(body) if body.strip() else None
    except ValueError:
        said = [body]
    if said in (None, {}):
        return
    places = list(said)[:_MOST_ERRORS] if isinstance(said, dict) else []
    raise problems.InvalidRequest(
        "This call takes no body.",
        errors=[at(problems.pointer([place]), "This call has no such field") for place in places]
        or [at("", "Must be empty, or an empty object")],
    )


def _refuse_other_media(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise problems.UnsupportedMediaType(
            "Send the body as JSON.",
            errors=[{"header": "Content-Type", "detail": "Must be application/json"}],
        )
