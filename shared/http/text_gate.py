"""The gate for text: what PostgreSQL cannot hold is refused in the path, query, headers and body of every call.

`StrictRoute` calls it before an endpoint reads anything, so that a new field cannot forget it (ADR 0025).
"""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson
from fastapi import params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from starlette.requests import Request

from ..contract import problems, storable_text

# Naming more fields does not help the client.
MAX_ERRORS = 20

_URL_TEXT = "Must be percent-encoded UTF-8 without NUL characters"
_PERCENT = ord("%")  # a number is found in bytes ten times faster than b"%"
# RFC 9110 section 5.5 asks new headers for no more than ASCII.
_HEADER_TEXT = re.compile(rb"[\t -~]*")
_HEADER_SENTENCE = "Must contain printable ASCII characters only"


class StrictRequest(Request):
    """Reads JSON by RFC 8259: UTF-8 only, no NaN. Python's own parser accepts more.

    An unpaired surrogate is read as NUL, so that StrictRoute refuses it with its place and not as broken JSON.
    """

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            body = await self.body()
            try:
                self._json = orjson.loads(body)
            except ValueError:
                self._json = orjson.loads(storable_text.with_nul_for_lone_surrogates(body))
        return self._json


def declared_headers(route: APIRoute) -> Mapping[bytes, str]:
    """The headers that a call reads: their names in a request's scope, and as documented."""
    read = [field.alias for field in get_flat_params(route.dependant) if isinstance(field.field_info, params.Header)]
    documented = (route.openapi_extra or {}).get("parameters", [])
    read += [parameter["name"] for parameter in documented if parameter["in"] == "header"]
    return {name.lower().encode(): name for name in read}


def check_path(request: Request) -> None:
    raw: bytes = request.scope["raw_path"]
    if _PERCENT not in raw or storable_text.is_storable(unquote(raw.decode("latin-1"), errors="surrogateescape")):
        return
    # The server decodes bytes that are not UTF-8 as U+FFFD.
    broken = [name for name, value in request.path_params.items() if {"\0", "\ufffd"} & set(str(value))]
    raise problems.invalid([{"parameter": name, "detail": _URL_TEXT} for name in broken])


def check_query(request: Request) -> None:
    query: bytes = request.scope["query_string"]
    if _PERCENT not in query:
        return
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape")
    broken = dict.fromkeys(name for name, value in pairs if not storable_text.is_storable(name + value))
    if broken:
        raise problems.invalid([{"parameter": storable_text.shown(name), "detail": _URL_TEXT} for name in broken])


def check_headers(request: Request, declared: Mapping[bytes, str]) -> None:
    if not declared:
        return
    for name, value in request.scope["headers"]:
        if name in declared and not _HEADER_TEXT.fullmatch(value):
            raise problems.invalid([{"header": declared[name], "detail": _HEADER_SENTENCE}])


async def check_body(request: StrictRequest, judged_each: str | None) -> None:
    """Check a JSON body, except the items of its list `judged_each`: the endpoint checks them one by one."""
    if not storable_text.may_be_unstorable(await request.body()):
        return
    try:
        content = await request.json()
    except ValueError:
        return  # FastAPI reads it again and says what is wrong
    if judged_each and isinstance(content, dict) and isinstance(content.get(judged_each), list):
        content = {**content, judged_each: []}
    if errors := list(islice(storable_text.problem_errors(content), MAX_ERRORS)):
        raise problems.invalid(errors)
