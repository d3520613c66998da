"""Incident 10: two requests with the same ID come at once."""

import asyncio

from tests.support.stack import Ledgers, eventually


async def test_requests_at_the_same_instant_make_one_row_one_mail_and_equal_answers(ledgers: Ledgers) -> None:
    for round_number in range(10):
        request = {
            "request_id": f"story10-{round_number}",
            "to": {"email": f"story10-{round_number}@x.example"},
            "subject": "At once",
            "text": "Requested twice, sent once.",
        }
        answers = await asyncio.gather(*(ledgers.mail.post("/v1/mails", json=request) for _ in range(8)))
        assert {answer.status_code for answer in answers} == {202}
        assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
        mails = [answer.json() for answer in answers]
        # Fields that never change are equal; the state may change between two answers.
        assert len({(mail["id"], mail["fingerprint"], mail["message_id"], mail["accepted_at"]) for mail in mails}) == 1
    for round_number in range(10):
        email = f"story10-{round_number}@x.example"
        await eventually(
            lambda email=email: ledgers.mails(to=email),  # type: ignore[misc]
            lambda mails: [mail["state"] for mail in mails] == ["sent"],
        )
        assert len(await ledgers.caught(email)) == 1
