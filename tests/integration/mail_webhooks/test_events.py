"""Which events a subscriber of the mail service gets, and what they say."""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from services.mail.delivery.smtp_outcomes import Step
from services.mail.http.document.events import MailEvent
from services.mail.webhooks.events import EVENTS
from tests.support.apis import Api
from tests.support.delivery import make_rig
from tests.support.mail_events import MailEvents
from tests.support.memory_gateway import ACCEPTED, MemoryGateway
from tests.support.notices import complaint, quoted_header, recipient_fields, report
from tests.support.notifiers import LoneNotifier
from tests.support.subscriber import SubscriberStandIn
from tests.support.webhooks import subscribe

RFC822 = {"Content-Type": "message/rfc822"}


async def test_each_event_is_signed_and_says_what_happened_to_a_mail_by_ids_only(
    events: MailEvents, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    secret = (await subscribe(client, subscriber.url, *EVENTS))["secret"]
    (mail,) = await events.mails()
    request_id = await events.pool.fetchval("SELECT request_id FROM mails WHERE id = $1", mail)
    await events.tell("mail.accepted", mail)
    entry = await events.tell(
        "mail.deferred", mail, code=450, enhanced_code="4.2.0", reason="<ada@example.test> is full"
    )
    await notifier.run()
    (received,) = subscriber.received
    event = Webhook(secret).verify(received.body, received.headers)
    assert received.headers["webhook-id"] == str(entry)
    assert event == {
        "type": "mail.deferred",
        "timestamp": event["timestamp"],
        "data": {"id": str(mail), "request_id": request_id, "state": "deferred", "code": 450, "enhanced_code": "4.2.0"},
    }
    assert datetime.fromisoformat(event["timestamp"]) <= datetime.now(UTC)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(received.body.replace(b"mail.", b"male."), received.headers)


KINDS: list[tuple[str, dict[str, Any], tuple[str, str] | None]] = [
    ("mail.sent", {}, ("mail.sent", "sent")),
    ("mail.deferred", {}, ("mail.deferred", "deferred")),
    ("mail.failed", {}, ("mail.failed", "failed")),
    ("mail.bounced", {}, ("mail.bounced", "bounced")),
    ("mail.uncertain", {}, ("mail.uncertain", "uncertain")),
    ("mail.suppressed", {}, ("mail.suppressed", "suppressed")),
    ("mail.expired", {}, ("mail.expired", "expired")),
    # Reports change no state: it is that of the entry before.
    ("mail.delivered", {}, ("mail.delivered", "queued")),
    ("mail.complained", {}, ("mail.complained", "queued")),
    ("mail.resolved", {"state": "sent", "as": "sent"}, ("mail.sent", "sent")),
    ("mail.resolved", {"state": "queued", "as": "resend"}, None),
    ("mail.requeued", {}, None),
    ("mail.canceled", {"state": "canceled"}, None),
    ("mail.erased", {"state": "sent"}, None),
    ("mail.delayed", {}, None),
    ("mail.bounce_noted", {}, None),
    ("mail.restored", {"state": "sent"}, None),
]


async def test_each_kind_of_history_is_one_event_or_none(
    events: MailEvents, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    await subscribe(client, subscriber.url, *EVENTS)
    mails = await events.mails(len(KINDS))
    for mail, (kind, detail, _) in zip(mails, KINDS, strict=True):
        await events.tell("mail.accepted", mail)
        await events.tell(kind, mail, **detail)
    await notifier.run()
    told = {event["data"]["id"]: (event["type"], event["data"]["state"]) for event in subscriber.events()}
    assert len(told) == len(subscriber.events())
    assert told == {str(mail): event for mail, (_, _, event) in zip(mails, KINDS, strict=True) if event}
    assert {event for event, _ in told.values()} == set(EVENTS)
    for event in subscriber.events():  # as the OpenAPI document describes them
        MailEvent.model_validate(event, extra="forbid")


async def test_a_subscriber_gets_only_the_events_it_asked_for(
    events: MailEvents, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    await subscribe(client, subscriber.url, "mail.failed", "mail.bounced")
    first, second = await events.mails(2)
    await events.tell("mail.sent", first)
    await events.tell("mail.failed", second)
    await events.tell("mail.bounced", first)
    await notifier.run()
    assert sorted(event["type"] for event in subscriber.events()) == ["mail.bounced", "mail.failed"]


async def test_a_subscriber_never_gets_events_of_another_clients_mails_whatever_the_key_may_see(
    events: MailEvents, mail_api: Api, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    async with await mail_api.as_client("other", ("webhooks:manage", "mails:read", "mails:all")) as other:
        await subscribe(other, subscriber.url, *EVENTS)
    (mail,) = await events.mails()
    await events.tell("mail.sent", mail)
    await notifier.run()
    assert subscriber.received == []


async def test_a_new_subscriber_gets_events_from_now_on(
    events: MailEvents, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    first, second = await events.mails(2)
    await events.tell("mail.sent", first)
    await subscribe(client, subscriber.url, *EVENTS)
    # Before a worker has looked, too.
    entry = await events.tell("mail.sent", second)
    await notifier.run()
    assert subscriber.ids() == [str(entry)]


async def test_what_really_happens_to_mails_is_told_in_order(
    mail_api: Api, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    """As delivery, intake and the bounce mailbox write history."""
    await subscribe(client, subscriber.url, *EVENTS)
    await client.put("/v1/suppressions/gone@example.org", json={})
    for name in ("gone", "here", "away"):
        mail = {"request_id": name, "to": {"email": f"{name}@example.org"}, "subject": "Hello", "text": "Hello"}
        assert (await client.post("/v1/mails", json=mail)).status_code == 202
    answers = {"here": [(Step.BODY, 451, "4.3.2 later"), ACCEPTED], "away": [(Step.BODY, 0, "")]}
    gateway = MemoryGateway(answer=lambda envelope: answers[envelope.recipient.partition("@")[0]].pop(0))
    rig = make_rig(mail_api.database.pool, [gateway])
    await rig.deliver()
    await mail_api.database.pool.execute("UPDATE queue SET due_at = now()")
    await rig.deliver()
    await rig.close()
    here = (await client.get("/v1/mails", params={"request_id": "here"})).json()["items"][0]["id"]
    away = (await client.get("/v1/mails", params={"request_id": "away"})).json()["items"][0]["id"]
    for notice in (
        report(quoted_header(here), recipient_fields("delivered", "2.0.0", "")),
        complaint(quoted_header(here)),
        report(quoted_header(away)),
    ):
        assert (await client.post("/v1/bounces", content=notice, headers=RFC822)).status_code == 202
    await notifier.run()
    told: dict[str, list[str]] = defaultdict(list)
    for event in subscriber.events():
        told[event["data"]["request_id"]].append(event["type"])
    assert told == {
        "gone": ["mail.suppressed"],
        "here": ["mail.deferred", "mail.sent", "mail.delivered", "mail.complained"],
        "away": ["mail.uncertain", "mail.sent", "mail.bounced"],
    }
