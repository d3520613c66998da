"""Incident 7: neither the client nor the operators know what was sent."""

from tests.support.stack import Ledgers, eventually

# The client loses its record, as after a restore: the row is owed again without its result.
FORGET = """
WITH lost AS (DELETE FROM outbox_settled WHERE id = $1 RETURNING *)
INSERT INTO outbox (id, effect, user_id, payload, created_at, expires_at, correlation_id)
SELECT id, effect, user_id, payload, created_at, now() + interval '1 day', correlation_id FROM lost
"""
RECORD = "SELECT result ->> 'mail_id' FROM outbox_settled WHERE id = $1::uuid"


async def test_the_mail_service_says_what_it_has_sent_one_by_one_in_bulk_and_as_a_list(ledgers: Ledgers) -> None:
    people = [f"story7-{n}@x.example" for n in range(5)]
    for email in people:
        await ledgers.sign_up(email)
    mails = []
    for email in people:
        mails += await eventually(
            lambda email=email: ledgers.mails(to=email),  # type: ignore[misc]
            lambda found: [mail["state"] for mail in found] == ["sent"],
        )
    request_ids = [mail["request_id"] for mail in mails]
    for mail in mails:
        assert (await ledgers.mail.get(f"/v1/mails/{mail['id']}")).json() == mail
        (attempt,) = (await ledgers.mail.get(f"/v1/mails/{mail['id']}/attempts")).json()["items"]
        assert (attempt["phase"], attempt["outcome"], attempt["code"]) == ("ended", "accepted", 250)
    answer = (await ledgers.mail.post("/v1/mails/lookup", json={"request_ids": [*request_ids, "never-asked"]})).json()
    assert answer["found"] == {mail["request_id"]: mail for mail in mails}
    assert answer["missing"] == ["never-asked"]
    listed = await ledgers.mails(template="verification", state="sent", client="signup")
    assert {mail["id"] for mail in mails} <= {mail["id"] for mail in listed}


async def test_a_client_that_lost_its_record_restores_it_from_the_answer(ledgers: Ledgers) -> None:
    email = "story7-lost@x.example"
    await ledgers.sign_up(email)
    (mail,) = await eventually(lambda: ledgers.mails(to=email), lambda found: [m["state"] for m in found] == ["sent"])
    await eventually(lambda: ledgers.fetchval("signup", RECORD, mail["request_id"]), lambda found: found == mail["id"])
    await ledgers.execute("signup", FORGET, mail["request_id"])
    await eventually(lambda: ledgers.fetchval("signup", RECORD, mail["request_id"]), lambda found: found == mail["id"])
    assert len(await ledgers.caught(email)) == 1
