"""Uploading a body: once per key, completely or not at all, and within the limit."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.signup.imports.upload import ImportCommand, receive
from shared.contract.problems import MalformedRequest
from tests.support.apis import Api
from tests.support.imports import Imports, ndjson, people, person
from tests.support.signups import SignupLedger
from tests.support.stack import eventually

COMMAND = ImportCommand("acquirer", "test", "key-1", "acquirer", "ndjson", dry_run=False, mails_per_minute=0)


async def _in_pieces(body: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def _staged(ledger: SignupLedger) -> int:
    found: int = await ledger.pool.fetchval("SELECT count(*) FROM import_rows")
    return found


async def test_the_same_key_and_body_is_the_same_import(imports: Imports, ledger: SignupLedger) -> None:
    first = await imports.post(people(5), key="once")
    await imports.work()
    again = await imports.post(people(5), key="once")
    assert (first.status_code, again.status_code) == (202, 202)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"] == f"/v1/imports/{again.json()['id']}"
    assert (again.json()["state"], len(await ledger.rows("imports"))) == ("done", 1)


async def test_the_same_key_with_another_request_is_refused_naming_the_differences(
    imports: Imports, ledger: SignupLedger
) -> None:
    await imports.post(people(5), key="once", source="acquired")
    other_body = await imports.post(people(6), key="once", source="acquired")
    others = await imports.post(b"", key="once", source="other", dry_run=True, mails_per_minute=7, media="text/csv")
    assert (other_body.status_code, others.status_code) == (422, 422)
    assert other_body.json()["type"] == others.json()["type"] == "/problems/request-id-reused"
    assert [error["pointer"] for error in other_body.json()["errors"]] == [""]
    named = [error.get("parameter", error.get("header")) for error in others.json()["errors"]]
    assert named == ["source", "mails_per_minute", "dry_run", "Content-Type"]
    assert await _staged(ledger) == 5


async def test_the_same_key_of_another_client_is_another_import(signup_api: Api, imports: Imports) -> None:
    first = await imports.post(people(1), key="once")
    async with await signup_api.as_client("other", ["users:import"]) as other:
        second = await Imports(other, imports.importer, imports.cleanup).post(people(1), key="once")
    assert second.json()["id"] != first.json()["id"]


async def test_two_requests_with_one_key_at_once_are_one_import(imports: Imports, ledger: SignupLedger) -> None:
    answers = await asyncio.gather(*(imports.post(people(2000), key="once") for _ in range(4)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    await imports.work()
    assert len(await ledger.rows("users")) == await _staged(ledger) == 2000


async def test_an_interrupted_upload_fails_and_restarts_with_its_key(imports: Imports, ledger: SignupLedger) -> None:
    whole = ndjson(people(3000))

    async def interrupted() -> AsyncIterator[bytes]:
        yield whole[: len(whole) * 2 // 3]
        raise MalformedRequest("The connection closed.")

    with pytest.raises(MalformedRequest):
        await receive(ledger.pool, COMMAND, interrupted())
    failed = await ledger.row("imports")
    assert (failed["state"], failed["failure"].partition(";")[0]) == ("failed", "The upload was interrupted")
    assert await _staged(ledger) > 0
    await imports.work()
    assert await ledger.rows("users") == []
    again, replayed = await receive(ledger.pool, COMMAND, _in_pieces(whole))
    assert (again["id"], again["row_count"], replayed) == (failed["id"], 3000, False)
    await imports.work()
    assert len(await ledger.rows("users")) == 3000


async def test_an_overtaken_upload_adds_no_rows_to_the_one_that_took_over(
    imports: Imports, ledger: SignupLedger
) -> None:
    whole = ndjson(people(4000))
    stalled = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield whole[: len(whole) // 2]
        await stalled.wait()
        yield whole[len(whole) // 2 :]

    slow = asyncio.create_task(receive(ledger.pool, COMMAND, stalling()))
    await eventually(lambda: _staged(ledger), bool)
    quick, replayed = await receive(ledger.pool, COMMAND, _in_pieces(whole))
    assert (quick["row_count"], replayed) == (4000, False)
    stalled.set()
    overtaken, replayed = await slow
    assert (overtaken["id"], overtaken["row_count"], replayed) == (quick["id"], 4000, True)
    await imports.work()
    assert len(await ledger.rows("users")) == 4000


async def test_an_upload_canceled_meanwhile_is_answered_with_409(imports: Imports, ledger: SignupLedger) -> None:
    whole = ndjson(people(4000))

    async def canceling() -> AsyncIterator[bytes]:
        yield whole[: len(whole) // 2]
        await eventually(lambda: _staged(ledger), bool)
        (row,) = await ledger.rows("imports")
        assert (await imports.act(row["id"], "cancel")).status_code == 200
        yield whole[len(whole) // 2 :]

    answer = await imports.http.post(
        "/v1/imports", content=canceling(), headers={"Content-Type": "application/x-ndjson"}
    )
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/import-taken-over")


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_past_the_limit_leaves_nothing_behind(
    imports: Imports, ledger: SignupLedger, *, declared: bool
) -> None:
    body = ndjson(people(6000))
    assert len(body) > 400_000
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "large"}
    content = body if declared else _in_pieces(body, 50_000)
    answer = await imports.http.post("/v1/imports", content=content, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/payload-too-large")
    assert await ledger.rows("imports") == []
    assert await _staged(ledger) == 0
    assert (await imports.post(people(3), key="large")).status_code == 202


async def test_a_csv_file_is_imported_like_the_same_rows_in_ndjson(imports: Imports, ledger: SignupLedger) -> None:
    body = (
        b"\xef\xbb\xbfemail,external_id,name,verified,locale,metadata.plan,metadata.since\r\n"
        b'asa@b\xc3\xbccher.example,1,"\xc3\x85sa ""the"" \xc3\x96berg, Dr.",TRUE,de,gold,\r\n'
        b"bo@x.example,2,Bo,,,,\r\n"
        b"bad@x.example,3,Bad\r\n"
        b"worse@x.example,4,\xff,,,,\r\n"
    )
    done = await imports.run(body, media="text/csv; charset=utf-8")
    assert done["outcomes"] == {"created": 2, "already_exists": 0, "duplicate": 0, "invalid": 2}
    first, second = sorted(await ledger.rows("users"), key=lambda user: user["external_id"])
    assert (first["email"], first["name"], first["status"], first["locale"], first["metadata"]) == (
        *("asa@bücher.example", 'Åsa "the" Öberg, Dr.', "verified"),
        *("de", '{"plan": "gold"}'),
    )
    assert (second["name"], second["status"], second["locale"], second["metadata"]) == ("Bo", "pending", "en", "{}")
    reasons = [(row["line"], row["reason"]) for row in await imports.rows(done["id"], outcome="invalid")]
    assert reasons == [(4, "The record has 3 columns, the header names 7"), (5, "The line is not UTF-8")]


BAD_HEADERS = {
    b"": "",
    b"1,asa@x.example,Asa\n": "1",
    b"external_id;email;name\n1;a@x.example;A\n": "external_id;email;name",
    b"external_id,email\n1,a@x.example\n": "name",
    b"external_id,email,name,email\n": "email",
    b"external_id,email,name,role\n": "role",
    b"external_id,email,name,metadata,metadata.x\n": "metadata",
}


@pytest.mark.parametrize(("body", "column"), BAD_HEADERS.items())
async def test_a_csv_file_with_an_invalid_header_is_refused_and_leaves_its_key_unused(
    imports: Imports, ledger: SignupLedger, body: bytes, column: str
) -> None:
    answer = await imports.post(body, media="text/csv", key="once")
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
    assert answer.json()["errors"][0]["pointer"] == (f"/{column}" if column else "")
    assert column in answer.json()["detail"]
    assert await ledger.rows("imports") == []
    assert (await imports.post(b"external_id,email,name\n", media="text/csv", key="once")).status_code == 202


@pytest.mark.parametrize("media", ["application/json", ""])
async def test_another_media_type_is_refused(imports: Imports, media: str) -> None:
    answer = await imports.post(people(1), media=media)
    assert (answer.status_code, answer.json()["type"]) == (415, "/problems/unsupported-media-type")


@pytest.mark.parametrize(
    ("media", "charset"),
    [
        ("text/csv; charset=latin-1", "latin-1"),
        ('text/csv; header=present; charset="ISO-8859-1"', "ISO-8859-1"),
        ("application/x-ndjson; Charset = utf-16", "utf-16"),
        ("text/csv; charset=utf-8; charset=windows-1252", "windows-1252"),
    ],
)
async def test_another_charset_than_utf_8_is_refused_by_name(imports: Imports, media: str, charset: str) -> None:
    answer = await imports.post(people(1), media=media)
    assert (answer.status_code, answer.json()["type"]) == (415, "/problems/unsupported-media-type")
    (error,) = answer.json()["errors"]
    assert (error["header"], f"`{charset}`" in error["detail"]) == ("Content-Type", True)


@pytest.mark.parametrize("parameters", ["", "; charset=utf-8", "; charset=UTF8", '; header=present; charset="UTF-8"'])
async def test_the_charset_utf_8_is_accepted(imports: Imports, parameters: str) -> None:
    done = await imports.run("external_id,email,name\n1,asa@x.example,Åsa\n".encode(), media=f"text/csv{parameters}")
    assert done["outcomes"]["created"] == 1


@pytest.mark.parametrize("params", [{"mails_per_minute": -1}, {"source": ""}, {"source": "a\u0000"}, {"sauce": "x"}])
async def test_an_invalid_parameter_is_refused_by_name(
    imports: Imports, ledger: SignupLedger, params: dict[str, Any]
) -> None:
    answer = await imports.post(people(1), **params)
    assert answer.status_code == 422
    assert [error["parameter"] for error in answer.json()["errors"]] == list(params)
    assert await ledger.rows("imports") == []


async def test_an_import_belongs_to_its_client_and_needs_the_scope(signup_api: Api, imports: Imports) -> None:
    import_id = await imports.start([person(1)])
    async with await signup_api.as_client("other", ["users:import"]) as other:
        for method, path in (("GET", ""), ("GET", "/rows"), ("POST", "/pause"), ("POST", "/cancel")):
            answer = await other.request(method, f"/v1/imports/{import_id}{path}")
            assert (method, path, answer.status_code) == (method, path, 404)
        assert (await other.get("/v1/imports")).json() == {"items": [], "next_cursor": None}
    async with await signup_api.as_client("acquirer", ["users:read"]) as reader:
        assert (await reader.get("/v1/imports")).status_code == 403
        assert (await reader.post("/v1/imports", content=b"")).status_code == 403
    listed = (await imports.http.get("/v1/imports")).json()["items"]
    assert [item["id"] for item in listed] == [import_id]
    assert listed == [await imports.get(import_id)]
