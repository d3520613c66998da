"""What a gateway is given comes back in its provider's events, so that these find their mail."""

from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.mail.app import create_app
from services.mail.delivery.gateways.settings import GatewaySettings, Tls
from services.mail.delivery.gateways.smtp_gateway import SmtpGateway
from services.mail.settings import Settings
from tests.support.databases import Clone
from tests.support.delivery import PATIENT, make_rig
from tests.support.mails import insert_mails, mail_row
from tests.support.provider_events import NAMES
from tests.support.provider_events.amazon import Amazon
from tests.support.provider_events.stand_ins import providers
from tests.support.scripted_smtp import scripted_smtp


def _delivered(provider: str, sent: Message) -> dict[str, Any]:
    """The event of the delivery, with nothing but what the provider finds in the mail's header."""
    match provider:
        case "ses":
            name, _, value = sent["X-SES-MESSAGE-TAGS"].partition("=")
            return {"eventType": "Delivery", "delivery": {}, "mail": {"messageId": "ses", "tags": {name: [value]}}}
        case "postmark":
            metadata = {
                name.removeprefix("X-PM-Metadata-"): value
                for name, value in sent.items()
                if name.startswith("X-PM-Metadata-")
            }
            return {"RecordType": "Delivery", "MessageID": "postmark", "Metadata": metadata}
        case "mailgun":
            message_id = sent["Message-ID"].strip("<>")
            return {"event": "delivered", "id": "1", "message": {"headers": {"message-id": message_id}}}
        case "sendgrid":
            return {"event": "delivered", "sg_event_id": "1", "smtp-id": sent["Message-ID"]}
        case "resend":
            headers = [{"name": name, "value": value} for name, value in sent.items()]
            return {"type": "email.delivered", "created_at": "x", "data": {"email_id": "1", "headers": headers}}
        case _:
            return {"event": "delivered", "X-Mailin-custom": sent["X-Mailin-custom"], "message-id": "<brevo@x.example>"}


@pytest.mark.parametrize("provider", NAMES)
async def test_a_delivered_mail_is_found_by_what_its_provider_repeats(
    mail_database: Clone, redis_url: str, amazon: Amazon, provider: str
) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    async with scripted_smtp({"dot": ["450 4.3.0 later", "250 ok"]}) as server:
        gateway = SmtpGateway(
            GatewaySettings("g", "127.0.0.1", server.port, Tls.NONE, provider=provider), PATIENT, "worker.example"
        )
        rig = make_rig(pool, [gateway])
        await rig.deliver()
        await pool.execute("UPDATE queue SET due_at = now()")
        await rig.deliver()
        await rig.close()
    first, second = server.received
    assert first.data == second.data, "a retry sends the same bytes"
    assert (await mail_row(pool, mail_id))["state"] == "sent"
    app = create_app(
        Settings(
            mail_runtime_database_url=mail_database.runtime_url,
            redis_url=redis_url,
            mail_provider_events=providers()[provider].setting,
        ),
        fetch=amazon.fetch,
    )
    call = providers()[provider].call([_delivered(provider, message_from_bytes(second.data))], datetime.now(UTC))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as http,
    ):
        answer = await http.post(f"/v1/events/{provider}", content=call.body, headers=call.headers)
    assert answer.json() == {"results": [{"outcome": "delivered", "mail_id": str(mail_id)}]}


async def test_another_gateway_gets_the_same_mail_without_the_header(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool)
    async with scripted_smtp({"MAIL": "421 4.3.2 away"}) as away, scripted_smtp() as other:
        gateways = [
            SmtpGateway(
                GatewaySettings(name, "127.0.0.1", port, Tls.NONE, provider=provider), PATIENT, "worker.example"
            )
            for name, port, provider in (("a", away.port, "postmark"), ("b", other.port, None))
        ]
        rig = make_rig(pool, gateways)
        await rig.deliver()
        await rig.close()
    (received,) = other.received
    assert b"X-PM-" not in received.data
    assert UUID(message_from_bytes(received.data)["X-Counterfoil-ID"])
