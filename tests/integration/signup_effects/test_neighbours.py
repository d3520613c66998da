"""Several effects of one event: each is owed once per event, and fails alone (P3)."""

from collections.abc import Callable

import httpx
import pytest

from tests.support.relays import LoneRelay
from tests.support.signups import SignupLedger
from tests.support.subscriber import SubscriberStandIn

MakeRelay = Callable[..., LoneRelay]


async def owed(ledger: SignupLedger) -> list[tuple[str, str | None]]:
    return sorted((row["effect"], row["payload"].get("event")) for row in await ledger.rows("outbox"))


async def test_a_signup_owes_each_effect_and_each_subscriber_of_its_event_one_row(
    ledger: SignupLedger, client: httpx.AsyncClient
) -> None:
    for events in (["user.signed_up"], ["user.signed_up", "user.verified"], ["user.erased"]):
        await client.post("/v1/webhooks", json={"url": "https://hooks.example/", "events": events})
    await ledger.sign_up("asa@example.org")
    assert await owed(ledger) == [
        ("cache", "user.signed_up"),
        ("mail", None),
        ("stats", "user.signed_up"),
        ("webhook", "user.signed_up"),
        ("webhook", "user.signed_up"),
    ]


@pytest.mark.promise("P1")
async def test_a_verification_owes_its_effects_in_the_same_commit_and_only_once(
    ledger: SignupLedger, client: httpx.AsyncClient
) -> None:
    await client.post("/v1/webhooks", json={"url": "https://hooks.example/", "events": ["user.verified"]})
    await ledger.sign_up("asa@example.org")
    token = await ledger.token("asa@example.org")
    await ledger.run("UPDATE outbox SET effect = 'put_aside' WHERE effect <> 'mail'")
    for _ in range(2):
        await client.post("/v1/verifications", json={"token": token})
    assert [pair for pair in await owed(ledger) if pair[0] != "put_aside"] == [
        ("cache", "user.verified"),
        ("mail", None),
        ("mail", None),
        ("stats", "user.verified"),
        ("webhook", "user.verified"),
    ]


async def test_a_repeated_signup_is_as_much_work_but_counted_once(ledger: SignupLedger, relay_for: MakeRelay) -> None:
    await ledger.sign_up("asa@example.org")
    await ledger.sign_up("asa@example.org")
    assert [pair for pair in await owed(ledger) if pair[0] != "mail"] == [
        ("cache", "user.signed_up"),
        ("cache", "user.signed_up_again"),
        ("stats", "user.signed_up"),
        ("stats", "user.signed_up_again"),
    ]
    await relay_for("stats").run_once()
    assert await ledger.pool.fetchval("SELECT sum(count) FROM signup_statistics") == 1
    assert await ledger.rows("outbox", effect="stats") == []


async def test_an_anonymous_signup_of_a_verified_user_is_as_much_work_as_a_first_signup(ledger: SignupLedger) -> None:
    await ledger.sign_up("asa@example.org")
    await ledger.run("UPDATE users SET status = 'verified', verified_at = now(), stranger_mails = 0")
    await ledger.run("DELETE FROM outbox")
    await ledger.let_the_cooldown_pass()
    await ledger.sign_up("asa@example.org")
    assert await owed(ledger) == [("cache", "user.signed_up_again"), ("mail", None), ("stats", "user.signed_up_again")]


@pytest.mark.parametrize("failing", ["mail", "cache", "webhook"])
async def test_a_failing_effect_neither_blocks_nor_replays_another(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn, failing: str
) -> None:
    await client.post("/v1/webhooks", json={"url": subscriber.url, "events": ["user.signed_up"]})
    broken = {
        "mail": {"mail_url": "http://127.0.0.1:9"},
        "cache": {"redis_url": "redis://127.0.0.1:9/0"},
        "webhook": {},
    }
    relays = {
        name: relay_for(name, **(broken[name] if name == failing else {})) for name in ("stats", "cache", "webhook")
    }
    if failing == "mail":
        relays["mail"] = relay_for("mail")
    subscriber.answer_with = 500 if failing == "webhook" else 204
    await ledger.sign_up("asa@example.org")
    for _ in range(3):
        for relay in relays.values():
            await relay.run_once()
        await ledger.run("UPDATE outbox SET due_at = now() WHERE state = 'pending'")
    assert {row["effect"] for row in await ledger.rows("outbox")} == {failing, "mail"}
    settled = [row["effect"] for row in await ledger.rows("outbox_settled")]
    assert sorted(settled) == sorted({"stats", "cache", "webhook"} - {failing})
    assert await ledger.pool.fetchval("SELECT count FROM signup_statistics") == 1
    assert len(subscriber.received) == (3 if failing == "webhook" else 1)
