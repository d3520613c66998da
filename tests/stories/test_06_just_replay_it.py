"""Incident 6: "just replay it" sends the mail again."""

import asyncio

from tests.support.stack import Ledgers, eventually

# "Just replay the job": put the settled row back as if it had never been relayed.
REPLAY = """
INSERT INTO outbox (id, effect, user_id, payload, created_at, expires_at, correlation_id)
SELECT id, effect, user_id, payload, created_at, now() + interval '1 day', correlation_id
FROM outbox_settled WHERE id = $1 ORDER BY settled_at LIMIT 1
"""


async def test_a_request_sent_a_thousand_times_is_one_mail_and_a_thousand_equal_answers(ledgers: Ledgers) -> None:
    request = {
        "request_id": "story6-thousand",
        "to": {"email": "story6@x.example"},
        "subject": "Once",
        "text": "And only once.",
    }
    first = (await ledgers.mail.post("/v1/mails", json=request)).json()
    await eventually(lambda: ledgers.mails(request_id="story6-thousand"), lambda mails: mails[0]["state"] == "sent")
    answers = []
    for _ in range(20):
        answers += await asyncio.gather(*(ledgers.mail.post("/v1/mails", json=request) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len(answers) == 1000
    assert len({answer.text for answer in answers}) == 1
    assert {answer.json()["id"] for answer in answers} == {first["id"]}
    assert len(await ledgers.caught("story6@x.example")) == 1


async def test_a_relayed_effect_put_back_into_the_outbox_sends_nothing_again(ledgers: Ledgers) -> None:
    email = "story6-replayed@x.example"
    await ledgers.sign_up(email)
    (mail,) = await eventually(lambda: ledgers.mails(to=email), lambda mails: [m["state"] for m in mails] == ["sent"])
    settled = "SELECT count(*) FROM outbox_settled WHERE id = $1::uuid"

    async def await_settled(times: int) -> None:
        await eventually(
            lambda: ledgers.fetchval("signup", settled, mail["request_id"]), lambda count: bool(count == times)
        )

    for times in (1, 2, 3):
        await await_settled(times)
        await ledgers.execute("signup", REPLAY, mail["request_id"])
    await await_settled(4)
    assert [m["id"] for m in await ledgers.mails(to=email)] == [mail["id"]]
    assert len(await ledgers.caught(email)) == 1
