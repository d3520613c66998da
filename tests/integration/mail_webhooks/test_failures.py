"""Subscribers of the mail service that refuse, are gone or stay away, and what operators see of it."""

from collections.abc import Callable

import httpx
import orjson
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from services.mail.app import create_app
from services.mail.audit.alerts import symptoms_in
from services.mail.audit.queries import ALERT_SYMPTOMS
from services.mail.process_names import WORKER
from services.mail.settings import Settings
from services.mail.webhooks.events import EVENTS
from shared.worker.heartbeats import Heartbeat, process_name
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.mail_events import MailEvents
from tests.support.metrics import NONE, labels, scrape
from tests.support.notifiers import LoneNotifier
from tests.support.subscriber import SubscriberStandIn
from tests.support.webhooks import deliveries, replay, subscribe

MakeNotifier = Callable[..., LoneNotifier]


@pytest.mark.parametrize("failure", [500, 404, 307, "hang", "hang_up"])
async def test_a_failed_call_is_repeated_with_the_same_bytes_under_the_same_id(
    events: MailEvents,
    client: httpx.AsyncClient,
    make_notifier: MakeNotifier,
    subscriber: SubscriberStandIn,
    failure: int | str,
) -> None:
    created = await subscribe(client, subscriber.url, *EVENTS)
    (mail,) = await events.mails()
    await events.tell("mail.sent", mail)
    subscriber.answer_with = failure
    await make_notifier(mail_webhook_timeout_seconds=1 if failure == "hang" else 30).run()
    (waiting,) = await deliveries(client, created["id"])
    assert (waiting["state"], waiting["attempts"], waiting["delivered_at"]) == ("pending", 1, None)
    assert waiting["last_status"] == (failure if isinstance(failure, int) else None)
    assert waiting["last_error"]
    assert waiting["due_at"]
    subscriber.answer_with = 200
    await events.make_due()
    await make_notifier().run()
    first, second = subscriber.received
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    (delivered,) = await deliveries(client, created["id"])
    assert (delivered["state"], delivered["attempts"], delivered["last_status"]) == ("delivered", 2, 200)
    assert delivered["due_at"] is None
    assert delivered["delivered_at"]


async def test_a_subscriber_that_is_gone_gets_nothing_more_until_it_is_enabled_and_then_what_happens_from_then_on(
    events: MailEvents, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *EVENTS)
    mails = await events.mails(3)
    subscriber.answer_with = 410
    first = await events.tell("mail.deferred", mails[0])
    later = await events.tell("mail.sent", mails[0])
    await notifier.run()
    assert subscriber.ids() == [str(first)]
    shown = (await client.get(f"/v1/webhooks/{created['id']}")).json()
    assert shown["disabled_reason"] == "The subscriber answered 410 Gone"
    assert await events.pool.fetchval("SELECT subject FROM history WHERE kind = 'webhook.disabled'") == created["id"]
    missed = await events.tell("mail.sent", mails[1])
    await notifier.run()
    log = await deliveries(client, created["id"])
    assert [(line["id"], line["state"]) for line in log] == [(str(later), "canceled"), (str(first), "canceled")]
    answer = await client.post(f"/v1/webhooks/{created['id']}/replay", json={"from": "2020-01-01T00:00:00Z"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/subscriber-disabled")
    subscriber.answer_with = 200
    assert (await client.post(f"/v1/webhooks/{created['id']}/enable")).status_code == 200
    back = await events.tell("mail.sent", mails[2])
    await notifier.run()
    assert subscriber.ids() == [str(first), str(back)], "what it missed is not owed"
    replayed = await replay(client, created["id"], **{"from": created["created_at"]})
    assert replayed == {"replayed": 4, "more": False}
    await notifier.run()
    assert set(subscriber.ids()[2:]) == {str(first), str(later), str(missed), str(back)}


async def test_what_failed_for_too_long_is_given_up_and_operators_see_it(
    events: MailEvents, mail_api: Api, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *EVENTS)
    (mail,) = await events.mails()
    subscriber.answer_with = 500
    entry = await events.tell("mail.sent", mail)
    await notifier.run()
    await events.let_pass("73 hours")
    notifier.let_probe()
    await notifier.run()
    (dead,) = await deliveries(client, created["id"], state="dead")
    assert (dead["id"], dead["attempts"], dead["last_status"]) == (str(entry), 1, 500)
    assert dead["last_error"].startswith("Given up: ")
    assert await dead_deliveries(mail_api, notifier) == 1
    stages = await scrape(mail_api.operations)
    assert stages["counterfoil_mail_webhook_deliveries_dead"][NONE] == 1
    worker = labels(worker=process_name(), outcome="dead")
    assert stages["counterfoil_mail_webhook_deliveries_total"][worker] == 1
    subscriber.answer_with = 200
    await replay(client, created["id"], **{"from": dead["created_at"]})
    await notifier.run()
    (delivered,) = await deliveries(client, created["id"])
    assert (delivered["id"], delivered["state"]) == (str(entry), "delivered")
    assert await dead_deliveries(mail_api, notifier) == 0


async def dead_deliveries(api: Api, notifier: LoneNotifier) -> int:
    """As health, metrics and alerts report them: all the same."""
    await Heartbeat(api.database.pool, WORKER, lambda: {"webhooks": notifier.notifier.detail()}).run_once()
    headers = await api.key("operator", "audit:read")
    check = (await api.http.get("/health", headers=headers)).json()["checks"]["webhooks"]
    dead = int(check["observed_value"])
    assert check["status"] == ("warn" if dead else "pass")
    row = await api.database.pool.fetchrow(ALERT_SYMPTOMS)
    assert row is not None
    assert ("webhooks_dead" in {symptom.name for symptom in symptoms_in(row)}) is bool(dead)
    return dead


async def test_a_deleted_subscriber_gets_nothing_more_and_its_log_is_not_found(
    events: MailEvents, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *EVENTS)
    mails = await events.mails(2)
    await events.tell("mail.sent", mails[0])
    subscriber.answer_with = 500
    await notifier.run()
    path = f"/v1/webhooks/{created['id']}"
    assert (await client.delete(path)).status_code == 204
    await events.tell("mail.sent", mails[1])
    await notifier.run()
    assert len(subscriber.received) == 1
    assert await events.waiting() == []
    assert (await client.get(f"{path}/deliveries")).status_code == 404
    replayed = await client.post(f"{path}/replay", json={"from": created["created_at"]})
    assert replayed.status_code == 404


async def test_both_secrets_sign_for_a_day_after_a_rotation(
    events: MailEvents, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *EVENTS)
    rotated = (await client.post(f"/v1/webhooks/{created['id']}/rotate-secret")).json()
    assert rotated["secret"] != created["secret"]
    first, second = await events.mails(2)
    await events.tell("mail.sent", first)
    await notifier.run()
    for secret in (created["secret"], rotated["secret"]):
        assert Webhook(secret).verify(subscriber.received[0].body, subscriber.received[0].headers)
    await events.let_pass("25 hours")
    await events.tell("mail.sent", second)
    await notifier.run()
    with pytest.raises(WebhookVerificationError):
        Webhook(created["secret"]).verify(subscriber.received[1].body, subscriber.received[1].headers)
    assert Webhook(rotated["secret"]).verify(subscriber.received[1].body, subscriber.received[1].headers)


async def test_a_secret_survives_a_change_of_the_keys_and_is_never_stored(
    events: MailEvents, client: httpx.AsyncClient, make_notifier: MakeNotifier, subscriber: SubscriberStandIn
) -> None:
    secret = (await subscribe(client, subscriber.url, *EVENTS))["secret"]
    (mail,) = await events.mails()
    await events.tell("mail.sent", mail)
    await make_notifier(mail_webhook_keys="n" * 32).run()
    assert subscriber.received == [], "the key that its secret is derived from is gone"
    (waiting,) = await events.waiting()
    assert "MAIL_WEBHOOK_KEYS" in waiting["last_error"]
    await events.make_due()
    await make_notifier(mail_webhook_keys=f"{'n' * 32},{'k' * 32}").run()
    assert Webhook(secret).verify(subscriber.received[0].body, subscriber.received[0].headers)
    kept = await events.pool.fetchval("SELECT string_agg(w::text, '') FROM webhook_subscribers AS w")
    assert secret.removeprefix("whsec_") not in kept


async def test_no_call_goes_to_a_private_address(
    events: MailEvents, client: httpx.AsyncClient, make_notifier: MakeNotifier, subscriber: SubscriberStandIn
) -> None:
    await subscribe(client, subscriber.url.replace("127.0.0.1", "localhost"), *EVENTS)
    (mail,) = await events.mails()
    await events.tell("mail.sent", mail)
    await make_notifier(mail_webhook_allow_private=False).run()
    (waiting,) = await events.waiting()
    assert waiting["last_error"] == "The host is at an address that is not public"
    assert subscriber.received == []


async def test_without_a_subscriber_nothing_is_looked_for_until_there_is_one(
    client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    await notifier.run()
    assert notifier.notifier.pause_seconds() >= 3600
    await subscribe(client, subscriber.url, *EVENTS)
    await notifier.run()
    assert notifier.notifier.pause_seconds() <= 1


async def test_without_keys_there_are_no_webhooks(mail_database: Clone, redis_url: str) -> None:
    settings = Settings(mail_runtime_database_url=mail_database.runtime_url, redis_url=redis_url)
    assert settings.webhook_ring is None
    async with (
        running(create_app(settings), mail_database.database) as api,
        await api.as_client("tests", ["webhooks:manage"]) as http,
    ):
        answer = await http.post("/v1/webhooks", json={"url": "https://hooks.example/", "events": ["mail.sent"]})
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/webhooks-off")
        assert "MAIL_WEBHOOK_KEYS" in answer.json()["detail"]
        assert (await http.get("/v1/webhooks")).json()["items"] == []


def test_a_webhook_key_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="MAIL_WEBHOOK_KEYS"):
        Settings(mail_webhook_keys="short")


async def test_an_erased_persons_data_stands_nowhere_in_what_is_kept_for_subscribers(
    events: MailEvents, client: httpx.AsyncClient, notifier: LoneNotifier, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url, *EVENTS)
    mail = {"request_id": "r1", "to": {"email": "ada@example.org", "name": "Ada"}, "subject": "Hello Ada", "text": "x"}
    mail_id = (await client.post("/v1/mails", json=mail)).json()["id"]
    subscriber.answer_with = 500
    await events.tell("mail.failed", mail_id, reason="<ada@example.org> does not exist", code=550)
    await notifier.run()
    kept = [
        orjson.dumps([dict(row) for row in await events.pool.fetch(f"SELECT * FROM {table}")], default=str)
        for table in ("webhook_deliveries", "webhook_feeds")
    ]
    kept.append(orjson.dumps(await deliveries(client, created["id"])))
    kept.append(subscriber.received[0].body)
    assert [text for text in kept if b"ada" in text.lower()] == []
