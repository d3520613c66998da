"""Webhooks of the mail service, from a request to a subscriber, and kill -9 in the middle of a call."""

from collections.abc import Sequence

from standardwebhooks import Webhook

from tests.support.stack import Ledgers, eventually
from tests.support.subscriber import subscriber_stand_in
from tests.support.webhooks import deliveries, subscribe

LEASE_IS_OVER = "UPDATE webhook_deliveries SET due_at = now() WHERE lease IS NOT NULL"


async def test_a_mail_worker_that_is_killed_while_a_subscriber_answers_tells_it_again_under_the_same_id(
    ledgers: Ledgers,
) -> None:
    async with subscriber_stand_in() as subscriber:
        subscriber.answer_with = "hang"
        created = await subscribe(ledgers.mail, subscriber.url, "mail.sent", "mail.failed")
        mail = {"request_id": "told", "to": {"email": "told@x.example"}, "subject": "Hello", "text": "Hello"}
        mail_id = (await ledgers.mail.post("/v1/mails", json=mail)).json()["id"]
        await eventually(lambda: _calls(subscriber.received), lambda calls: calls == 1, what="the first call")
        ledgers.stack.kill("mail-worker")
        await ledgers.execute("mail", LEASE_IS_OVER)
        subscriber.answer_with = 200
        ledgers.stack.start("mail-worker")
        await eventually(lambda: _calls(subscriber.received), lambda calls: calls == 2, what="the second call")
        first, second = subscriber.received
        assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
        event = Webhook(created["secret"]).verify(second.body, second.headers)
        assert event["type"] == "mail.sent"
        assert event["data"] == {"id": mail_id, "request_id": "told", "state": "sent"} | event["data"]
        (line,) = await eventually(
            lambda: deliveries(ledgers.mail, created["id"]),
            lambda lines: lines[0]["state"] == "delivered",
            what="a line of the log",
        )
        history = (await ledgers.mail.get(f"/v1/mails/{mail_id}/history")).json()["items"]
        assert line["id"] in {entry["id"] for entry in history if entry["kind"] == "mail.sent"}
        await ledgers.mail.delete(f"/v1/webhooks/{created['id']}")


async def _calls(received: Sequence[object]) -> int:
    return len(received)
