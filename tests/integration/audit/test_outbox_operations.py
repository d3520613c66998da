"""Operator actions on outbox rows, by API and command: done once, recorded, never on a leased row."""

import os
import subprocess
import sys
from typing import Any

import httpx
import orjson
import pytest

from tests.support.apis import Api
from tests.support.bad_data import plant
from tests.support.databases import ROOT, Clone
from tests.support.signups import SignupLedger

from .conftest import Relays

DEAD = """
UPDATE outbox SET state = 'dead', due_at = NULL, lease = NULL, dead_at = now(), last_error = '422 no such thing',
    attempts = 3, expires_at = now() - interval '1 day'
WHERE effect = 'mail'
"""
LEASED = "UPDATE outbox SET state = 'leased', lease = uuidv7(), due_at = now() + interval '1 minute'"
WAITING = "UPDATE outbox SET due_at = now() + interval '1 hour', last_error = '503 later', attempts = 1"


async def mail_row(ledger: SignupLedger) -> dict[str, Any]:
    (user,) = await ledger.sign_up("asa@x.example")
    return await ledger.row("outbox", user_id=user.user["id"], effect="mail")


async def history_of(ledger: SignupLedger, row: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (entry["kind"], entry["actor"].partition("/")[0])
        for entry in await ledger.rows("history", subject=str(row["id"]))
    ]


async def test_a_retried_dead_row_gets_a_new_expiry_and_is_recorded(
    ledger: SignupLedger, operator: httpx.AsyncClient
) -> None:
    row = await mail_row(ledger)
    await ledger.run(DEAD)
    answer = await operator.post(f"/audit/outbox/{row['id']}/retry")
    assert (answer.status_code, answer.json()["state"], answer.json()["dead_at"]) == (200, "pending", None)
    assert answer.json()["attempts"] == 3
    retried = await ledger.row("outbox", id=row["id"])
    assert retried["expires_at"] > retried["due_at"]
    assert await history_of(ledger, row) == [("outbox.retried", "key:operator")]


async def test_a_retried_row_is_due_now(ledger: SignupLedger, operator: httpx.AsyncClient, relays: Relays) -> None:
    row = await mail_row(ledger)
    await ledger.run(WAITING)
    await relays.run()
    assert await ledger.rows("outbox_settled", id=row["id"]) == []
    assert (await operator.post(f"/audit/outbox/{row['id']}/retry")).status_code == 200
    await relays.run()
    assert (await ledger.row("outbox_settled", id=row["id"]))["outcome"] == "delivered"


@pytest.mark.parametrize("state", [DEAD, WAITING])
async def test_a_canceled_row_is_settled_and_its_effect_never_takes_place(
    ledger: SignupLedger, operator: httpx.AsyncClient, relays: Relays, state: str
) -> None:
    row = await mail_row(ledger)
    await ledger.run(state)
    answer = await operator.post(f"/audit/outbox/{row['id']}/cancel")
    assert (answer.status_code, answer.json()["outcome"]) == (200, "canceled")
    await relays.run()
    assert await ledger.rows("outbox", id=row["id"]) == []
    assert (await ledger.row("outbox_settled", id=row["id"]))["outcome"] == "canceled"
    assert await history_of(ledger, row) == [("outbox.canceled", "key:operator")]


@pytest.mark.parametrize("action", ["retry", "cancel"])
async def test_a_leased_or_settled_row_is_not_changed(
    ledger: SignupLedger, operator: httpx.AsyncClient, relays: Relays, action: str
) -> None:
    row = await mail_row(ledger)
    await ledger.run(LEASED)
    answer = await operator.post(f"/audit/outbox/{row['id']}/{action}")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/wrong-state")
    assert answer.json()["state"] == "leased"
    await ledger.run("UPDATE outbox SET due_at = now()")
    await relays.run()
    answer = await operator.post(f"/audit/outbox/{row['id']}/{action}")
    assert (answer.status_code, answer.json()["state"]) == (409, "delivered")
    assert [kind for kind, _ in await history_of(ledger, row)] == ["outbox.delivered"]


async def test_dead_rows_are_redriven_in_bulk_by_effect_and_error(
    ledger: SignupLedger, operator: httpx.AsyncClient
) -> None:
    await ledger.sign_up(*(f"bulk-{n}@x.example" for n in range(5)))
    await ledger.run(DEAD)
    await ledger.run("UPDATE outbox SET last_error = 'connection lost' WHERE payload #>> '{to,email}' LIKE 'bulk-0%'")

    async def redrive(**body: str) -> int:
        answer = await operator.post("/audit/outbox/retry", json=body)
        retried: int = answer.json()["retried"]
        return retried

    assert await redrive(state="dead", effect="stats") == 0
    assert await redrive(state="dead", error_like="no SUCH") == 4
    assert await redrive(state="dead", effect="mail") == 1
    assert await redrive(state="dead") == 0
    assert len(await ledger.rows("history", kind="outbox.retried")) == 5
    assert (await operator.post("/audit/outbox/retry", json={"state": "leased"})).status_code == 422


async def test_a_bulk_retry_skips_rows_that_wait_by_schedule(ledger: SignupLedger, operator: httpx.AsyncClient) -> None:
    await ledger.sign_up("paced@x.example", "refused@x.example")
    await ledger.run("UPDATE outbox SET due_at = now() + interval '1 hour'")
    await ledger.run("UPDATE outbox SET last_error = '503' WHERE payload #>> '{to,email}' = 'refused@x.example'")
    assert (await operator.post("/audit/outbox/retry", json={"state": "pending"})).json() == {"retried": 1}


async def test_owed_and_settled_rows_are_listed_together_newest_first(
    ledger: SignupLedger, operator: httpx.AsyncClient, relays: Relays
) -> None:
    done = await ledger.sign_up("one@x.example", "two@x.example")
    await relays.run()
    await ledger.sign_up("three@x.example")
    listed: list[dict[str, Any]] = []
    params = {"limit": "2"}
    while params.get("cursor", "first"):
        page = (await operator.get("/audit/outbox", params=params)).json()
        listed += page["items"]
        params["cursor"] = page["next_cursor"]
    assert [row["id"] for row in listed] == sorted((row["id"] for row in listed), reverse=True)
    assert sorted(row["state"] for row in listed) == ["delivered"] * 4 + ["pending"] * 2
    user_id = str(done[0].user["id"])
    filtered = (
        await operator.get("/audit/outbox", params={"user_id": user_id, "effect": "mail", "state": "delivered"})
    ).json()["items"]
    (row,) = filtered
    assert (row["user_id"], row["outcome"], row["attempts"]) == (user_id, "delivered", 1)
    assert row["result"]["mail_id"]
    assert (await operator.get(f"/audit/outbox/{row['id']}")).json() == row
    assert "x.example" not in orjson.dumps([{**row, "correlation_id": None} for row in listed]).decode()


async def test_actions_need_their_scope_and_unknown_rows_are_not_found(
    signup_api: Api, operator: httpx.AsyncClient
) -> None:
    unknown = "/audit/outbox/0190a000-0000-7000-8000-000000000000"
    assert (await operator.get(unknown)).status_code == 404
    assert (await operator.post(f"{unknown}/retry")).status_code == 404
    async with await signup_api.as_client("reader", ["audit:read"]) as reader:
        assert (await reader.get("/audit/outbox")).status_code == 200
        assert (await reader.post(f"{unknown}/cancel")).status_code == 403
        assert (await reader.post("/audit/outbox/retry", json={"state": "dead"})).status_code == 403
        assert (await reader.post("/audit/checks/run")).status_code == 403


async def test_commands_do_the_same_and_record_the_user_as_actor(signup_database: Clone, ledger: SignupLedger) -> None:
    row = await mail_row(ledger)
    await plant(signup_database, DEAD)

    def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "services.signup", *arguments],
            cwd=ROOT,
            env={**os.environ, "SIGNUP_DATABASE_URL": signup_database.owner_url},
            capture_output=True,
            text=True,
            check=False,
        )

    output = command("outbox", "list", "--state", "dead")
    assert orjson.loads(output.stdout)["id"] == str(row["id"])
    assert command("outbox", "redrive", "--state", "dead", "--error-like", "no such").stdout == "retried 1\n"
    assert orjson.loads(command("outbox", "cancel", str(row["id"])).stdout)["outcome"] == "canceled"
    again = command("outbox", "retry", str(row["id"]))
    assert (again.returncode, again.stdout) == (1, "")
    assert "canceled" in again.stderr
    kinds = await history_of(ledger, row)
    assert [kind for kind, _ in kinds] == ["outbox.retried", "outbox.canceled"]
    assert all(actor.startswith("cli:") for _, actor in kinds)
