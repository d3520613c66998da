"""The effect `webhook`: each row is one event for one subscriber."""

from collections.abc import Callable

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from services.signup.erasure.erase import erase
from services.signup.http.document.events import UserEvent
from tests.support.apis import Api
from tests.support.overdue import overdue_seconds
from tests.support.relays import LoneRelay
from tests.support.signups import SignupLedger
from tests.support.subscriber import SubscriberStandIn, subscriber_stand_in

MakeRelay = Callable[..., LoneRelay]
ALL = ["user.signed_up", "user.verified", "user.erased"]


async def subscribe(client: httpx.AsyncClient, url: str, *events: str) -> dict[str, str]:
    answer = await client.post("/v1/webhooks", json={"url": url, "events": events or ALL})
    assert answer.status_code == 201, answer.text
    created: dict[str, str] = answer.json()
    return created


async def make_due(ledger: SignupLedger) -> None:
    await ledger.run("UPDATE outbox SET due_at = now() WHERE effect = 'webhook' AND state = 'pending'")


async def test_each_event_is_sent_signed_and_names_the_user_by_id_only(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn
) -> None:
    secret = (await subscribe(client, subscriber.url))["secret"]
    (asa,) = await ledger.sign_up("asa@example.org")
    await client.post("/v1/verifications", json={"token": await ledger.token("asa@example.org")})
    await erase(ledger.pool, asa.user["id"], "test", ledger.policy)
    rows = await ledger.rows("outbox", effect="webhook")
    await relay_for("webhook").run_once()
    sent = {}
    for received in subscriber.received:
        event = Webhook(secret).verify(received.body, received.headers)
        assert set(event) == {"type", "timestamp", "data"}
        UserEvent.model_validate(event, extra="forbid")  # as the OpenAPI document describes it
        assert event["data"] == {"id": str(asa.user["id"])}
        sent[received.headers["webhook-id"]] = event["type"]
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(received.body.replace(b"user.", b"uses."), received.headers)
    assert sent == {str(row["id"]): row["payload"]["event"] for row in rows}
    assert sorted(sent.values()) == sorted(ALL)
    assert len(await ledger.rows("outbox_settled", effect="webhook", outcome="delivered")) == 3


@pytest.mark.promise("webhooks")
@pytest.mark.parametrize("failure", [500, 404, 307, "hang", "hang_up"])
async def test_a_failed_call_is_retried_with_the_same_bytes_under_the_same_id(
    ledger: SignupLedger,
    client: httpx.AsyncClient,
    relay_for: MakeRelay,
    subscriber: SubscriberStandIn,
    failure: int | str,
) -> None:
    await subscribe(client, subscriber.url)
    await ledger.sign_up("asa@example.org")
    subscriber.answer_with = failure
    await relay_for("webhook", signup_webhook_timeout_seconds=1 if failure == "hang" else 30).run_once()
    row = await ledger.row("outbox", effect="webhook")
    assert (row["state"], row["attempts"]) == ("pending", 1)
    subscriber.answer_with = 200
    await make_due(ledger)
    await relay_for("webhook").run_once()
    first, second = subscriber.received
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert (await ledger.row("outbox_settled", effect="webhook"))["attempts"] == 2


async def test_one_subscribers_outage_leaves_the_others_alone_and_costs_few_attempts(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn
) -> None:
    async with subscriber_stand_in() as failing:
        failing.answer_with = 503
        await subscribe(client, failing.url)
        await subscribe(client, subscriber.url)
        await ledger.sign_up(*(f"p{n}@example.org" for n in range(30)))
        relay = relay_for("webhook")
        for _ in range(5):
            await relay.run_once()
            await make_due(ledger)
        assert len(subscriber.received) == 30
        assert len(await ledger.rows("outbox", effect="webhook")) == 30
        # Eight concurrent calls, then its breaker opens, and lets one pass now and then.
        assert len(failing.received) < 15
        assert sum(row["attempts"] for row in await ledger.rows("outbox", effect="webhook")) == len(failing.received)


async def test_the_outage_of_one_subscriber_makes_no_row_late_and_does_not_fail_health(
    ledger: SignupLedger,
    signup_api: Api,
    client: httpx.AsyncClient,
    relay_for: MakeRelay,
    subscriber: SubscriberStandIn,
) -> None:
    subscriber.answer_with = 503
    await subscribe(client, subscriber.url)
    await ledger.sign_up(*(f"p{n}@example.org" for n in range(30)))
    await ledger.run("UPDATE outbox SET created_at = created_at - interval '2 hours' WHERE effect = 'webhook'")
    relay = relay_for("webhook")
    for _ in range(2):
        await relay.run_once()
        await make_due(ledger)
    attempts = {row["attempts"] for row in await ledger.rows("outbox", effect="webhook")}
    assert min(attempts) == 0 < max(attempts), "some were only postponed"
    assert max((await overdue_seconds(ledger.pool, "webhook")).values()) < 60
    checks = (await signup_api.operations.get("/health")).json()["checks"]
    assert checks["outbox_oldest_due"]["status"] == "pass"


async def test_a_subscriber_that_answers_gone_is_disabled_and_gets_no_more_events(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url)
    subscriber.answer_with = 410
    await ledger.sign_up("asa@example.org")
    relay = relay_for("webhook")
    await relay.run_once()
    shown = (await client.get(f"/v1/webhooks/{created['id']}")).json()
    assert shown["disabled_at"]
    assert shown["disabled_reason"] == "The subscriber answered 410 Gone"
    assert (await ledger.row("history", kind="webhook.disabled"))["subject"] == created["id"]
    assert (await ledger.row("outbox_settled", effect="webhook"))["outcome"] == "canceled"
    await ledger.sign_up("bo@example.org")
    assert await ledger.rows("outbox", effect="webhook") == [], "nothing is owed to a disabled subscriber"


async def test_an_enabled_subscriber_gets_events_again_and_keeps_its_secret(
    ledger: SignupLedger,
    signup_api: Api,
    client: httpx.AsyncClient,
    relay_for: MakeRelay,
    subscriber: SubscriberStandIn,
) -> None:
    created = await subscribe(client, subscriber.url, "user.signed_up")
    await ledger.sign_up("asa@example.org")
    subscriber.answer_with = 410
    await relay_for("webhook").run_once()
    await ledger.sign_up("bo@example.org")
    subscriber.answer_with = 200
    path = f"/v1/webhooks/{created['id']}/enable"
    other_client = await signup_api.key("other", "webhooks:manage")
    assert (await signup_api.http.post(path, headers=other_client)).status_code == 404
    for _ in range(2):
        enabled = await client.post(path)
        assert (enabled.status_code, enabled.json()["disabled_at"], enabled.json()["disabled_reason"]) == (
            200,
            None,
            None,
        )
        assert "secret" not in enabled.json()
    assert (await ledger.row("history", kind="webhook.enabled"))["subject"] == created["id"]
    (eve,) = await ledger.sign_up("eve@example.org")
    await relay_for("webhook").run_once()
    event = Webhook(created["secret"]).verify(subscriber.received[-1].body, subscriber.received[-1].headers)
    assert event["data"] == {"id": str(eve.user["id"])}
    assert len(subscriber.received) == 2, "events from the disabled time are not owed"


async def test_rows_of_a_deleted_subscriber_are_canceled(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url)
    await ledger.sign_up("asa@example.org")
    assert (await client.delete(f"/v1/webhooks/{created['id']}")).status_code == 204
    await relay_for("webhook").run_once()
    row = await ledger.row("outbox_settled", effect="webhook")
    assert (row["outcome"], row["result"]) == ("canceled", {"reason": "The subscriber was deleted"})
    assert subscriber.received == []


async def test_a_row_that_failed_for_too_long_is_dead(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn
) -> None:
    await subscribe(client, subscriber.url)
    subscriber.answer_with = 500
    await ledger.sign_up("asa@example.org")
    await ledger.run("UPDATE outbox SET expires_at = now()")
    await relay_for("webhook").run_once()
    assert (await ledger.row("outbox", effect="webhook"))["state"] == "dead"


async def test_no_connection_goes_to_a_private_address(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn
) -> None:
    await subscribe(client, subscriber.url.replace("127.0.0.1", "localhost"))
    await ledger.sign_up("asa@example.org")
    await relay_for("webhook", signup_webhook_allow_private=False).run_once()
    row = await ledger.row("outbox", effect="webhook")
    assert row["last_error"] == "The host is at an address that is not public"
    assert subscriber.received == []


async def test_an_endless_answer_is_not_read_to_its_end(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn
) -> None:
    await subscribe(client, subscriber.url)
    subscriber.answer_with = "flood"
    await ledger.sign_up("asa@example.org")
    await relay_for("webhook").run_once()
    assert (await ledger.row("outbox_settled", effect="webhook"))["outcome"] == "delivered"


async def test_both_secrets_sign_for_a_day_after_a_rotation(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url)
    rotated = (await client.post(f"/v1/webhooks/{created['id']}/rotate-secret")).json()
    assert rotated["secret"] != created["secret"]
    relay = relay_for("webhook")
    await ledger.sign_up("asa@example.org")
    await relay.run_once()
    for secret in (created["secret"], rotated["secret"]):
        assert Webhook(secret).verify(subscriber.received[0].body, subscriber.received[0].headers)
    await ledger.run("UPDATE webhook_subscribers SET rotated_at = now() - interval '25 hours'")
    await ledger.sign_up("bo@example.org")
    await relay.run_once()
    with pytest.raises(WebhookVerificationError):
        Webhook(created["secret"]).verify(subscriber.received[1].body, subscriber.received[1].headers)
    assert Webhook(rotated["secret"]).verify(subscriber.received[1].body, subscriber.received[1].headers)


async def test_a_secret_survives_a_change_of_the_signing_key_and_is_never_stored(
    ledger: SignupLedger, client: httpx.AsyncClient, relay_for: MakeRelay, subscriber: SubscriberStandIn
) -> None:
    secret = (await subscribe(client, subscriber.url))["secret"]
    await ledger.sign_up("asa@example.org")
    await relay_for("webhook", signup_token_keys=f"{'n' * 32},{'k' * 32}").run_once()
    assert Webhook(secret).verify(subscriber.received[0].body, subscriber.received[0].headers)
    kept = await ledger.pool.fetchval("SELECT string_agg(w::text, '') FROM webhook_subscribers AS w")
    assert secret.removeprefix("whsec_") not in kept


async def test_subscribers_belong_to_the_client_that_made_them(
    signup_api: Api, client: httpx.AsyncClient, subscriber: SubscriberStandIn
) -> None:
    created = await subscribe(client, subscriber.url)
    path = f"/v1/webhooks/{created['id']}"
    assert "secret" not in (await client.get(path)).json()
    assert [item["id"] for item in (await client.get("/v1/webhooks")).json()["items"]] == [created["id"]]
    other_client = await signup_api.key("other", "webhooks:manage")
    assert (await signup_api.http.get("/v1/webhooks", headers=other_client)).json()["items"] == []
    for method, url in (("GET", path), ("DELETE", path), ("POST", f"{path}/rotate-secret")):
        assert (await signup_api.http.request(method, url, headers=other_client)).status_code == 404
    reader = await signup_api.key("other", "users:read")
    assert (await signup_api.http.get(path, headers=reader)).status_code == 403


@pytest.mark.parametrize(
    "url",
    [
        "ftp://hooks.example/",
        "https://user:pass@hooks.example/",
        "https://hooks.example/#part",
        "not a url",
        "https://hooks.example/" + "x" * 2000,
    ],
)
async def test_an_unusable_url_is_refused(client: httpx.AsyncClient, url: str) -> None:
    answer = await client.post("/v1/webhooks", json={"url": url, "events": ["user.verified"]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/url"
