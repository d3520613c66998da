"""Rules that every call of both services follows, tested on each call in the OpenAPI documents."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from shared.db import api_keys
from tests.support.operations import calls_of, sample
from tests.support.stack import Ledgers

SERVICES = ("signup", "mail")
# Not JSON, wrong media type, unknown parameter: wrong in every way that can be validated.
GARBAGE: dict[str, Any] = {"content": b"{", "headers": {"Content-Type": "text/plain"}, "params": {"unknown": "1"}}
# Bodies with content that a call without a body would ignore, and where the problem points.
BODIES = [(b'{"reason": "x", "a/b": 1}', ["/reason", "/a~1b"]), (b"[]", [""]), (b"7", [""]), (b"nonsense", [""])]


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
        for call in await calls_of(http):
            security = call.operation.get("security")
            if not security:
                continue
            # What a key may do is told to any key: it is validated.
            without_scope = 422 if call.path == "/v1/key" else 403
            wanted = {f"Bearer {unknown}": 401, "nonsense": 401, f"Bearer {powerless}": without_scope}
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
    calls = [call for call in await calls_of(http) if call.method == "GET"]
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
    calls = await calls_of(http)
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
    calls = [call for call in await calls_of(http) if call.method != "GET" and "requestBody" not in call.operation]
    assert len(calls) > 3
    for call in calls:
        if call.is_page:
            continue
        for content, pointers in BODIES:
            refused = await http.request(call.method, call.url, content=content)
            assert refused.status_code == 422, (call.path, refused.text)
            assert [error["pointer"] for error in refused.json()["errors"]] == pointers, call.path
        required = {
            parameter["name"]: sample(parameter["schema"], call.document)
            for parameter in call.operation.get("parameters", [])
            if parameter["in"] == "query" and parameter.get("required")
        }
        for content in (b"", b" \n", b"{}", b"null"):
            answer = await http.request(call.method, call.url, content=content, params=required)
            assert answer.status_code in {200, 204, 404}, (call.path, answer.text)


@pytest.mark.parametrize("service", SERVICES)
async def test_an_optional_body_may_be_empty_and_chunked(ledgers: Ledgers, service: str) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        for blank in (b"", b" \n"):
            yield blank

    http = _http(ledgers, service)
    with_body = [call for call in await calls_of(http) if "requestBody" in call.operation]
    calls = [call for call in with_body if not call.operation["requestBody"].get("required", False)]
    assert calls
    for call in calls:
        answer = await http.request(call.method, call.url, content=nothing(), headers={"Content-Type": ""})
        assert answer.status_code < 300, (call.path, answer.text)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_trailing_slash_is_not_found(ledgers: Ledgers, service: str) -> None:
    http = _http(ledgers, service)
    for call in await calls_of(http):
        if call.path == "/":
            continue
        answer = await http.request(call.method, f"{call.url}/", follow_redirects=False)
        assert answer.status_code in {404, 405}, call.path
        assert answer.headers["content-type"] == "application/problem+json"
