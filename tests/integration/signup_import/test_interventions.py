"""Pausing, resuming and canceling imports, and the cleanup after it."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from services.signup.imports import operator_actions
from services.signup.imports.operator_action_queries import RELEASE_MAILS_IF_RUNNING
from services.signup.outbox import operator_actions as outbox_actions
from services.signup.outbox.queries import CLAIM_DUE, RELEASE_IF_LEASED
from shared.contract.ids import uuid7
from shared.worker.claim_floor import BEGINNING
from tests.support.imports import Imports, people
from tests.support.signups import SignupLedger
from tests.support.stack import eventually


async def _claim(ledger: SignupLedger, limit: int = 500) -> list[Any]:
    """Claims mails as the relay does."""
    lease = uuid7()
    rows = await ledger.pool.fetch(CLAIM_DUE, ["mail"], [limit], [BEGINNING], [30.0], lease)
    return [(lease, row["id"]) for row in rows if row["id"]]


async def test_a_paused_import_processes_no_row_and_sends_no_mail(imports: Imports, ledger: SignupLedger) -> None:
    import_id = await imports.start(people(60))
    await imports.importer.run_once()
    paused = (await imports.act(import_id, "pause")).json()
    assert (paused["state"], paused["outcomes"]["created"], paused["mails_left"]) == ("paused", 20, 20)
    assert await imports.importer.run_once() is False
    assert await _claim(ledger) == []
    resumed = (await imports.act(import_id, "resume")).json()
    assert (resumed["state"], resumed["mails_left"]) == ("running", 20)
    assert len(await _claim(ledger)) == 20
    await imports.work()
    assert (await imports.get(import_id))["outcomes"]["created"] == 60


async def test_resuming_paces_the_mails_from_now_in_the_same_order(imports: Imports, ledger: SignupLedger) -> None:
    import_id = (await imports.run(people(50), mails_per_minute=6))["id"]
    await imports.act(import_id, "pause")
    await ledger.run("UPDATE imports SET next_mail_at = next_mail_at + interval '1 day'")
    await imports.act(import_id, "resume")
    mails = await ledger.rows("outbox", effect="mail")
    due = [mail["due_at"] for mail in mails]
    assert due == [due[0] + timedelta(seconds=10 * n) for n in range(50)]
    assert abs(due[0] - await ledger.pool.fetchval("SELECT now()")) < timedelta(minutes=1)
    assert [mail["created_at"] for mail in mails] == due
    # Users created later are mailed after them.
    row = await ledger.row("imports")
    assert row["next_mail_at"] == due[0] + timedelta(seconds=500)


async def test_the_mails_left_after_all_rows_are_done_can_be_paused(imports: Imports) -> None:
    import_id = (await imports.run(people(5)))["id"]
    paused = (await imports.act(import_id, "pause")).json()
    assert (paused["state"], paused["finished_at"]) == ("paused", None)
    await imports.act(import_id, "resume")
    await imports.work()
    done = await imports.get(import_id)
    assert (done["state"], done["mails_left"]) == ("done", 5)


async def test_a_canceled_import_drops_its_rows_and_mails_and_keeps_its_users(
    imports: Imports, ledger: SignupLedger
) -> None:
    import_id = await imports.start(people(60))
    await imports.importer.run_once()
    canceled = (await imports.act(import_id, "cancel")).json()
    assert (canceled["state"], canceled["mails_owed"], canceled["mails_left"]) == ("canceled", 20, 0)
    assert canceled["finished_at"] is not None
    await imports.work()
    assert len(await ledger.rows("users")) == 20
    settled = await ledger.rows("outbox_settled")
    assert {(row["outcome"], row["effect"], row["result"]["import_id"]) for row in settled} == {
        ("canceled", "mail", import_id)
    }
    assert len(await ledger.rows("history", kind="outbox.canceled")) == len(settled) == 20
    while await imports.cleanup.run_once():
        pass
    assert await ledger.pool.fetchval("SELECT count(*) FROM import_rows") == 20
    assert (await ledger.row("imports"))["cleaned_at"] is not None


@pytest.mark.parametrize("action", ["pause", "cancel"])
async def test_cleanup_holds_or_cancels_a_mail_that_the_relay_releases_later(
    imports: Imports, ledger: SignupLedger, action: str
) -> None:
    import_id = (await imports.run(people(10)))["id"]
    leased = await _claim(ledger, 4)
    assert (await imports.act(import_id, action)).json()["mails_left"] == (10 if action == "pause" else 4)
    lease = leased[0][0]
    await ledger.pool.fetchval(RELEASE_IF_LEASED, lease, [row_id for _, row_id in leased], "The mail service is down")
    await imports.cleanup.run_once()
    assert await _claim(ledger) == []
    assert (await imports.get(import_id))["mails_left"] == (10 if action == "pause" else 0)


async def test_cleanup_releases_the_mails_of_a_resumed_import_after_the_api_died(
    imports: Imports, ledger: SignupLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_id = (await imports.run(people(7)))["id"]
    await imports.act(import_id, "pause")
    with monkeypatch.context() as patch:

        async def die(*_: object) -> int:
            raise ConnectionResetError

        patch.setattr(operator_actions, "move_mails", die)
        assert (await imports.act(import_id, "resume")).status_code == 503
    await imports.work()
    assert (await imports.get(import_id))["state"] == "running", "its mails are still held"
    await imports.cleanup.run_once()
    await imports.work()
    assert (await imports.get(import_id))["state"] == "done"
    assert len(await _claim(ledger)) == 7


@pytest.mark.parametrize(
    ("before", "action"),
    [((), "resume"), (("pause",), "pause"), (("cancel",), "pause"), (("cancel",), "resume"), (("cancel",), "cancel")],
)
async def test_an_action_that_the_state_does_not_allow_is_refused_and_changes_nothing(
    imports: Imports, ledger: SignupLedger, before: tuple[str, ...], action: str
) -> None:
    import_id = await imports.start(people(3))
    for earlier in before:
        assert (await imports.act(import_id, earlier)).status_code == 200
    before_action = await ledger.rows("imports")
    answer = await imports.act(import_id, action)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/wrong-state")
    assert await ledger.rows("imports") == before_action


@pytest.mark.parametrize("action", ["pause", "cancel"])
async def test_a_done_import_without_mails_left_cannot_be_paused_or_canceled(imports: Imports, action: str) -> None:
    import_id = (await imports.run(people(3), dry_run=True))["id"]
    assert (await imports.act(import_id, action)).status_code == 409


async def test_the_history_has_each_change_of_state(imports: Imports, ledger: SignupLedger) -> None:
    import_id = await imports.start(people(3))
    for action in ("pause", "resume"):
        await imports.act(import_id, action)
    await imports.work()
    await imports.act(import_id, "cancel")
    entries = await ledger.rows("history", subject=import_id)
    assert [entry["kind"].removeprefix("import.") for entry in entries] == [
        *("received", "paused", "resumed", "done", "canceled")
    ]
    assert all(entry["related"] == ["acquirer"] for entry in entries)


async def test_an_abandoned_upload_fails_and_its_rows_are_deleted(imports: Imports, ledger: SignupLedger) -> None:
    import_id = await imports.start(people(3))
    await ledger.run(
        "UPDATE imports SET state = 'receiving', receiver = uuidv7(), body_digest = NULL,"
        " received_at = now() - interval '1 hour'"
    )
    while await imports.cleanup.run_once():
        pass
    failed = await imports.get(import_id)
    assert (failed["state"], failed["failure"] is not None) == ("failed", True)
    assert await imports.rows(import_id) == []
    assert await ledger.pool.fetchval("SELECT count(*) FROM import_rows") == 0


async def test_mails_that_two_processes_release_at_once_are_placed_once(imports: Imports, ledger: SignupLedger) -> None:
    import_id = (await imports.run(people(40), mails_per_minute=6))["id"]
    await imports.act(import_id, "pause")
    await ledger.run("UPDATE imports SET state = 'running', next_mail_at = now()")
    async with ledger.pool.acquire() as first, ledger.pool.acquire() as second:
        transaction = first.transaction()
        await transaction.start()
        assert await first.fetchval(RELEASE_MAILS_IF_RUNNING, UUID(import_id), 20, 1000.0) == 20
        pid = second.get_server_pid()
        released = asyncio.create_task(second.fetchval(RELEASE_MAILS_IF_RUNNING, UUID(import_id), 20, 1000.0))
        await eventually(
            lambda: ledger.pool.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", pid), bool, what="it waits"
        )
        await transaction.commit()
        assert await released == 20
    due = [mail["due_at"] for mail in await ledger.rows("outbox", effect="mail")]
    assert sorted(due) == [due[0] + timedelta(seconds=10 * n) for n in range(40)]


async def test_no_retry_or_redrive_sends_a_mail_of_a_paused_import(imports: Imports, ledger: SignupLedger) -> None:
    import_id = (await imports.run(people(3)))["id"]
    (lease, dead), (_, refused), _ = await _claim(ledger)
    await ledger.pool.fetchval(RELEASE_IF_LEASED, lease, [dead, refused], "no answer")
    await imports.act(import_id, "pause")
    await ledger.run("UPDATE outbox SET state = 'dead', dead_at = now(), due_at = NULL WHERE id = $1", dead)
    options: dict[str, Any] = {"effects": ["mail"], "error_like": None, "actor": "x", "give_up_seconds": 1000}
    assert await outbox_actions.redrive(ledger.pool, "pending", **options) == 0
    assert await outbox_actions.redrive(ledger.pool, "dead", **options) == 1
    assert await _claim(ledger) == []
    await imports.act(import_id, "resume")
    assert {row for _, row in await _claim(ledger)} == {dead, refused}
