"""Signup's own ledger of mail outcomes, as the change feed reports them."""

import asyncpg
import httpx
import pytest

from services.signup.mail_service import MailService
from services.signup.reconciliation.feed_follower import FeedFollower
from shared.worker.circuit_breaker import Breaker, BreakerPolicy, BreakerState
from tests.support.reconciliation_lab import INSERT_UNREQUESTED_MAILS, Laboratory

OUTCOMES = "SELECT request_id, state, sent_at, message_id, failure_code FROM mail_outcomes ORDER BY request_id"
REPORT = """
INSERT INTO history (kind, subject, actor, detail)
SELECT 'mail.' || $2::text, id::text, 'test', jsonb_build_object('state', $2::text, 'code', 550) FROM mails
WHERE request_id = $1
"""


async def test_the_ledger_knows_when_every_mail_was_sent(lab: Laboratory) -> None:
    ids = await lab.mailed(3)
    ledger = await lab.mails()
    outcomes = await lab.pool.fetch(OUTCOMES)
    assert [outcome["request_id"] for outcome in outcomes] == [str(request_id) for request_id in ids]
    for outcome in outcomes:
        mail = ledger[outcome["request_id"]]
        assert (outcome["state"], outcome["sent_at"]) == ("sent", mail["sent_at"])
        assert outcome["message_id"] == mail["message_id"]


async def test_the_last_of_several_changes_counts_and_its_code_is_kept(lab: Laboratory) -> None:
    await lab.ledger.sign_up("asa@x.example")
    (row,) = await lab.ledger.rows("outbox", effect="mail")
    await lab.hand_over()
    for state in ("deferred", "failed"):
        await lab.mail.database.pool.execute(REPORT, str(row["id"]), state)
    await lab.follow()
    (outcome,) = await lab.pool.fetch(OUTCOMES)
    assert (outcome["state"], outcome["failure_code"], outcome["sent_at"]) == ("failed", 550, None)


@pytest.mark.promise("P6")
async def test_that_a_mail_was_sent_is_never_taken_back(lab: Laboratory) -> None:
    (request_id,) = await lab.mailed(1)
    (sent,) = await lab.pool.fetch(OUTCOMES)
    # The mail service's ledger went back in time and has the mail in its queue again.
    await lab.mail.database.pool.execute("UPDATE mails SET state = 'queued', sent_at = NULL, next_attempt_at = now()")
    await lab.mail.database.pool.execute(REPORT, str(request_id), "queued")
    await lab.follow()
    (outcome,) = await lab.pool.fetch(OUTCOMES)
    assert (outcome["state"], outcome["sent_at"]) == ("queued", sent["sent_at"])


async def test_outcomes_of_unexpected_mails_are_stored_too(lab: Laboratory) -> None:
    await lab.mail.database.pool.execute(INSERT_UNREQUESTED_MAILS, ["not a UUID"])
    await lab.mail.database.pool.execute(REPORT, "not a UUID", "sent")
    await lab.follow()
    assert [outcome["request_id"] for outcome in await lab.pool.fetch(OUTCOMES)] == ["not a UUID"]


@pytest.mark.promise("P6")
async def test_a_page_that_was_read_from_another_cursor_is_not_stored(lab: Laboratory) -> None:
    (request_id,) = await lab.mailed(1)
    cursor = await lab.pool.fetchval("SELECT cursor FROM mail_feed")
    stale = lab.follower()
    page = await lab.mail_service.changes(None, 500)
    await lab.pool.execute("UPDATE mail_outcomes SET state = 'bounced' WHERE request_id = $1", str(request_id))
    await stale._keep(None, page.next_cursor, page.items)
    assert await lab.pool.fetchval("SELECT state FROM mail_outcomes") == "bounced"
    assert await lab.pool.fetchval("SELECT cursor FROM mail_feed") == cursor


async def test_a_lost_cursor_starts_again_from_the_beginning_and_requests_a_reconciliation(lab: Laboratory) -> None:
    await lab.mailed(2)
    owner = await asyncpg.connect(lab.mail.owner_url)
    await owner.execute("ALTER TABLE history DISABLE TRIGGER history_is_append_only")
    # As after a restore to an earlier time: the newest lines are missing.
    await owner.execute("DELETE FROM history WHERE kind = 'mail.sent'")
    await owner.close()
    await lab.follow()
    assert {outcome["state"] for outcome in await lab.pool.fetch(OUTCOMES)} == {"queued"}
    assert None not in {outcome["sent_at"] for outcome in await lab.pool.fetch(OUTCOMES)}
    (note,) = await lab.ledger.rows("history", kind="feed.cursor_lost")
    (run,) = await lab.pool.fetch("SELECT id, state, repair FROM reconciliation_runs")
    assert (note["related"], run["state"], run["repair"]) == ([str(run["id"])], "running", True)


async def test_during_an_outage_of_the_mail_service_the_cursor_stays(lab: Laboratory) -> None:
    await lab.mailed(1)
    cursor = await lab.pool.fetchval("SELECT cursor FROM mail_feed")
    down = httpx.AsyncClient(transport=httpx.MockTransport(lambda _request: httpx.Response(503)), base_url="http://m")
    breaker = Breaker("feed", BreakerPolicy(faults_to_open=2))
    follower = FeedFollower(lab.pool, MailService(down, timeout_seconds=1), breaker, lag_seconds=0)
    for _ in range(3):
        assert not await follower.run_once()
    assert breaker.state is BreakerState.OPEN
    assert await lab.pool.fetchval("SELECT cursor FROM mail_feed") == cursor
    await down.aclose()


@pytest.mark.parametrize(
    ("said", "more"), [({"more": True}, True), ({"more": False}, False), ({}, False)], ids=["more", "all", "unsaid"]
)
async def test_a_short_page_with_more_behind_it_is_not_the_end(
    lab: Laboratory, said: dict[str, bool], *, more: bool
) -> None:
    page = {"items": [], "next_cursor": "behind-others", **said}
    peer = httpx.MockTransport(lambda _request: httpx.Response(200, json=page))
    async with httpx.AsyncClient(transport=peer, base_url="http://m") as http:
        follower = FeedFollower(lab.pool, MailService(http, timeout_seconds=1), Breaker("feed"), lag_seconds=0)
        assert await follower.run_once() == more
    assert await lab.pool.fetchval("SELECT cursor FROM mail_feed") == "behind-others"


async def test_while_nothing_changes_it_reads_less_often_and_a_change_ends_that(lab: Laboratory) -> None:
    follower = lab.follower()
    pauses = []
    for _ in range(5):
        await follower.run_once()
        pauses.append(follower.pause_seconds())
    assert pauses == [0.5, 1.0, 2.0, 4.0, 5.0]  # the first page has the cursor of the beginning
    await lab.mail.database.pool.execute(INSERT_UNREQUESTED_MAILS, ["another"])
    await lab.mail.database.pool.execute(REPORT, "another", "sent")
    await follower.run_once()
    assert follower.pause_seconds() == 0.5
