"""Differences between the ledgers are reported exactly and repaired where that is safe; the ledgers then balance."""

import asyncio
import itertools
import random
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from services.signup.reconciliation.queries import CLAIM_OLDEST_RUN, FINISH_IF_LEASED, KEEP_STEP_IF_LEASED
from services.signup.reconciliation.repair_queries import REQUEUE_IF_LEASED
from shared.contract.ids import lowest_uuid7, uuid7
from shared.db.pool import DatabaseOptions, open_database
from tests.support.databases import Clone, Server
from tests.support.reconciliation_lab import INSERT_UNREQUESTED_MAILS, SENT, Laboratory, counts

ALERT = "INSERT INTO alerts (name, severity, subject) VALUES ('x', 'red', 'X') RETURNING id"


async def _recipients(lab: Laboratory) -> list[str]:
    rows = await lab.mail.database.pool.fetch("SELECT to_key FROM mails WHERE client = 'signup' ORDER BY to_key")
    return [row["to_key"] for row in rows]


async def test_ledgers_that_agree_are_balanced_and_history_says_so(lab: Laboratory) -> None:
    await lab.mailed(5)
    run = await lab.run()
    assert (run["state"], run["verdict"], run["compared"], counts(run)) == ("done", "balanced", 5, {})
    (note,) = await lab.ledger.rows("history", kind="reconciliation.finished")
    assert (note["subject"], note["detail"]["verdict"], note["detail"]["compared"]) == (str(run["id"]), "balanced", 5)


async def test_a_run_that_compared_nothing_is_incomplete(lab: Laboratory) -> None:
    run = await lab.run()
    assert (run["state"], run["verdict"], run["compared"]) == ("done", "incomplete", 0)


async def test_mails_younger_than_the_lag_are_skipped(lab: Laboratory) -> None:
    ids = await lab.mailed(2)
    await lab.forget(ids)
    lab.lag_seconds = 60
    assert counts(await lab.run()) == {}


async def test_lost_unexpected_and_changed_mails_are_reported_exactly_and_repaired_where_safe(lab: Laboratory) -> None:
    ids = await lab.mailed(60)
    before, people = await lab.mails(), await _recipients(lab)
    shuffled = random.Random(7).sample(ids, 60)
    lost, changed = [str(key) for key in shuffled[:30]], [str(key) for key in shuffled[30:35]]
    await lab.forget(shuffled[:30])
    foreign = [*(str(uuid7()) for _ in range(8)), "not requested", str(ids[0]).upper()]
    await lab.mail.database.pool.execute(INSERT_UNREQUESTED_MAILS, foreign)
    change = "UPDATE mails SET to_email = 'thief@x.example', to_key = 'thief@x.example' WHERE request_id = ANY ($1)"
    await lab.mail.database.pool.execute(change, changed)

    first = await lab.run()
    assert (first["verdict"], counts(first)) == (
        "out_of_balance",
        {"lost_records": 30, "unexpected": 10, "different": 5},
    )
    assert await lab.named("lost_records") == set(lost)
    assert await lab.named("unexpected") == set(foreign)
    assert await lab.named("different") == set(changed)
    assert first["repaired"] == {"lost_records": 30}
    assert {kind: len(items) for kind, items in first["examples"].items()} == {
        "lost_records": 20,
        "unexpected": 10,
        "different": 5,
    }
    assert {item["reason"] for item in first["examples"]["different"]} == {"differs in recipient"}
    after = await lab.mails()
    for request_id in lost:
        kept = ("to_key", "template", "message_id", "sent_at", "fingerprint", "state")
        assert [after[request_id][name] for name in kept] == [before[request_id][name] for name in kept]
        assert after[request_id]["restored"]
    assert await lab.mail.database.pool.fetchval("SELECT count(*) FROM queue") == 0, "nothing is sent again"
    assert await lab.ledger.rows("outbox", effect="mail") == []
    history = await lab.ledger.rows("history", kind="mail.record_restored")
    assert {note["subject"] for note in history} == set(lost)

    second = await lab.run()
    assert (second["verdict"], counts(second)) == ("balanced", {"known": 15})
    assert len(await _recipients(lab)) == len(people) + 10


async def test_a_known_finding_is_reported_again_when_it_has_changed(lab: Laboratory) -> None:
    await lab.mailed(3)
    for name in ("one", "one", "two"):
        change = f"UPDATE mails SET to_email = '{name}@x.example', to_key = '{name}@x.example'"
        await lab.mail.database.pool.execute(change)
        run = await lab.run()
    assert counts(run) == {"different": 3}
    assert counts(await lab.run()) == {"known": 3}


async def test_a_missing_mail_that_neither_ledger_knows_as_sent_is_requested_again_unchanged(lab: Laboratory) -> None:
    await lab.ledger.sign_up("asa@x.example", "bo@x.example")
    owed = await lab.ledger.rows("outbox", effect="mail")
    await lab.hand_over()
    first = await lab.mails()
    await lab.forget([owed[0]["id"]])
    run = await lab.run()
    assert (counts(run), run["repaired"]) == ({"missing": 1}, {"missing": 1})
    (again,) = await lab.ledger.rows("outbox", effect="mail")
    same = ("id", "user_id", "payload", "created_at", "correlation_id")
    assert [again[name] for name in same] == [owed[0][name] for name in same]
    (note,) = await lab.ledger.rows("history", kind="outbox.requeued")
    assert (note["subject"], note["related"]) == (str(again["id"]), [str(run["id"]), str(again["user_id"])])
    assert (await lab.run())["verdict"] == "balanced", "it waits to be handed over"
    await lab.hand_over()
    assert (await lab.run())["verdict"] == "balanced"
    after = await lab.mails()
    assert {key: mail["fingerprint"] for key, mail in after.items()} == {
        key: mail["fingerprint"] for key, mail in first.items()
    }
    assert len(await lab.ledger.rows("outbox_settled", effect="mail")) == 2


@pytest.mark.parametrize("state", ["failed", "canceled", "suppressed", "uncertain"])
async def test_a_missing_mail_that_was_decided_about_or_may_have_been_sent_is_only_reported(
    lab: Laboratory, state: str
) -> None:
    await lab.ledger.sign_up("asa@x.example")
    (owed,) = await lab.ledger.rows("outbox", effect="mail")
    await lab.hand_over()
    await lab.follow()
    await lab.pool.execute("UPDATE mail_outcomes SET state = $1", state)
    await lab.forget([owed["id"]])
    run = await lab.run()
    assert (counts(run), run["repaired"]) == ({"missing": 1}, {})
    assert run["examples"]["missing"][0]["reason"] == f"was {state} there"
    assert await lab.ledger.rows("outbox", effect="mail") == []
    assert counts(await lab.run()) == {"known": 1}


async def test_a_missing_mail_that_becomes_known_as_sent_is_not_requested_again(lab: Laboratory) -> None:
    (request_id,) = await lab.mailed(1)
    await lab.pool.execute("UPDATE mail_outcomes SET sent_at = NULL, state = 'queued'")
    await lab.forget([request_id], without_trace=True)
    await lab.request_run()
    reconciler = lab.reconciler()
    while await lab.pool.fetchval("SELECT phase FROM reconciliation_runs") != "requeue":
        await reconciler.run_once()
    assert await lab.named("missing") == {str(request_id)}
    await lab.pool.execute("UPDATE mail_outcomes SET sent_at = now(), state = 'sent'")
    while await reconciler.run_once():
        pass
    assert await lab.ledger.rows("outbox", effect="mail") == []
    assert (await lab.run())["lost_records"] == 1


async def test_without_heal_everything_is_reported_again_and_nothing_is_repaired(lab: Laboratory) -> None:
    ids = await lab.mailed(4)
    await lab.forget(ids[:2])
    for _ in range(2):
        run = await lab.run(repair=False)
        assert (run["verdict"], counts(run), run["repaired"]) == ("out_of_balance", {"lost_records": 2}, {})
    assert len(await lab.mails()) == 2


async def test_a_signup_database_restored_to_an_older_backup_causes_no_second_mail(
    lab: Laboratory, postgres_server: Server
) -> None:
    await lab.mailed(3)
    await lab.ledger.sign_up("owed@x.example")
    await lab.signup.database.close()  # copying a database allows no other connection
    superuser = await asyncpg.connect(postgres_server.superuser_url)
    source, backup = lab.signup.runtime_url.rpartition("/")[2], f"signup_{uuid7().hex}"
    await superuser.execute(f'CREATE DATABASE "{backup}" TEMPLATE "{source}" OWNER signup_owner')
    lab.signup = await _opened(postgres_server, source)
    late = await lab.mailed(4)  # one that was owed at the backup, and three that the backup does not know
    await lab.signup.database.close()
    lab.signup = await _opened(postgres_server, backup)

    await lab.hand_over()  # the relay requests the mail that was owed at the backup; the answer says `sent`
    run = await lab.run()
    assert (run["verdict"], counts(run)) == ("out_of_balance", {"unexpected": 4})
    assert await lab.named("unexpected") == {str(request_id) for request_id in late[1:]}
    assert (await lab.run())["verdict"] == "balanced"
    assert len(await lab.mails()) == 8
    assert await lab.mail.database.pool.fetchval("SELECT count(*) FROM queue") == 0
    await lab.signup.database.close()
    await superuser.execute(f'DROP DATABASE "{backup}" WITH (FORCE)')
    await superuser.close()


async def _opened(server: Server, name: str) -> Clone:
    url = server.url(name, "signup_app")
    return Clone(server.url(name, "signup_owner"), url, await open_database(DatabaseOptions(url, "test")))


async def test_only_pending_users_without_a_verification_mail_are_owed_one(lab: Laboratory) -> None:
    await lab.mailed(2)
    await lab.ledger.sign_up("lost@x.example", "expired@x.example", "failed@x.example", "dead@x.example")
    rows = {row["payload"]["to"]["email"]: row["id"] for row in await lab.ledger.rows("outbox", effect="mail")}
    await lab.pool.execute("DELETE FROM outbox WHERE id = $1", rows["lost@x.example"])
    dead = "state = 'dead', dead_at = now(), due_at = NULL, last_error = 'x'"
    await lab.pool.execute(f"UPDATE outbox SET {dead} WHERE id = $1", rows["dead@x.example"])
    await lab.hand_over()
    await lab.follow()
    for state in ("expired", "failed"):
        set_state = "UPDATE mail_outcomes SET state = $1 WHERE request_id = $2"
        await lab.pool.execute(set_state, state, str(rows[f"{state}@x.example"]))
    run = await lab.run()
    assert (counts(run), run["repaired"]) == ({"unserved_users": 2}, {"unserved_users": 2})
    owed = [row for row in await lab.ledger.rows("outbox", effect="mail") if row["state"] == "pending"]
    assert {row["payload"]["to"]["email"] for row in owed} == {"lost@x.example", "expired@x.example"}
    assert {row["payload"]["template"] for row in owed} == {"verification"}
    assert counts(await lab.run()) == {}
    await lab.hand_over()
    assert (await lab.run())["verdict"] == "balanced"


@pytest.mark.parametrize("hours", [-23, 0, 0.95], ids=["ahead", "equal", "behind"])
async def test_a_user_is_found_by_its_time_where_that_of_its_id_is_another(lab: Laboratory, hours: float) -> None:
    await lab.ledger.sign_up("lost@x.example")
    await lab.pool.execute("DELETE FROM outbox WHERE effect = 'mail'")
    await lab.signup.as_owner("UPDATE users SET created_at = now() - interval '25 hours'")
    made = await lab.pool.fetchval("SELECT created_at FROM users")
    at = made - timedelta(hours=hours)
    await lab.signup.as_owner("DELETE FROM outbox")
    await lab.signup.as_owner("UPDATE users SET id = $1", lowest_uuid7(at))
    window = {"begins": made - timedelta(minutes=1), "ends": made + timedelta(minutes=1)}
    assert counts(await lab.run(**window)) == {"unserved_users": 1}


async def test_a_mail_that_waits_too_long_in_either_ledger_is_stuck_in_every_run(lab: Laboratory) -> None:
    await lab.ledger.sign_up("there@x.example")
    await lab.hand_over()
    await lab.ledger.sign_up("here@x.example")
    waiting = {str(row["id"]) for row in await lab.ledger.rows("outbox", effect="mail")}
    await lab.pool.execute("UPDATE outbox SET due_at = now() - interval '2 hours'")
    late = "UPDATE mails SET next_attempt_at = now() - interval '2 hours'"
    await lab.mail.database.pool.execute(late)
    for _ in range(2):
        assert counts(await lab.run()) == {"stuck": 2}
    assert await lab.named("stuck") == waiting | set(await lab.mails())
    await lab.pool.execute("UPDATE outbox SET due_at = now()")
    await lab.mail.database.pool.execute(SENT)
    assert (await lab.run())["verdict"] == "balanced"


async def test_operator_alerts_are_not_unexpected(lab: Laboratory) -> None:
    await lab.mailed(1)
    alert = await lab.pool.fetchval(ALERT)
    foreign = f"alert/{uuid7()}/opened/0"
    await lab.mail.database.pool.execute(INSERT_UNREQUESTED_MAILS, [f"alert/{alert}/opened/0a1b2c3d", foreign])
    await lab.run()
    assert await lab.named("unexpected") == {foreign}


async def test_an_interrupted_run_is_continued_and_counts_nothing_twice(lab: Laboratory) -> None:
    ids = await lab.mailed(6)
    await lab.forget(ids[:3])
    await lab.mail.database.pool.execute(INSERT_UNREQUESTED_MAILS, ["mystery"])
    run = await lab.request_run()
    steps = 0
    while await lab.pool.fetchval("SELECT state FROM reconciliation_runs") == "running":
        # A worker claims the run and dies before it stores the step; then its lease ends.
        assert await lab.pool.fetchrow(CLAIM_OLDEST_RUN, uuid7(), 30.0)
        assert not await lab.reconciler().run_once(), "another worker holds the lease"
        await lab.pool.execute("UPDATE reconciliation_runs SET due_at = now()")
        assert await lab.reconciler().run_once()
        steps += 1
    assert steps >= 8
    result = await lab.result(run)
    assert (result["compared"], counts(result)) == (7, {"lost_records": 3, "unexpected": 1})
    assert result["repaired"] == {"lost_records": 3}


async def test_a_worker_that_lost_the_lease_of_a_run_changes_nothing(lab: Laboratory) -> None:
    ids = await lab.mailed(1)
    await lab.pool.execute("UPDATE mail_outcomes SET sent_at = NULL")
    run = await lab.request_run()
    stale = uuid7()
    await lab.pool.fetchrow(CLAIM_OLDEST_RUN, stale, 0.0)
    await lab.pool.fetchrow(CLAIM_OLDEST_RUN, uuid7(), 30.0)
    assert await lab.pool.fetchval(FINISH_IF_LEASED, run, stale, "zombie") is None
    nothing: list[list[str]] = [[] for _ in range(7)]
    assert await lab.pool.fetchval(KEEP_STEP_IF_LEASED, run, stale, "settled", None, 99, *nothing) is None
    assert await lab.pool.fetchval(REQUEUE_IF_LEASED, run, stale, "outbox.requeued", "zombie", ids, 60.0) == 0
    assert await lab.ledger.rows("outbox", effect="mail") == []
    assert (await lab.result(run))["state"] == "running"


async def test_any_number_of_workers_and_runs_at_once_request_a_mail_once(lab: Laboratory) -> None:
    await lab.ledger.sign_up(*(f"p{n}@x.example" for n in range(10)))
    owed = await lab.ledger.rows("outbox", effect="mail")
    await lab.hand_over()
    await lab.forget([row["id"] for row in owed])
    runs = [await lab.request_run() for _ in range(3)]

    async def work() -> None:
        reconciler = lab.reconciler()
        while await lab.pool.fetchval("SELECT count(*) FROM reconciliation_runs WHERE state = 'running'"):
            await reconciler.run_once()

    await asyncio.gather(*(work() for _ in range(4)))
    assert [counts(await lab.result(run)) for run in runs] == [{"missing": 10}, {}, {}]
    assert len(await lab.ledger.rows("history", kind="outbox.requeued")) == 10
    await lab.hand_over()
    assert len(await lab.mails()) == 10


async def test_a_run_that_gets_no_answer_ends_as_failed_and_incomplete(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await lab.mailed(2)
    await lab.forget(ids)
    run = await lab.request_run()
    monkeypatch.setattr(lab.http, "headers", {"Authorization": "Bearer none", "Content-Type": "application/json"})
    reconciler = lab.reconciler()
    while (result := await lab.result(run))["state"] == "running":
        await reconciler.run_once()
        await lab.pool.execute("UPDATE reconciliation_runs SET due_at = now() WHERE state = 'running'")
    assert (result["state"], result["verdict"]) == ("failed", "incomplete")
    assert result["last_error"] == "The mail service answered 401"
    assert not await reconciler.run_once()


async def test_an_erased_user_is_neither_mailed_nor_written_back(lab: Laboratory) -> None:
    ids = await lab.mailed(2)
    owner: Any = await asyncpg.connect(lab.signup.owner_url)
    await owner.execute("UPDATE outbox_settled SET payload = payload - 'to'")
    await owner.close()
    await lab.forget(ids)
    run = await lab.run()
    assert (counts(run), run["repaired"]) == ({"lost_records": 2}, {})
    assert await lab.mails() == {}
    assert counts(await lab.run()) == {"known": 2}


async def test_a_step_is_followed_by_a_pause_as_long_as_the_step_took_and_by_none_when_there_is_no_run(
    lab: Laboratory,
) -> None:
    times, pauses = itertools.cycle((0.0, 0.25, 0.0, 5.0)), list[float]()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    reconciler = lab.reconciler(clock=times.__next__, pause=pause)
    await lab.request_run()
    while await reconciler.run_once():
        pass
    assert len(pauses) > 4
    assert set(pauses) == {0.25, 1.0}
    assert pauses[:2] == [0.25, 1.0]
