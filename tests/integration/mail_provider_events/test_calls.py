"""Who may post events, how much, and what a provider is told when its call cannot be taken."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest

from services.mail.app import create_app
from services.mail.settings import Settings
from tests.support.apis import Api
from tests.support.mails import history_kinds
from tests.support.provider_events import NAMES, Call, sample_of, samples
from tests.support.provider_events.amazon import SUBSCRIBE_URL, TOPIC, Amazon
from tests.support.provider_events.stand_ins import Mailgun, providers

from .conftest import NewMail, Post

NO_DATABASE = "postgresql://someone@127.0.0.1:1/none"

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_provider_that_is_not_configured_is_not_found() -> None:
    settings = Settings(mail_runtime_database_url=NO_DATABASE, mail_provider_events=providers()["brevo"].setting)
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as http,
    ):
        for name in (*(set(NAMES) - {"brevo"}), "mandrill", "BREVO"):
            answer = await http.post(f"/v1/events/{name}", content=b"{}", headers={"authorization": "Bearer x"})
            assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")
        answer = await http.post("/v1/events/brevo", content=b"{}", headers={"authorization": "Bearer new-secret"})
        assert answer.json() == {"results": [{"outcome": "unreadable"}]}


async def test_a_key_of_ours_is_no_providers_secret(api: Api, client: httpx.AsyncClient) -> None:
    for name in NAMES:
        assert (await client.post(f"/v1/events/{name}", content=b"{}")).status_code == 401
    assert (await api.http.get("/v1/events/brevo")).status_code == 405


async def test_a_verified_body_that_is_not_json_is_malformed(api: Api) -> None:
    headers = {"authorization": "Bearer new-secret"}
    answer = await api.http.post("/v1/events/brevo", content=b"{", headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/malformed-request")
    assert answer.json()["errors"] == [{"pointer": "", "detail": "Must be JSON"}]


async def test_a_call_that_is_too_large_is_refused(api: Api) -> None:
    headers = {"authorization": "Bearer new-secret"}
    for body in (b" " * (1 << 20) + b"7", b"[" + b",".join([b"7"] * 5001) + b"]"):
        answer = await api.http.post("/v1/events/brevo", content=body, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (413, "/problems/payload-too-large")


async def test_while_the_database_is_down_every_provider_is_told_to_send_again(amazon: Amazon) -> None:
    """Brevo gives a call up after 5xx, and tries again after 429."""
    settings = Settings(
        mail_runtime_database_url=NO_DATABASE,
        mail_provider_events=",".join(provider.setting for provider in providers().values()),
    )
    app = create_app(settings, fetch=amazon.fetch)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as http,
    ):
        for name in NAMES:
            call = providers()[name].call([sample_of(name, "failed").event(uuid4())], datetime.now(UTC))
            answer = await http.post(f"/v1/events/{name}", content=call.body, headers=call.headers)
            assert answer.status_code == (429 if name == "brevo" else 503), name
            assert int(answer.headers["retry-after"]) > 0


async def test_a_signature_of_mailgun_that_was_used_is_refused_with_another_body(
    api: Api, post: Post, new_mail: NewMail
) -> None:
    """Mailgun's signature does not cover the body."""
    mail_id = await new_mail("sent")
    mailgun, timestamp = Mailgun(), str(int(datetime.now(UTC).timestamp()))
    genuine = mailgun.signed(samples("mailgun")["delivered"].event(mail_id), timestamp, "token")
    forged = mailgun.signed(samples("mailgun")["complained"].event(mail_id), timestamp, "token")
    assert (await post("mailgun", genuine)).status_code == 200
    answer = await post("mailgun", forged)
    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/signature-invalid")
    assert answer.json()["detail"] == "This signature came with another body before."
    assert (await post("mailgun", genuine)).json() == {"results": [{"outcome": "delivered", "mail_id": mail_id}]}
    assert await history_kinds(api.database.pool, UUID(mail_id)) == ["mail.accepted", "mail.delivered"]


async def test_tokens_of_mailgun_are_kept_as_long_as_their_signatures_are_valid(api: Api, post: Post) -> None:
    mailgun, pool = Mailgun(), api.database.pool
    await pool.execute("DELETE FROM provider_event_tokens")

    async def post_one() -> Call:
        call = mailgun.call([samples("mailgun")["opened"].event(uuid4())], datetime.now(UTC))
        assert (await post("mailgun", call)).status_code == 200
        return call

    calls = [await post_one() for _ in range(12)]
    for hours, left in ((9.9, 13), (10.1, 4)):
        await pool.execute("UPDATE provider_event_tokens SET seen_at = now() - $1::interval", timedelta(hours=hours))
        await post_one()
        assert await pool.fetchval("SELECT count(*) FROM provider_event_tokens") == left
    assert (await post("mailgun", calls[0])).status_code == 200


async def test_a_listed_topic_of_amazon_is_subscribed_and_no_other(post: Post, amazon: Amazon) -> None:
    now = datetime.now(UTC)
    before = len(amazon.fetched)
    unlisted = await post("ses", amazon.confirmation(now, TopicArn=TOPIC + "2"))
    assert (unlisted.status_code, unlisted.json()["detail"]) == (
        401,
        "The topic is not listed in MAIL_PROVIDER_EVENTS.",
    )
    assert amazon.fetched[before:] == []
    elsewhere = await post("ses", amazon.confirmation(now, SubscribeURL="https://evil.example/"))
    assert elsewhere.json() == {"results": [{"outcome": "unreadable"}]}
    listed = await post("ses", amazon.confirmation(now))
    assert listed.json() == {"results": [{"outcome": "confirmed"}]}
    assert amazon.fetched.count(SUBSCRIBE_URL) == 1
    lost = await post("ses", amazon.confirmation(now, SubscribeURL=SUBSCRIBE_URL + "lost"))
    assert (lost.status_code, lost.json()["type"]) == (503, "/problems/send-again")


async def test_secrets_and_addresses_of_events_are_not_in_answers(post: Post) -> None:
    for name in NAMES:
        provider = providers()[name]
        answer = await post(
            name, provider.forged(provider.call([sample_of(name, "failed").event("x")], datetime.now(UTC)))
        )
        secret = provider.setting.partition("=")[2]
        assert secret not in answer.text
        assert "asa@" not in answer.text
