"""The delivery log of a subscriber of the mail service, and the replay from a point in time."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from services.mail.webhooks import deliveries as deliveries_module
from services.mail.webhooks import notifier as notifier_module
from services.mail.webhooks.events import EVENTS
from tests.support.apis import Api
from tests.support.mail_events import MailEvents
from tests.support.notifiers import LoneNotifier
from tests.support.subscriber import SubscriberStandIn
from tests.support.webhooks import deliveries, replay, subscribe

BEGINNING = "2020-01-01T00:00:00Z"


async def deliver_six(
    events: MailEvents, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> list[tuple[str, bytes]]:
    """Three events of each of two mails. Returns IDs and bodies as they were received."""
    for mail in await events.mails(2):
        for kind in ("mail.deferred", "mail.sent", "mail.delivered"):
            await events.tell(kind, mail, code=250)
    await notifier.run()
    assert len(subscriber.received) == 6
    return received(subscriber)


def received(subscriber: SubscriberStandIn) -> list[tuple[str, bytes]]:
    return [(call.headers["webhook-id"], call.body) for call in subscriber.received]


async def test_a_replay_has_the_same_ids_and_bytes_in_the_order_of_each_mail(
    events: MailEvents, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *EVENTS)
    first = await deliver_six(events, notifier, subscriber)
    for _ in range(2):
        subscriber.received.clear()
        assert await replay(client, created["id"], **{"from": created["created_at"]}) == {"replayed": 6, "more": False}
        await notifier.run()
        assert dict(received(subscriber)) == dict(first)
        assert len(subscriber.received) == 6
        for mail in {event["data"]["id"] for event in subscriber.events()}:
            types = [event["type"] for event in subscriber.events() if event["data"]["id"] == mail]
            assert types == ["mail.deferred", "mail.sent", "mail.delivered"]
    log = await deliveries(client, created["id"])
    assert len(log) == 6, "each ID has one line, its last"
    noted = await events.pool.fetch("SELECT subject, detail::text FROM history WHERE kind = 'webhook.replayed'")
    assert [row["subject"] for row in noted] == [created["id"]] * 2
    assert '"replayed": 6' in noted[0]["detail"]
    assert await events.pool.fetchval("SELECT count(*) FROM webhook_feeds WHERE replay") == 0


async def test_a_replay_is_of_a_span_and_of_the_events_that_were_asked_for(
    events: MailEvents, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *EVENTS)
    await deliver_six(events, notifier, subscriber)
    times = [datetime.fromisoformat(event["timestamp"]) for event in subscriber.events()]
    ordered = sorted(times)
    for body, expected in (
        ({"from": ordered[2].isoformat()}, 4),
        ({"from": (ordered[2] + timedelta(microseconds=1)).isoformat()}, 3),
        ({"from": BEGINNING, "to": ordered[2].isoformat()}, 2),
        ({"from": BEGINNING, "events": ["mail.delivered"]}, 2),
        ({"from": (ordered[5] + timedelta(days=400)).isoformat()}, 0),
        ({"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"}, 6),
    ):
        subscriber.received.clear()
        answer = await replay(client, created["id"], **body)
        await notifier.run()
        assert (answer["replayed"], len(subscriber.received)) == (expected, expected), body


async def test_a_replay_adds_nothing_that_waits_and_the_same_one_again_is_the_same(
    events: MailEvents, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *EVENTS)
    await notifier.run()
    subscriber.answer_with = 500
    for mail in await events.mails(3):
        await events.tell("mail.sent", mail)
    await notifier.run()
    for _ in range(3):
        await replay(client, created["id"], **{"from": created["created_at"]})
    assert await events.pool.fetchval("SELECT count(*) FROM webhook_feeds WHERE replay") == 1
    await notifier.run()
    assert len(await events.waiting()) == 3
    subscriber.answer_with = 200
    subscriber.received.clear()
    await events.make_due()
    notifier.let_probe()
    await notifier.run()
    assert len(subscriber.received) == len(set(subscriber.ids())) == 3


async def test_a_long_replay_is_handed_over_piece_by_piece_and_leaves_room_for_what_happens(
    events: MailEvents,
    client: httpx.AsyncClient,
    notifier: LoneNotifier,
    subscriber: SubscriberStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notifier_module, "MAX_REPLAYED", 2)
    monkeypatch.setattr(deliveries_module, "_MAX_COUNTED", 4)
    created = await subscribe(client, subscriber.url, *EVENTS)
    first = await deliver_six(events, notifier, subscriber)
    subscriber.received.clear()
    assert await replay(client, created["id"], **{"from": created["created_at"]}) == {"replayed": 4, "more": True}
    subscriber.answer_with = 500
    await notifier.run()
    assert len(await events.waiting()) == 2
    (mail,) = await events.mails()
    entry = await events.tell("mail.sent", mail)
    await notifier.run()
    assert len(await events.waiting()) == 3
    subscriber.answer_with = 200
    subscriber.received.clear()
    for _ in range(4):
        await events.make_due()
        notifier.let_probe()
        await notifier.run()
    assert dict(received(subscriber)).keys() == {*dict(first), str(entry)}


async def test_a_replay_that_ended_with_a_disabled_subscriber_begins_anew_when_it_is_asked_for_again(
    events: MailEvents,
    client: httpx.AsyncClient,
    notifier: LoneNotifier,
    subscriber: SubscriberStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notifier_module, "MAX_REPLAYED", 2)
    created = await subscribe(client, subscriber.url, *EVENTS)
    first = await deliver_six(events, notifier, subscriber)
    for answer in (410, 200):
        subscriber.received.clear()
        await client.post(f"/v1/webhooks/{created['id']}/enable")
        await replay(client, created["id"], **{"from": BEGINNING})
        subscriber.answer_with = answer
        await notifier.run()
    assert dict(received(subscriber)) == dict(first)
    assert await events.pool.fetchval("SELECT count(*) FROM webhook_feeds WHERE replay") == 0


async def test_only_so_many_replays_of_a_subscriber_are_under_way(
    events: MailEvents, client: httpx.AsyncClient, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *EVENTS)
    path = f"/v1/webhooks/{created['id']}/replay"
    answers = [await client.post(path, json={"from": f"2026-01-{day:02}T00:00:00Z"}) for day in range(1, 12)]
    assert [answer.status_code for answer in answers] == [202] * 10 + [409]
    assert answers[-1].json()["type"] == "/problems/too-many-replays"
    assert await events.pool.fetchval("SELECT count(*) FROM history WHERE kind = 'webhook.replayed'") == 10


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/from"),
        ({"from": "yesterday"}, "/from"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "/to"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-02T00:00:00Z"}, "/to"),
        ({"from": "2026-01-02T00:00:00Z", "events": ["mail.failed"]}, "/events/0"),
        ({"from": "2026-01-02T00:00:00Z", "events": ["mail.opened"]}, "/events/0"),
        ({"from": "2026-01-02T00:00:00Z", "events": []}, "/events"),
        ({"from": "2026-01-02T00:00:00Z", "since": "2026-01-02T00:00:00Z"}, "/since"),
    ],
)
async def test_a_replay_that_makes_no_sense_is_refused_and_leaves_nothing(
    events: MailEvents, client: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    created = await subscribe(client, "http://127.0.0.1:9/", "mail.sent")
    answer = await client.post(f"/v1/webhooks/{created['id']}/replay", json=body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert await events.pool.fetchval("SELECT count(*) FROM webhook_feeds WHERE replay") == 0


async def test_the_log_is_listed_newest_first_and_filtered(
    events: MailEvents, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *EVENTS)
    first = await deliver_six(events, notifier, subscriber)
    subscriber.answer_with = 400
    (mail,) = await events.mails()
    waiting = await events.tell("mail.failed", mail)
    await notifier.run()
    log = await deliveries(client, created["id"])
    assert log[0] | {"created_at": "", "due_at": ""} == {
        "id": str(waiting),
        "event": "mail.failed",
        "subject_id": str(mail),
        "state": "pending",
        "attempts": 1,
        "last_status": 400,
        "last_error": "The subscriber answered 400",
        "created_at": "",
        "delivered_at": None,
        "due_at": "",
    }
    ids = [line["id"] for line in log]
    assert ids == sorted([str(waiting), *dict(first)], reverse=True)
    paged: list[str] = []
    cursor: str | None = None
    while True:
        page = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        answer = (await client.get(f"/v1/webhooks/{created['id']}/deliveries", params=page)).json()
        paged += [line["id"] for line in answer["items"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert paged == ids
    for filters, expected in (
        ({"state": "pending"}, [ids[0]]),
        ({"state": "dead"}, []),
        ({"state": ["delivered", "dead"]}, ids[1:]),
        ({"event": "mail.failed"}, [ids[0]]),
        ({"event": ["mail.failed", "mail.delivered"]}, [ids[0], ids[1], ids[4]]),
        ({"after": log[1]["created_at"]}, ids[:2]),
        ({"before": log[1]["created_at"]}, ids[2:]),
        ({"after": log[3]["created_at"], "before": log[1]["created_at"]}, ids[2:4]),
        ({"after": "0001-01-01T00:00:00Z", "before": "9999-12-31T23:59:59Z"}, ids),
    ):
        assert [line["id"] for line in await deliveries(client, created["id"], **filters)] == expected, filters


async def test_a_delivery_that_is_replayed_stands_in_the_log_as_it_is_now(
    events: MailEvents, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *EVENTS)
    await deliver_six(events, notifier, subscriber)
    await replay(client, created["id"], **{"from": created["created_at"]})
    subscriber.answer_with = 400
    await notifier.run()
    log = await deliveries(client, created["id"])
    # Of each mail, the second and the third event wait for the first.
    assert [line["state"] for line in log] == ["pending"] * 6
    assert await deliveries(client, created["id"], state="delivered") == []


async def test_subscribers_belong_to_the_client_that_made_them(
    mail_api: Api, client: httpx.AsyncClient, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *EVENTS)
    path = f"/v1/webhooks/{created['id']}"
    assert [item["id"] for item in (await client.get("/v1/webhooks")).json()["items"]] == [created["id"]]
    other = await mail_api.key("other", "webhooks:manage", "mails:all")
    reader = await mail_api.key("tests", "mails:read")
    assert (await mail_api.http.get("/v1/webhooks", headers=other)).json()["items"] == []
    for method, url, body in (
        ("GET", path, None),
        ("GET", f"{path}/deliveries", None),
        ("DELETE", path, None),
        ("POST", f"{path}/rotate-secret", None),
        ("POST", f"{path}/enable", None),
        ("POST", f"{path}/replay", {"from": BEGINNING}),
    ):
        assert (await mail_api.http.request(method, url, headers=other, json=body)).status_code == 404
        assert (await mail_api.http.request(method, url, headers=reader, json=body)).status_code == 403
