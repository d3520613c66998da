"""Text that PostgreSQL cannot hold, sent into every string of every call: refused by name, and nothing left behind.

The places come from the OpenAPI documents, so a new field is covered by itself.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from shared.contract.storable_text import UNSTORABLE
from tests.support.notices import complaint, quoted_header, report
from tests.support.operations import Call, Place, calls_of, query_url
from tests.support.stack import Ledgers, eventually

SERVICES = ("signup", "mail")
IN_BODIES = ("bo\0", "\0", "\ud800", "bo\udfff\ud83d")
IN_URLS = ("%00", "bo%00", "%ED%A0%80", "%FF")
IN_HEADERS = (b"\xed\xa0\x80", b"bo\xff", "Åsa".encode())
# Read in every call; a value that is not understood there is ignored.
READ_EVERYWHERE = ("X-Request-ID", "traceparent", "X-Forwarded-For", "Accept", "User-Agent")
# Rows that callers write; the processes of the stack write the rest at any time.
LEFT_BEHIND = {
    "signup": """SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM outbox)
        + (SELECT count(*) FROM outbox_settled) + (SELECT count(*) FROM imports)
        + (SELECT count(*) FROM idempotency_keys) + (SELECT count(*) FROM webhook_subscribers)
        + (SELECT count(*) FROM reconciliation_runs)
        + (SELECT count(*) FROM history WHERE actor ~ '^(key|anonymous)')""",
    "mail": """SELECT (SELECT count(*) FROM mails) + (SELECT count(*) FROM contents)
        + (SELECT count(*) FROM suppressions) + (SELECT count(*) FROM bounces)
        + (SELECT count(*) FROM webhook_subscribers) + (SELECT count(*) FROM webhook_feeds)
        + (SELECT count(*) FROM history WHERE actor ~ '^key')""",
}


def _http(ledgers: Ledgers, service: str) -> httpx.AsyncClient:
    return ledgers.signup if service == "signup" else ledgers.mail


async def _send(http: httpx.AsyncClient, call: Call, body: Any) -> httpx.Response:
    # ASCII, so that surrogates travel as `\ud800`.
    return await http.request(
        call.method, call.url, content=json.dumps(body), headers={"Content-Type": "application/json"}
    )


def _bodies(call: Call, place: Place) -> Iterator[tuple[Any, str]]:
    """Bodies with unstorable text at or in a place, and where the problem points."""
    kind, where = place.error
    assert kind == "pointer"
    for text in IN_BODIES:
        if place.takes("string"):
            yield call.body(place.path, text), where
        if place.takes("object"):
            inside = call.body(place.path, {f"a{text}": 1})
            yield inside, where
        if not place.schema:
            yield call.body(place.path, [{"deep": text}]), f"{where}/0/deep"


def _errors(answer: httpx.Response) -> list[dict[str, str]]:
    """The errors of a problem, or of the first item of a batch, which is judged alone."""
    if answer.status_code == httpx.codes.OK and "results" in answer.json():
        found = answer.json()["results"][0]["problem"]["errors"]
        return [error | {"pointer": f"/mails/0{error['pointer']}"} for error in found]
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    errors: list[dict[str, str]] = answer.json()["errors"]
    return errors


@pytest.mark.parametrize("service", SERVICES)
async def test_every_string_of_every_body_refuses_unstorable_text_by_name(ledgers: Ledgers, service: str) -> None:
    http, before = _http(ledgers, service), await ledgers.fetchval(service, LEFT_BEHIND[service])
    wrong, sent = [], 0
    for call in await calls_of(http):
        for place in call.places():
            if place.location != "body":
                continue
            for body, where in _bodies(call, place):
                answer = await _send(http, call, body)
                sent += 1
                if [error["pointer"] for error in _errors(answer)] != [where]:
                    wrong.append((call.method, call.path, where, answer.text))
    assert wrong == []
    assert sent > (60 if service == "signup" else 300)
    assert await ledgers.fetchval(service, LEFT_BEHIND[service]) == before


@pytest.mark.parametrize("service", SERVICES)
async def test_every_query_parameter_refuses_unstorable_text_by_name(ledgers: Ledgers, service: str) -> None:
    http, before = _http(ledgers, service), await ledgers.fetchval(service, LEFT_BEHIND[service])
    wrong, sent = [], 0
    for call in await calls_of(http):
        for place in call.places():
            if place.location != "query":
                continue
            for text in IN_URLS:
                answer = await http.request(call.method, query_url(call, [(place.name, text)]))
                sent += 1
                if [error.get("parameter") for error in _errors(answer)] != [place.name]:
                    wrong.append((call.method, call.path, place.name, answer.text))
    assert wrong == []
    assert sent > 100
    assert await ledgers.fetchval(service, LEFT_BEHIND[service]) == before


@pytest.mark.parametrize("service", SERVICES)
async def test_the_name_of_a_query_parameter_is_never_unstorable(ledgers: Ledgers, service: str) -> None:
    http = _http(ledgers, service)
    for call in await calls_of(http):
        for name in ("%00", "metadata.%00", "metadata.%ED%A0%80", "%FF"):
            answer = await http.request(call.method, query_url(call, [(name, "1")]))
            if not call.is_page:
                assert len(_errors(answer)) == 1, (call.path, answer.text)


@pytest.mark.parametrize("service", SERVICES)
async def test_every_path_parameter_refuses_unstorable_text_by_name(ledgers: Ledgers, service: str) -> None:
    http, before = _http(ledgers, service), await ledgers.fetchval(service, LEFT_BEHIND[service])
    checked = 0
    for call in await calls_of(http):
        for place in call.places():
            if place.location != "path":
                continue
            for text in IN_URLS:
                answer = await http.request(call.method, call.url_with({place.name: text}))
                checked += 1
                if call.is_page:  # a person follows a broken link: a page says so
                    assert answer.headers["content-type"].startswith("text/html"), answer.text
                    assert answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR
                elif answer.status_code == httpx.codes.NOT_FOUND:  # routes that only an ID can match
                    assert place.schema.get("format") == "uuid", call.path
                else:
                    assert [error["parameter"] for error in _errors(answer)] == [place.name], call.path
    assert checked > 30
    assert await ledgers.fetchval(service, LEFT_BEHIND[service]) == before


@pytest.mark.parametrize("service", SERVICES)
async def test_every_header_that_a_call_declares_refuses_what_is_not_ascii_by_name(
    ledgers: Ledgers, service: str
) -> None:
    http, before = _http(ledgers, service), await ledgers.fetchval(service, LEFT_BEHIND[service])
    checked = 0
    for call in await calls_of(http):
        body = json.dumps(call.body()).encode() if call.takes_json else b"x"
        for place in call.places():
            for value in IN_HEADERS if place.location == "header" else ():
                media = next(iter(call.media)).encode()
                headers = [(b"Content-Type", media), (place.name.encode(), value)]
                answer = await http.request(call.method, call.url, content=body, headers=headers)
                assert [error.get("header") for error in _errors(answer)] == [place.name], call.path
                checked += 1
    assert checked >= 3
    assert await ledgers.fetchval(service, LEFT_BEHIND[service]) == before


@pytest.mark.parametrize("service", SERVICES)
async def test_no_header_of_any_call_causes_an_internal_error(ledgers: Ledgers, service: str) -> None:
    http = _http(ledgers, service)
    for call in await calls_of(http):
        if call.method != "GET":
            continue  # read the same way, and they would write
        for name in READ_EVERYWHERE:
            for value in IN_HEADERS:
                answer = await http.request(call.method, call.url, headers=[(name.encode(), value)])
                assert answer.status_code in {200, 404, 422}, (call.path, name, answer.text)
                assert answer.headers["x-request-id"].isascii()
        for value in IN_HEADERS:
            answer = await http.request(call.method, call.url, headers=[(b"Authorization", b"Bearer " + value)])
            assert answer.status_code in {200, 401, 404}, (call.path, answer.text)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_content_type_that_is_not_ascii_is_refused_or_ignored(ledgers: Ledgers, service: str) -> None:
    http = _http(ledgers, service)
    for call in await calls_of(http):
        for media in call.media:
            for value in IN_HEADERS:
                for content_type in (value, media.encode() + b"; charset=" + value):
                    answer = await http.request(
                        call.method, call.url, content=b"[", headers=[(b"Content-Type", content_type)]
                    )
                    assert answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR, (call.path, value, answer.text)


async def test_one_item_with_unstorable_text_leaves_the_rest_of_a_batch_alone(ledgers: Ledgers) -> None:
    items = [
        {"request_id": f"batch-{place}", "to": {"email": "bo@x.example"}, "subject": subject, "text": "x"}
        for place, subject in enumerate(("one", "tw\0o", "thr\ud800ee", "\\u0000 \\ud800", "\U0001f600"))
    ]
    answer = await ledgers.mail.post(
        "/v1/mails/batch", content=json.dumps({"mails": items}), headers={"Content-Type": "application/json"}
    )
    results = answer.json()["results"]
    assert [result["outcome"] for result in results] == ["accepted", "rejected", "rejected", "accepted", "accepted"]
    for rejected in results[1:3]:
        assert rejected["problem"]["errors"] == [{"pointer": "/subject", "detail": UNSTORABLE}]
    assert results[3]["mail"]["subject"] == "\\u0000 \\ud800", "text about such characters is text"


async def test_an_import_gives_each_row_with_unstorable_text_its_outcome(ledgers: Ledgers) -> None:
    row = '{"external_id": "%s", "email": "p%s@import.example", "name": "Bo", "metadata": {"a": "%s"}}'
    texts = ("x", "\\u0000", "\\ud800", "\\\\u0000", "\0")
    rows = [row % (place, place, text) for place, text in enumerate(texts)]
    files = {
        "application/x-ndjson": (
            "\n".join(rows).encode() + b"\n\xed\xa0\x80\n",
            {"created": 2, "invalid": 4},
            f"metadata.a: {UNSTORABLE}",
        ),
        "text/csv": (
            b"external_id,email,name\n1,q1@import.example,Bo\n2,q2@import.example,B\0o\n3,q3@import.example,\xed\xa0\x80\n",
            {"created": 1, "invalid": 2},
            "name: Must not contain control characters, line breaks or bidirectional overrides",
        ),
    }
    for media, (content, outcomes, reason) in files.items():
        answer = await ledgers.signup.post("/v1/imports", content=content, headers={"Content-Type": media})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        found = await _finished(ledgers, answer.headers["location"])
        assert found["outcomes"] == {"already_exists": 0, "duplicate": 0, **outcomes}, found
        rows = (await ledgers.signup.get(f"{answer.headers['location']}/rows?outcome=invalid")).json()["items"]
        assert rows[0]["reason"] == reason


async def _finished(ledgers: Ledgers, url: str) -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        found: dict[str, Any] = (await ledgers.signup.get(url)).json()
        return found

    return await eventually(read, lambda found: found["state"] == "done")


async def test_a_notice_with_unstorable_text_is_never_an_internal_error(ledgers: Ledgers) -> None:
    sent = {
        "request_id": "told",
        "fingerprint": "0" * 64,
        "to": {"email": "b@x.example"},
        "message_id": "<told@x.example>",
    }
    await ledgers.mail.post("/v1/mails/restore", json={"mails": [sent | {"sent_at": "2026-01-31T12:00:00Z"}]})
    (mail,) = await ledgers.mails(request_id="told")
    quoted = quoted_header(mail["id"], mail["message_id"])
    for whole in (report(quoted), complaint(quoted)):
        lines = whole.split(b"\r\n")
        for place, line in enumerate(lines):
            for text in (b"\0", b"\xed\xa0\x80", b"\xff", b"=?utf-8?q?=00=ED=A0=80?="):
                message = b"\r\n".join([*lines[:place], line + text, *lines[place + 1 :]])
                headers = {"Content-Type": "message/rfc822"}
                answer = await ledgers.mail.post("/v1/bounces", content=message, headers=headers)
                assert answer.status_code == httpx.codes.ACCEPTED, (line, text, answer.text)
