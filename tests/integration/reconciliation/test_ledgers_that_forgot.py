"""A ledger that went back in time or lost rows: a mail that either ledger knows as sent is not sent again."""

from shared.contract.ids import UUID
from tests.support.reconciliation_lab import Laboratory, counts


async def _wait_again(lab: Laboratory, count: int) -> None:
    """Takes the mail service's ledger back to a time, long ago, at which this many mails were not sent yet."""
    back = """
    WITH back AS (
        UPDATE mails SET state = 'queued', sent_at = NULL, next_attempt_at = now() - interval '2 hours'
        WHERE id IN (SELECT id FROM mails ORDER BY id LIMIT $1) RETURNING id
    )
    INSERT INTO queue (mail_id, lane, due_at) SELECT id, 'live', now() FROM back
    """
    await lab.mail.database.pool.execute(back, count)


async def test_sent_mails_that_wait_in_the_queue_again_are_different_and_leave_it(lab: Laboratory) -> None:
    await lab.mailed(4)
    before = await lab.mails()
    await _wait_again(lab, 3)
    run = await lab.run(repair=False)
    assert (counts(run), run["repaired"]) == ({"different": 3}, {})
    assert {example["reason"] for example in run["examples"]["different"]} == {"differs in state"}
    run = await lab.run()
    assert (counts(run), run["repaired"]) == ({"different": 3}, {"different": 3})
    after = await lab.mails()
    for request_id in await lab.named("different"):
        same = ("id", "state", "sent_at", "message_id", "fingerprint", "to_email")
        assert [after[request_id][name] for name in same] == [before[request_id][name] for name in same]
        assert after[request_id]["restored"]
    assert await lab.mail.database.pool.fetchval("SELECT count(*) FROM queue") == 0, "nothing is sent again"
    assert len(await lab.ledger.rows("history", kind="mail.record_restored")) == 3
    assert (await lab.run())["verdict"] == "balanced"


async def test_lost_mails_and_mails_that_wait_again_are_repaired_in_one_run_and_both_are_counted(
    lab: Laboratory,
) -> None:
    ids = await lab.mailed(5)
    await _wait_again(lab, 2)
    await lab.forget(ids[2:], without_trace=True)
    run = await lab.run()
    assert counts(run) == run["repaired"] == {"lost_records": 3, "different": 2}
    assert {mail["state"] for mail in (await lab.mails()).values()} == {"sent"}
    assert (await lab.run())["verdict"] == "balanced"


async def test_a_mail_that_waits_again_for_another_recipient_is_not_repaired(lab: Laboratory) -> None:
    await lab.mailed(1)
    await _wait_again(lab, 1)
    await lab.mail.database.pool.execute("UPDATE mails SET to_email = 'eve@x.example', to_key = 'eve@x.example'")
    run = await lab.run()
    assert (counts(run), run["repaired"]) == ({"different": 1}, {})
    assert run["examples"]["different"][0]["reason"] == "differs in recipient, state"
    assert counts(await lab.run()) == {"known": 1}


async def test_a_mail_that_was_sent_and_deleted_before_the_feed_reported_it_is_written_back(lab: Laboratory) -> None:
    await lab.ledger.sign_up("asa@x.example", "bo@x.example")
    owed = [str(row["id"]) for row in await lab.ledger.rows("outbox", effect="mail")]
    await lab.hand_over()
    await lab.follow()
    before = await lab.mails()
    await lab.deliver()
    await lab.forget([UUID(request_id) for request_id in owed])
    run = await lab.run()
    assert (counts(run), run["repaired"]) == ({"lost_records": 2}, {"lost_records": 2})
    assert await lab.named("lost_records") == set(owed)
    assert await lab.ledger.rows("outbox", effect="mail") == [], "nothing is requested again"
    after = await lab.mails()
    same = ("id", "to_key", "message_id", "fingerprint")
    assert [[after[key][name] for name in same] for key in owed] == [
        [before[key][name] for name in same] for key in owed
    ]
    assert {mail["state"] for mail in after.values()} == {"sent"}
    assert await lab.mail.database.pool.fetchval("SELECT count(*) FROM queue") == 0
    outcomes = await lab.pool.fetch("SELECT state, sent_at FROM mail_outcomes")
    assert {outcome["state"] for outcome in outcomes} == {"sent"}
    assert None not in {outcome["sent_at"] for outcome in outcomes}
    assert (await lab.run())["verdict"] == "balanced"


async def test_an_uncertain_mail_that_was_deleted_before_the_feed_reported_it_is_only_reported(lab: Laboratory) -> None:
    (request_id,) = await lab.mailed(1)
    await lab.pool.execute("UPDATE mail_outcomes SET sent_at = NULL, state = 'queued'")
    uncertain = "UPDATE mails SET state = 'uncertain', sent_at = NULL, failure_reason = 'x'"
    await lab.mail.database.pool.execute(uncertain)
    await lab.forget([request_id])
    run = await lab.run()
    assert (counts(run), run["repaired"]) == ({"missing": 1}, {})
    assert run["examples"]["missing"][0]["reason"] == "was uncertain there"
    assert await lab.ledger.rows("outbox", effect="mail") == []


async def test_a_mail_that_was_being_sent_when_its_row_was_deleted_is_not_requested_again(lab: Laboratory) -> None:
    await lab.ledger.sign_up("asa@x.example")
    (owed,) = [row["id"] for row in await lab.ledger.rows("outbox", effect="mail")]
    await lab.hand_over()
    await lab.follow()
    await lab.mail.database.pool.execute("UPDATE mails SET state = 'sending'")
    await lab.forget([owed])
    run = await lab.run()
    assert (counts(run), run["repaired"]) == ({"missing": 1}, {})
    assert run["examples"]["missing"][0]["reason"] == "was being sent there: it may have left"
    assert await lab.ledger.rows("outbox", effect="mail") == []
    assert counts(await lab.run()) == {"known": 1}
