"""Rules that every call of both services follows, tested on each call in the OpenAPI documents."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from shared.db import api_keys
from tests.support.stack import Ledgers

SERVICES = ("signup", "mail")
# Not JSON, wrong media type, unknown parameter: wrong in every way that can be validated.
GARBAGE: dict[str, Any] = {"content": b"{", "headers": {"Content-Type": "text/plain"}, "params": {"unknown": "1"}}
# Bodies with content that a call without a body would ignore, and where the problem points.
BODIES = [(b'{"reason": "x", "a/b": 1}', ["/reason", "/a~1b"]), (b"[]", [""]), (b"7", [""]), (b"nonsense", [""])]


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    operation: dict[str, Any]

    @property
    def url(self) -> str:
        """The path with IDs of rows that do not exist, so the call changes nothing."""
        path = self.path
        for parameter in self.operation.get("parameters", []):
            if parameter["in"] == "path":
                is_id = parameter["schema"].get("format") == "uuid"
                path = path.replace(f"{{{parameter['name']}}}", str(uuid4()) if is_id else "unknown@x.example")
        return path

    @property
    def is_page(self) -> bool:
        return "text/html" in self.operation["responses"].get("200", {}).get("content", {})


async def _calls(http: httpx.AsyncClient) -> list[Call]:
    paths = (await http.get("/openapi.json")).json()["paths"]
    return [Call(method.upper(), path, operation) for path, of in paths.items() for method, operation in of.items()]


def _http(ledgers: Ledgers, service: str) -> httpx.AsyncClient:
    return ledgers.signup if service == "signup" else ledgers.mail


async def _key_without_scopes(ledgers: Ledgers, service: str) -> str:
    key = api_keys.mint()
    connection = await asyncpg.connect(ledgers.stack.owner_url(service))
    await api_keys.store(connection, key, client="powerless", scopes=["none"], days=None, actor="test")
    await connection.close()
    return key.text


@pytest.mark.parametrize("service", SERVICES)
async def test_authentication_comes_before_validation(ledgers: Ledgers, service: str) -> None:
    url = ledgers.stack.signup_url if service == "signup" else ledgers.stack.mail_url
    unknown = api_keys.mint().text
    powerless = await _key_without_scopes(ledgers, service)
    checked = 0
    async with httpx.AsyncClient(base_url=url) as http:
        for call in await _calls(http):
            security = call.operation.get("security")
            if not security:
                continue
            wanted = {f"Bearer {unknown}": 401, "nonsense": 401, f"Bearer {powerless}": 403}
            if {} not in security:
                wanted[""] = 401
            for header, status in wanted.items():
                headers = GARBAGE["headers"] | ({"Authorization": header} if header else {})
                answer = await http.request(call.method, call.url, **GARBAGE | {"headers": headers})
                assert answer.status_code == status, (call.method, call.path, header, answer.text)
                checked += 1
    assert checked > 60


@pytest.mark.parametrize("service", SERVICES)
async def test_head_is_answered_like_get_without_the_body(ledgers: Ledgers, service: str) -> None:
    http = _http(ledgers, service)
    calls = [call for call in await _calls(http) if call.method == "GET"]
    assert len(calls) > 10
    for path in [*(call.url for call in calls), "/docs", "/openapi.json", "/nothing"]:
        full, head = await http.get(path), await http.head(path)
        assert (head.status_code, head.content) == (full.status_code, b""), path
        assert head.headers["content-type"] == full.headers["content-type"], path
        if not path.startswith(("/metrics", "/health")):
            assert head.headers["content-length"] == str(len(full.content)), path


@pytest.mark.parametrize("service", SERVICES)
async def test_allow_lists_the_documented_methods_and_head_with_get(ledgers: Ledgers, service: str) -> None:
    http = _http(ledgers, service)
    calls = await _calls(http)
    assert not [call for call in calls if call.method in {"HEAD", "OPTIONS"}], "the document stays short"
    for call in calls:
        answer = await http.request("PATCH", call.url)
        documented = {other.method for other in calls if other.path == call.path}
        allowed = set(answer.headers["allow"].split(", "))
        assert answer.status_code == 405
        assert allowed >= documented, call.path
        assert ("HEAD" in allowed) == ("GET" in allowed), call.path
        if "GET" not in allowed:
            assert (await http.head(call.url)).status_code == 405


@pytest.mark.parametrize("service", SERVICES)
async def test_a_call_without_a_body_refuses_content_and_accepts_an_empty_body(ledgers: Ledgers, service: str) -> None:
    http = _http(ledgers, service)
    calls = [call for call in await _calls(http) if call.method != "GET" and "requestBody" not in call.operation]
    assert len(calls) > 3
    for call in calls:
        if call.is_page:
            continue
        for content, pointers in BODIES:
            refused = await http.request(call.method, call.url, content=content)
            assert refused.status_code == 422, (call.path, refused.text)
            assert [error["pointer"] for error in refused.json()["errors"]] == pointers, call.path
        for content in (b"", b" \n", b"{}", b"null"):
            answer = await http.request(call.method, call.url, content=content)
            assert answer.status_code in {200, 204, 404}, (call.path, answer.text)


@pytest.mark.parametrize("service", SERVICES)
async def test_an_optional_body_may_be_empty_and_chunked(ledgers: Ledgers, service: str) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        for blank in (b"", b" \n"):
            yield blank

    http = _http(ledgers, service)
    with_body = [call for call in await _calls(http) if "requestBody" in call.operation]
    calls = [call for call in with_body if not call.operation["requestBody"].get("required", False)]
    assert calls
    for call in calls:
        answer = await http.request(call.method, call.url, content=nothing(), headers={"Content-Type": ""})
        assert answer.status_code < 300, (call.path, answer.text)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_trailing_slash_is_not_found(ledgers: Ledgers, service: str) -> None:
    http = _http(ledgers, service)
    for call in await _calls(http):
        answer = await http.request(call.method, f"{call.url}/", follow_redirects=False)
        assert answer.status_code in {404, 405}, call.path
        assert answer.headers["content-type"] == "application/problem+json"
