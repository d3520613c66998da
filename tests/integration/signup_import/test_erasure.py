"""Erasing a user while an import runs."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.apis import Api
from tests.support.imports import Imports, ndjson, people, person
from tests.support.signups import SignupLedger
from tests.support.stack import eventually


@pytest.fixture
async def eraser(signup_api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with await signup_api.as_client("operator", ["users:erase"]) as http:
        yield http


@pytest.mark.parametrize(
    "line",
    [
        person(90, email="asa@bücher.example"),
        b'{"external_id": "x", "name": "A", "email": "\\u0041sa@xn--bcher-kva.EXAMPLE"}',
        '{"external_id": "x", "name": "A", "email": "Asa@BÜCHER.example"}'.encode(),
    ],
)
@pytest.mark.parametrize("state", ["running", "paused"])
async def test_a_user_erased_while_a_row_names_them_is_not_created_again(
    imports: Imports, ledger: SignupLedger, eraser: httpx.AsyncClient, line: dict[str, str] | bytes, state: str
) -> None:
    (asa,) = await ledger.sign_up("asa@bücher.example")
    body = people(30)
    if isinstance(line, bytes):
        import_id = await imports.start(ndjson(body) + line + b"\n")
    else:
        import_id = await imports.start([*body, line])
    await imports.importer.run_once()
    if state == "paused":
        await imports.act(import_id, "pause")
    assert (await eraser.delete(f"/v1/users/{asa.user['id']}")).status_code == 204
    kept = await ledger.pool.fetchval("SELECT count(*) FROM import_rows WHERE import_id = $1 AND line = 31"
                                    " AND raw IS NULL AND email IS NULL", import_id)  # fmt: skip
    assert kept == 1, "the erasure empties the row at once"
    if state == "paused":
        await imports.act(import_id, "resume")
    await imports.work()
    done = await imports.get(import_id)
    assert (done["state"], done["outcomes"]["created"], done["outcomes"]["invalid"]) == ("done", 30, 1)
    (refused,) = await imports.rows(import_id, outcome="invalid")
    assert (refused["line"], refused["reason"]) == (31, "The person was erased while this line waited")
    assert not [row for row in await ledger.rows("users") if row["email"] and row["email"].startswith("asa")]


async def test_an_erased_user_is_not_created_again_by_a_row_with_the_same_external_id(
    imports: Imports, ledger: SignupLedger, eraser: httpx.AsyncClient
) -> None:
    await imports.run([person(1)], source="acquired")
    await imports.run([person(1)], source="elsewhere")
    known = await ledger.row("users", external_id="ext-1")
    again = await imports.start([person(1, email="moved@x.example")], source="acquired")
    other = await imports.start([person(1, email="namesake@x.example")], source="elsewhere")
    await eraser.delete(f"/v1/users/{known['id']}")
    await imports.work()
    assert (await imports.get(again))["outcomes"]["invalid"] == 1
    assert (await imports.get(other))["outcomes"]["created"] == 1


async def test_a_row_uploaded_after_the_erasure_creates_a_new_user(
    imports: Imports, ledger: SignupLedger, eraser: httpx.AsyncClient
) -> None:
    (asa,) = await ledger.sign_up("asa@x.example")
    await eraser.delete(f"/v1/users/{asa.user['id']}")
    done = await imports.run([person(1, email="asa@x.example")])
    assert done["outcomes"]["created"] == 1


async def test_erasing_waits_for_the_running_batch_and_erases_its_rows_too(
    imports: Imports, ledger: SignupLedger, eraser: httpx.AsyncClient
) -> None:
    (asa,) = await ledger.sign_up("asa@x.example")
    import_id = await imports.start([person(1, email="asa@x.example")])
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with ledger.pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute("SELECT FROM imports WHERE id = $1 FOR NO KEY UPDATE", import_id)
            erasing = asyncio.create_task(eraser.delete(f"/v1/users/{asa.user['id']}"))
            await eventually(lambda: ledger.pool.fetchval(waiting), lambda count: count == 1, what="erasing")
            await connection.execute(
                "UPDATE import_rows SET raw = NULL, outcome = 'already_exists', reason = 'x', external_id = 'ext-1',"
                " email = 'asa@x.example', email_key = 'asa@x.example', user_id = $2 WHERE import_id = $1",
                *(import_id, asa.user["id"]),
            )
            await connection.execute("UPDATE imports SET done_through_line = 1 WHERE id = $1", import_id)
        assert (await erasing).status_code == 204
    (row,) = await imports.rows(import_id)
    assert (row["email"], row["external_id"]) == (None, None)
