"""Incident 3: the job runs before the transaction commits and finds no user."""

import asyncpg

from tests.support.stack import Ledgers, eventually

NEW_USER = """
WITH person AS (
    INSERT INTO users (email, email_key, name, source)
    VALUES ('story3-slow@x.example', 'story3-slow@x.example', 'Slow', 'web') RETURNING id
)
INSERT INTO outbox (effect, user_id, payload, expires_at)
SELECT effect, person.id, jsonb_set(jsonb_set(payload, '{to,email}', '"story3-slow@x.example"'),
       '{metadata,user_id}', to_jsonb(person.id::text)), now() + interval '1 day'
FROM person, outbox_settled WHERE outbox_settled.id = $1
"""


async def test_a_worker_sees_nothing_of_a_signup_before_its_commit_and_mails_after_it(ledgers: Ledgers) -> None:
    await ledgers.sign_up("story3-template@x.example")
    (first,) = await eventually(
        lambda: ledgers.mails(to="story3-template@x.example"), lambda mails: [m["state"] for m in mails] == ["sent"]
    )
    connection = await asyncpg.connect(ledgers.stack.owner_url("signup"))
    transaction = connection.transaction()
    await transaction.start()
    settled = "SELECT count(*) FROM outbox_settled WHERE id = $1::uuid"
    await eventually(lambda: ledgers.fetchval("signup", settled, first["request_id"]), lambda count: count == 1)
    await connection.execute(NEW_USER, first["request_id"])
    # The relay skips the uncommitted row: a later signup is mailed first.
    await ledgers.sign_up("story3-quick@x.example")
    await eventually(lambda: ledgers.caught("story3-quick@x.example"), lambda found: len(found) == 1)
    assert await ledgers.mails(to="story3-slow@x.example") == []
    await transaction.commit()
    await connection.close()
    await eventually(lambda: ledgers.caught("story3-slow@x.example"), lambda found: len(found) == 1)
    assert await ledgers.fetchval("signup", "SELECT count(*) FROM outbox WHERE state = 'dead'") == 0
