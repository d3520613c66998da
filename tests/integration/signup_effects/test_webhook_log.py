"""The delivery log of signup's webhook subscribers, the replay, and the order of one user's events."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import httpx
import pytest

from services.signup.erasure.erase import erase
from services.signup.outbox import webhook_deliveries
from tests.support.apis import Api
from tests.support.overdue import overdue_seconds
from tests.support.relays import LoneRelay
from tests.support.signups import SignupLedger
from tests.support.subscriber import SubscriberStandIn
from tests.support.webhooks import deliveries, replay, subscribe

MakeRelay = Callable[..., LoneRelay]
ALL = ("user.signed_up", "user.imported", "user.verified", "user.erased")
IN_ORDER = ["user.signed_up", "user.verified", "user.erased"]
BEGINNING = "2020-01-01T00:00:00Z"


async def live_through(ledger: SignupLedger, client: httpx.AsyncClient, *emails: str) -> list[str]:
    """Sign up, verify and erase users. Returns their IDs."""
    users = []
    for signed_up, email in zip(await ledger.sign_up(*emails), emails, strict=True):
        await client.post("/v1/verifications", json={"token": await ledger.token(email)})
        await erase(ledger.pool, signed_up.user["id"], "test", ledger.policy)
        users.append(str(signed_up.user["id"]))
    return users


def of_each_user(subscriber: SubscriberStandIn) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for event in subscriber.events():
        found.setdefault(event["data"]["id"], []).append(event["type"])
    return found


def received(subscriber: SubscriberStandIn) -> dict[str, bytes]:
    return {call.headers["webhook-id"]: call.body for call in subscriber.received}


async def make_due(ledger: SignupLedger) -> None:
    await ledger.run("UPDATE outbox SET due_at = now() WHERE effect = 'webhook' AND state = 'pending'")


@pytest.mark.promise("webhooks")
async def test_a_subscriber_gets_the_events_of_one_user_in_their_order(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn
) -> None:
    await subscribe(client, subscriber.url, *ALL)
    users = await live_through(ledger, client, "asa@example.org", "bo@example.org")
    subscriber.answer_with = 400
    relay = relay_for("webhook")
    await relay.run_once()
    # The later events of a user are not even tried before the first.
    assert of_each_user(subscriber) == dict.fromkeys(users, IN_ORDER[:1])
    assert sorted(row["attempts"] for row in await ledger.rows("outbox", effect="webhook")) == [0, 0, 0, 0, 1, 1]
    subscriber.answer_with = 200
    subscriber.received.clear()
    await ledger.run("UPDATE outbox SET due_at = now() + interval '1 hour' WHERE payload ->> 'event' = $1", IN_ORDER[0])
    await ledger.run(
        "UPDATE outbox SET due_at = now() WHERE payload ->> 'event' <> $1 AND effect = 'webhook'", IN_ORDER[0]
    )
    await relay.run_once()
    assert subscriber.received == [], "what is due is later than what is not"
    await make_due(ledger)
    await relay.run_once()
    assert of_each_user(subscriber) == dict.fromkeys(users, IN_ORDER)


async def test_a_dead_event_holds_up_no_later_one(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn
) -> None:
    await subscribe(client, subscriber.url, *ALL)
    await live_through(ledger, client, "asa@example.org")
    subscriber.answer_with = 400
    await ledger.run("UPDATE outbox SET expires_at = now() WHERE payload ->> 'event' = $1", IN_ORDER[0])
    relay = relay_for("webhook")
    await relay.run_once()
    subscriber.answer_with = 200
    subscriber.received.clear()
    await make_due(ledger)
    await relay.run_once()
    assert [event["type"] for event in subscriber.events()] == IN_ORDER[1:]


async def test_a_replay_has_the_same_ids_and_bytes_in_the_order_of_each_user(
    ledger: SignupLedger,
    client: httpx.AsyncClient,
    relay_for: MakeRelay,
    subscriber: SubscriberStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook_deliveries, "_BATCH", 2)
    created = await subscribe(client, subscriber.url, *ALL)
    users = await live_through(ledger, client, "asa@example.org", "bo@example.org")
    relay = relay_for("webhook")
    await relay.run_once()
    first = received(subscriber)
    assert len(first) == 6
    for _ in range(2):
        subscriber.received.clear()
        assert await replay(client, created["id"], **{"from": created["created_at"]}) == {"replayed": 6, "more": False}
        # A second call adds nothing while the first one's deliveries wait.
        assert await replay(client, created["id"], **{"from": BEGINNING}) == {"replayed": 0, "more": False}
        await relay.run_once()
        assert received(subscriber) == first
        assert len(subscriber.received) == 6
        assert of_each_user(subscriber) == dict.fromkeys(users, IN_ORDER)
    log = await deliveries(client, created["id"])
    assert [line["id"] for line in log] == sorted(first, reverse=True), "each ID has one line"
    noted = await ledger.rows("history", kind="webhook.replayed")
    assert [(line["subject"], line["detail"]["replayed"]) for line in noted] == [
        (created["id"], 6),
        (created["id"], 0),
    ] * 2


async def test_a_replay_of_old_events_is_not_late_before_it_is_due_for_long(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *ALL)
    await ledger.sign_up("asa@example.org", "bo@example.org")
    await ledger.run("UPDATE outbox SET created_at = created_at - interval '3 days' WHERE effect = 'webhook'")
    await relay_for("webhook").run_once()
    assert (await replay(client, created["id"], **{"from": BEGINNING}))["replayed"] == 2
    assert max((await overdue_seconds(ledger.pool, "webhook")).values()) < 60
    await ledger.run("UPDATE outbox SET due_at = due_at - interval '16 minutes' WHERE effect = 'webhook'")
    assert min((await overdue_seconds(ledger.pool, "webhook")).values()) >= 16 * 60


async def test_a_replay_brings_back_what_was_given_up_and_what_was_canceled(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *ALL)
    await ledger.sign_up("asa@example.org", "bo@example.org")
    dead, canceled = await ledger.rows("outbox", effect="webhook")
    relay = relay_for("webhook")
    subscriber.answer_with = 400
    await ledger.run("UPDATE outbox SET expires_at = now() WHERE id = $1", dead["id"])
    await ledger.run("UPDATE outbox SET due_at = now() + interval '1 hour' WHERE id = $1", canceled["id"])
    await relay.run_once()
    subscriber.answer_with = 410
    await make_due(ledger)
    await relay.run_once()
    log = {line["id"]: line for line in await deliveries(client, created["id"])}
    assert (log[str(dead["id"])]["state"], log[str(canceled["id"])]["state"]) == ("dead", "canceled")
    assert log[str(dead["id"])]["last_status"] == 400
    assert log[str(canceled["id"])]["last_error"] == "The subscriber answered 410 Gone"
    path = f"/v1/webhooks/{created['id']}"
    answer = await client.post(f"{path}/replay", json={"from": BEGINNING})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/subscriber-disabled")
    await client.post(f"{path}/enable")
    subscriber.answer_with = 200
    subscriber.received.clear()
    assert (await replay(client, created["id"], **{"from": BEGINNING}))["replayed"] == 2
    await relay.run_once()
    assert set(subscriber.ids()) == {str(dead["id"]), str(canceled["id"])}
    assert {line["state"] for line in await deliveries(client, created["id"])} == {"delivered"}


async def test_a_replay_is_of_a_span_and_of_the_events_that_were_asked_for(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *ALL)
    other = await subscribe(client, subscriber.url, "user.verified")
    await live_through(ledger, client, "asa@example.org", "bo@example.org")
    relay = relay_for("webhook")
    await relay.run_once()
    times = sorted(datetime.fromisoformat(line["created_at"]) for line in await deliveries(client, created["id"]))
    for body, expected in (
        ({"from": times[-1].isoformat()}, 1),
        ({"from": (times[-1] + timedelta(microseconds=1)).isoformat()}, 0),
        ({"from": BEGINNING, "to": times[-1].isoformat()}, 5),
        ({"from": BEGINNING, "events": ["user.erased"]}, 2),
        ({"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"}, 6),
    ):
        subscriber.received.clear()
        answer = await replay(client, created["id"], **body)
        await relay.run_once()
        assert (answer["replayed"], len(subscriber.received)) == (expected, expected), body
    assert (await replay(client, other["id"], **{"from": BEGINNING}))["replayed"] == 2
    refused = await client.post(
        f"/v1/webhooks/{other['id']}/replay", json={"from": BEGINNING, "events": ["user.erased"]}
    )
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/events/0"]


async def test_a_replayed_delivery_is_no_violation_and_no_check_removes_it(
    ledger: SignupLedger,
    signup_api: Api,
    client: httpx.AsyncClient,
    relay_for: MakeRelay,
    subscriber: SubscriberStandIn,
) -> None:
    created = await subscribe(client, subscriber.url, *ALL)
    await ledger.sign_up("asa@example.org")
    await relay_for("webhook").run_once()
    await replay(client, created["id"], **{"from": BEGINNING})
    results = await signup_api.http.post("/audit/checks/run", headers=await signup_api.key("operator", "audit:operate"))
    found = {result["name"]: result["violations"] for result in results.json()["items"]}
    assert found["settled_and_owed"] == 0
    assert len(await ledger.rows("outbox", effect="webhook")) == 1


async def test_the_log_is_filtered_and_paged_newest_first(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *ALL)
    users = await live_through(ledger, client, "asa@example.org")
    await relay_for("webhook").run_once()
    await ledger.sign_up("bo@example.org")
    log = await deliveries(client, created["id"])
    assert [(line["event"], line["state"]) for line in log] == [
        ("user.signed_up", "pending"),
        *((event, "delivered") for event in reversed(IN_ORDER)),
    ]
    assert {line["subject_id"] for line in log[1:]} == set(users)
    assert [line["last_status"] for line in log] == [None, 204, 204, 204]
    assert [line["attempts"] for line in log] == [0, 1, 1, 1]
    ids = [line["id"] for line in log]
    paged: list[str] = []
    page: dict[str, str] = {}
    while True:
        answer = await client.get(f"/v1/webhooks/{created['id']}/deliveries", params={"limit": "3", **page})
        paged += [line["id"] for line in answer.json()["items"]]
        if answer.json()["next_cursor"] is None:
            break
        page = {"cursor": answer.json()["next_cursor"]}
    assert paged == ids
    for filters, expected in (
        ({"state": "pending"}, ids[:1]),
        ({"state": "canceled"}, []),
        ({"event": ["user.erased", "user.verified"]}, ids[1:3]),
        ({"after": log[1]["created_at"]}, ids[:2]),
        ({"before": log[1]["created_at"]}, ids[2:]),
    ):
        assert [line["id"] for line in await deliveries(client, created["id"], **filters)] == expected, filters


async def test_the_log_and_the_replay_are_the_owners_alone(
    signup_api: Api, client: httpx.AsyncClient, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *ALL)
    path = f"/v1/webhooks/{created['id']}"
    other = await signup_api.key("other", "webhooks:manage")
    for _ in range(2):
        assert (await signup_api.http.get(f"{path}/deliveries", headers=other)).status_code == 404
        answer = await signup_api.http.post(f"{path}/replay", headers=other, json={"from": BEGINNING})
        assert answer.status_code == 404
        await client.delete(path)
        other = dict(client.headers)


async def test_two_workers_do_not_overtake_each_other(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn
) -> None:
    await subscribe(client, subscriber.url, *ALL)
    users = await live_through(ledger, client, *(f"p{n}@example.org" for n in range(6)))
    one, other = relay_for("webhook"), relay_for("webhook")
    one.relay._batch = one.relay._max_batch = other.relay._batch = other.relay._max_batch = 4
    while await ledger.rows("outbox", effect="webhook"):
        await make_due(ledger)
        await asyncio.gather(one.run_once(), other.run_once())
    assert of_each_user(subscriber) == dict.fromkeys(users, IN_ORDER)
