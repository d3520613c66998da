"""The outbox relay against a mail API that fails on command."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from services.signup.outbox import queries
from services.signup.outbox.retry_policy import ClaimedRow, Done, Obsolete, Outcome, Refused, TryLater
from shared.contract.ids import UUID, uuid7
from shared.worker.circuit_breaker import Breaker, BreakerState
from shared.worker.claim_floor import BEGINNING
from tests.support.mail_stand_in import MailStandIn, accepts, rejects
from tests.support.relays import LoneRelay
from tests.support.signups import SignupLedger

MakeRelay = Callable[..., LoneRelay]


async def test_a_delivered_row_moves_to_outbox_settled_with_its_receipt(
    ledger: SignupLedger, relay: LoneRelay, mail_api: MailStandIn
) -> None:
    (asa,) = await ledger.sign_up("asa@example.org")
    owed = await ledger.row("outbox")
    await relay.run_once()
    assert await ledger.rows("outbox") == []
    settled, entry = await ledger.row("outbox_settled"), await ledger.row("history", kind="outbox.delivered")
    assert (settled["id"], settled["payload"], settled["outcome"]) == (owed["id"], owed["payload"], "delivered")
    mail_id = f"mail-{owed['id']}"
    assert settled["result"] == {"mail_id": mail_id, "state": "queued", "fingerprint": "f" * 64}
    assert (settled["attempts"], settled["created_at"]) == (1, owed["created_at"])
    assert settled["correlation_id"] == entry["correlation_id"] == "because-of-asa@example.org"
    assert (entry["subject"], entry["related"]) == (str(owed["id"]), [str(asa.user["id"]), mail_id])
    assert mail_api.asked_for == [str(owed["id"])]
    assert "authorization: bearer " in mail_api.headers[0]
    assert relay.counts == {"delivered": 1}


@pytest.mark.promise("P3")
async def test_a_batch_is_one_request_and_one_bad_mail_spoils_only_itself(
    ledger: SignupLedger, relay: LoneRelay, mail_api: MailStandIn
) -> None:
    await ledger.sign_up(*(f"p{n}@example.org" for n in range(10)))
    bad = (await ledger.rows("outbox"))[3]
    mail_api.answer_for = lambda mail: (rejects(422) if mail["request_id"] == str(bad["id"]) else accepts)(mail)
    await relay.run_once()
    assert len(mail_api.requests) == 1
    assert len(await ledger.rows("outbox_settled")) == 9
    dead = await ledger.row("outbox")
    assert (dead["id"], dead["state"], dead["attempts"], dead["due_at"]) == (bad["id"], "dead", 1, None)
    assert (dead["last_error"], dead["lease"]) == ("422 No: because", None)
    entry = await ledger.row("history", kind="outbox.dead")
    assert (entry["subject"], entry["related"]) == (str(bad["id"]), [str(bad["user_id"])])
    assert "No: because" not in str(entry), "the mail service's answer may be personal data"
    await relay.run_once()
    assert len(mail_api.requests) == 1, "dead rows are not claimed"


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_temporary_refusal_of_one_mail_counts_an_attempt_and_waits(
    ledger: SignupLedger, relay: LoneRelay, mail_api: MailStandIn, status: int
) -> None:
    await ledger.sign_up("asa@example.org")
    mail_api.answer_for = rejects(status)
    await relay.run_once()
    row = await ledger.row("outbox")
    assert (row["state"], row["attempts"], row["lease"]) == ("pending", 1, None)
    assert row["last_error"] == f"{status} No: because"
    assert relay.breaker.state is BreakerState.CLOSED
    mail_api.answer_for = accepts
    await ledger.run("UPDATE outbox SET due_at = now()")
    await relay.run_once()
    assert (await ledger.row("outbox_settled"))["attempts"] == 2
    assert mail_api.requests[0] == mail_api.requests[1], "every retry sends the same request"


async def test_a_row_refused_after_its_expiry_becomes_dead(
    ledger: SignupLedger, relay: LoneRelay, mail_api: MailStandIn
) -> None:
    await ledger.sign_up("asa@example.org")
    await ledger.run("UPDATE outbox SET expires_at = now()")
    mail_api.answer_for = rejects(429)
    await relay.run_once()
    row = await ledger.row("outbox")
    assert row["state"] == "dead"
    assert "429 No" in row["last_error"]


@pytest.mark.promise("P9")
@pytest.mark.parametrize("fault", ["hang_up", "lose_answer", "hang", 500, 503, 401, 403, 404, 413, 301])
async def test_an_outage_costs_no_attempt_and_nothing_is_sent_twice_after_it(
    ledger: SignupLedger, relay: LoneRelay, mail_api: MailStandIn, fault: int | str
) -> None:
    await ledger.sign_up("asa@example.org", "bo@example.org")
    await ledger.run("UPDATE outbox SET expires_at = now()")
    mail_api.answer_with = fault
    for _ in range(3):
        await relay.run_once()
    rows = await ledger.rows("outbox")
    assert [(row["state"], row["attempts"], row["lease"]) for row in rows] == [("pending", 0, None)] * 2
    assert all(row["last_error"] for row in rows)
    assert relay.breaker.seconds_to_probe() == 0
    assert relay.breaker.allowance(2) == 1, "the breaker is open"
    relay.breaker.unused()
    mail_api.answer_with = 200
    while await ledger.rows("outbox"):
        await relay.run_once()
    assert relay.breaker.state is BreakerState.CLOSED
    assert sorted(set(mail_api.accepted)) == sorted(str(row["id"]) for row in rows)
    assert {row["attempts"] for row in await ledger.rows("outbox_settled")} == {1}


async def test_an_open_breaker_lets_one_row_out_as_a_probe(
    ledger: SignupLedger, relay: LoneRelay, mail_api: MailStandIn
) -> None:
    await ledger.sign_up(*(f"p{n}@example.org" for n in range(5)))
    mail_api.answer_with = 503
    for _ in range(3):
        await relay.run_once()
    assert [len(request["mails"]) for request in mail_api.requests] == [5, 2, 1]


async def test_an_unused_probe_is_returned_to_the_breaker(relay: LoneRelay) -> None:
    for _ in range(2):
        relay.breaker.faulted("down")
    assert await relay.run_once() is False
    assert relay.breaker.state is BreakerState.OPEN
    assert relay.breaker.allowance(1) == 1


async def test_a_row_that_crashes_the_peer_is_isolated_and_the_others_are_delivered(
    ledger: SignupLedger, relay: LoneRelay, mail_api: MailStandIn
) -> None:
    await ledger.sign_up(*(f"p{n}@example.org" for n in range(8)))
    poison = str((await ledger.rows("outbox"))[5]["id"])

    def crash_on_poison(mail: dict[str, Any]) -> dict[str, Any]:
        if mail["request_id"] == poison:
            raise ConnectionResetError
        return accepts(mail)

    mail_api.answer_for = crash_on_poison
    for _ in range(40):
        await relay.run_once()
    assert [str(row["id"]) for row in await ledger.rows("outbox")] == [poison]


async def test_a_mail_missing_from_the_answer_is_retried(
    ledger: SignupLedger, relay: LoneRelay, mail_api: MailStandIn
) -> None:
    await ledger.sign_up("asa@example.org")
    mail_api.answer_for = lambda _mail: None
    await relay.run_once()
    row = await ledger.row("outbox")
    assert (row["state"], row["attempts"]) == ("pending", 1)


async def test_a_row_whose_signing_key_is_missing_waits_without_a_request(
    ledger: SignupLedger, make_relay: MakeRelay, mail_api: MailStandIn
) -> None:
    await ledger.sign_up("asa@example.org")
    await make_relay(token_keys="n" * 32).run_once()
    row = await ledger.row("outbox")
    assert (row["state"], row["attempts"]) == ("pending", 1)
    assert "SIGNUP_TOKEN_KEYS" in row["last_error"]
    assert mail_api.requests == []


class Paused:
    """An effect that waits until the test resumes it."""

    name = "mail"

    def __init__(self, outcome: Outcome | None = None) -> None:
        self.reached, self.resume = asyncio.Event(), asyncio.Event()
        self.outcome = outcome or Done({"mail_id": "mine"})

    async def perform(self, entries: Sequence[ClaimedRow]) -> Mapping[UUID, Outcome]:
        self.reached.set()
        await self.resume.wait()
        return {entry.id: self.outcome for entry in entries}

    async def close(self) -> None: ...


@pytest.mark.promise("P8")
async def test_a_worker_that_lost_its_lease_changes_nothing_and_counts_it(
    ledger: SignupLedger, make_relay: MakeRelay
) -> None:
    await ledger.sign_up("asa@example.org")
    paused = Paused()
    zombie = LoneRelay(ledger.pool, paused, breaker=Breaker("mail"), batch=10, lease_seconds=0)
    slow = asyncio.create_task(zombie.run_once())
    await paused.reached.wait()
    rescuer = make_relay()
    await rescuer.run_once()
    paused.resume.set()
    await slow
    assert zombie.counts == {"delivered": 0, "lease_lost": 1}
    assert rescuer.counts == {"delivered": 1}
    assert (await ledger.row("outbox_settled"))["result"]["mail_id"] != "mine"
    assert len(await ledger.rows("history", kind="outbox.delivered")) == 1


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    "outcome", [Done({}), TryLater("busy"), Refused("no"), Obsolete("gone")], ids=lambda outcome: type(outcome).__name__
)
async def test_a_row_leased_by_another_worker_is_not_settled(ledger: SignupLedger, outcome: Outcome) -> None:
    await ledger.sign_up("asa@example.org")
    paused = Paused(outcome)
    zombie = LoneRelay(ledger.pool, paused, breaker=Breaker("mail"), batch=10, lease_seconds=30)
    slow = asyncio.create_task(zombie.run_once())
    await paused.reached.wait()
    other = uuid7()
    await ledger.run("UPDATE outbox SET lease = $1", other)
    paused.resume.set()
    await slow
    row = await ledger.row("outbox")
    assert (row["state"], row["lease"]) == ("leased", other)
    assert zombie.counts["lease_lost"] == 1


async def test_concurrent_relays_share_the_rows_and_request_no_mail_twice(
    ledger: SignupLedger, make_relay: MakeRelay, mail_api: MailStandIn
) -> None:
    await ledger.sign_up(*(f"p{n}@example.org" for n in range(100)))
    relays = [make_relay(batch=7) for _ in range(3)]

    async def work(relay: LoneRelay) -> None:
        while await relay.run_once():
            pass

    await asyncio.gather(*(work(relay) for relay in relays))
    assert len(mail_api.asked_for) == len(set(mail_api.asked_for)) == 100
    assert len(await ledger.rows("outbox_settled")) == 100
    assert sum(relay.counts["delivered"] for relay in relays) == 100


async def test_rows_locked_by_another_claim_are_skipped_without_waiting(
    ledger: SignupLedger, relay: LoneRelay, mail_api: MailStandIn
) -> None:
    await ledger.sign_up(*(f"p{n}@example.org" for n in range(10)))
    async with ledger.pool.acquire() as other, other.transaction():
        claimed = await other.fetch(queries.CLAIM_DUE, ["mail"], [6], [BEGINNING], [30.0], uuid7())
        async with asyncio.timeout(60):
            await relay.run_once()
    assert len(mail_api.asked_for) == 4
    assert not {str(row["id"]) for row in claimed} & set(mail_api.asked_for)


async def test_no_transaction_is_open_during_the_call_to_the_mail_service(ledger: SignupLedger) -> None:
    await ledger.sign_up("asa@example.org")
    paused = Paused()
    asking = asyncio.create_task(
        LoneRelay(ledger.pool, paused, breaker=Breaker("mail"), batch=10, lease_seconds=30).run_once()
    )
    await paused.reached.wait()
    open_transactions = await ledger.pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND (state LIKE 'idle in transaction%' OR state = 'active')"
    )
    paused.resume.set()
    await asking
    assert open_transactions == 0


@pytest.mark.promise("P3")
async def test_rows_of_another_effect_are_left_to_its_own_relay(
    ledger: SignupLedger, relay: LoneRelay, mail_api: MailStandIn
) -> None:
    await ledger.sign_up("asa@example.org")
    await ledger.run("UPDATE outbox SET effect = 'stats'")
    assert await relay.run_once() is False
    assert mail_api.requests == []
