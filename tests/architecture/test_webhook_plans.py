"""What is read for webhooks does not grow with what was delivered before."""

from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from services.mail.webhooks import queries
from services.mail.webhooks.delivery_queries import LOG as MAIL_LOG
from services.mail.webhooks.events import EVENTS
from services.signup.outbox.webhook_queries import LOG as SIGNUP_LOG
from services.signup.outbox.webhook_queries import REPLAY_SETTLED, REVIVE_DEAD
from shared.contract.ids import uuid7
from shared.webhooks.schemas import STATES
from tests.support.databases import Clone

ROWS = 100_000
# One in a thousand is rare.
FILL_MAIL_LOG = """
INSERT INTO webhook_deliveries_settled
    (subscriber_id, event, id, mail_id, outcome, attempts, last_error, occurred_at)
SELECT $1, CASE WHEN n % 1000 = 0 THEN 'mail.complained' ELSE 'mail.sent' END, uuidv7(), uuidv7(),
       CASE WHEN n % 1000 = 1 THEN 'dead' ELSE 'delivered' END, 1, 'x', now()
FROM generate_series(1, $2::int) AS n
"""
FILL_SIGNUP_LOG = """
INSERT INTO outbox_settled (id, effect, payload, outcome, attempts, created_at)
SELECT uuidv7(), 'webhook',
       jsonb_build_object(
           'subscriber_id', $1::text, 'event', CASE WHEN n % 1000 = 0 THEN 'user.erased' ELSE 'user.signed_up' END
       ),
       CASE WHEN n % 1000 = 1 THEN 'canceled' ELSE 'delivered' END, 1, now()
FROM generate_series(1, $2::int) AS n
"""
# A page of 50 lines: index pages of each month, and for each line whether it is replayed or settled once more.
MOST_PAGES = 2_000


async def _pages(clone: Clone, query: str, *arguments: object) -> tuple[int, int]:
    """Pages that the query reads, and the rows that it returns. Rolled back."""
    async with clone.database.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            (explained,) = orjson.loads(
                await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {query}", *arguments)
            )
        finally:
            await transaction.rollback()
    plan: dict[str, Any] = explained["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], plan["Actual Rows"]


LOWEST, HIGHEST = UUID(int=0), UUID(int=(1 << 128) - 1)


@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_page_of_the_mail_services_log_costs_the_same_however_long_it_is(
    mail_database: Clone, *, analyzed: bool
) -> None:
    subscriber = await mail_database.database.pool.fetchval(SUBSCRIBE, list(EVENTS))
    await mail_database.database.pool.execute(FILL_MAIL_LOG, subscriber, ROWS)
    if analyzed:
        await mail_database.as_owner("ANALYZE webhook_deliveries_settled")
    pages, _ = await _pages(mail_database, f"SELECT {queries.DEAD_DELIVERIES}")
    assert pages < 3_000, "a hundred were given up"
    for query, events, states, rows in (
        (MAIL_LOG.all, list(EVENTS), list(STATES), 51),
        (MAIL_LOG.all, ["mail.complained"], list(STATES), 51),
        (MAIL_LOG.rare, list(EVENTS), ["dead"], 51),
        (MAIL_LOG.rare, list(EVENTS), ["pending"], 0),
    ):
        pages, found = await _pages(mail_database, query, subscriber, events, states, LOWEST, HIGHEST, None, None, 51)
        assert found == rows
        assert pages < MOST_PAGES, (events, states)


@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_page_of_signups_log_and_a_piece_of_a_replay_cost_the_same_however_long_it_is(
    signup_database: Clone, *, analyzed: bool
) -> None:
    subscriber = str(uuid7())
    await signup_database.database.pool.execute(FILL_SIGNUP_LOG, subscriber, ROWS)
    if analyzed:
        await signup_database.as_owner("ANALYZE outbox_settled")
    events = ["user.signed_up", "user.erased"]
    for query, wanted, states, rows in (
        (SIGNUP_LOG.all, events, list(STATES), 51),
        (SIGNUP_LOG.all, ["user.erased"], list(STATES), 51),
        (SIGNUP_LOG.rare, events, ["canceled"], 51),
        (SIGNUP_LOG.rare, events, ["pending"], 0),
    ):
        pages, found = await _pages(signup_database, query, subscriber, wanted, states, LOWEST, HIGHEST, None, None, 51)
        assert found == rows
        assert pages < MOST_PAGES, (wanted, states)
    since = await signup_database.database.pool.fetchval("SELECT min(created_at) FROM outbox_settled")
    for statement in (REPLAY_SETTLED, REVIVE_DEAD):
        pages, _ = await _pages(signup_database, statement, subscriber, events, LOWEST, HIGHEST, since, None, 50, 60.0)
        assert pages < MOST_PAGES


FILL_HISTORY = """
INSERT INTO history (kind, subject, actor, detail)
SELECT 'mail.sent', uuidv7()::text, 'test', '{"state": "sent"}' FROM generate_series(1, $1::int)
"""
SUBSCRIBE = """
INSERT INTO webhook_subscribers (client, url, events, key_id) VALUES ('c', 'https://x.example/', $1, 'k') RETURNING id
"""


async def test_a_look_reads_no_more_of_history_than_it_hands_over(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await pool.execute(FILL_HISTORY, ROWS)
    await pool.execute(SUBSCRIBE, list(EVENTS))
    arguments = (list(EVENTS), 10_000, 1_000, 500, 60.0, 60.0)
    # The first one begins, and the others read the minute before.
    while (await pool.fetch(queries.FEED, *arguments))[0]["more"]:
        pass
    pages, _ = await _pages(mail_database, queries.FEED, *arguments)
    assert pages < 200


FILL_DELIVERIES = """
INSERT INTO webhook_deliveries (subscriber_id, id, position, mail_id, event, data, occurred_at, expires_at, due_at)
SELECT $1, uuidv7(), n, ('00000000-0000-7000-8000-' || lpad((n % 3000)::text, 12, '0'))::uuid, 'mail.sent', '{}', now(),
       now() + interval '1 day', now() - make_interval(secs => 10000 - n)
FROM generate_series(1, 10000) AS n
"""


async def test_a_claim_looks_up_earlier_events_by_their_mail_also_with_a_plan_that_was_made_when_none_waited(
    mail_database: Clone,
) -> None:
    pool = mail_database.database.pool
    subscriber = await pool.fetchval(SUBSCRIBE, list(EVENTS))
    run = f"EXECUTE claim (ARRAY['{subscriber}']::uuid[], ARRAY[100], 30, '{uuid4()}')"
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE claim (uuid[], int[], float8, uuid) AS {queries.CLAIM_DUE}")
        await connection.execute(run)
        await connection.execute(FILL_DELIVERIES, subscriber)
        (explained,) = orjson.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {run}"))
        await connection.execute("DEALLOCATE claim")
    assert explained["Plan"]["Actual Rows"] == 100
    # For each row: its own page, its mail's, and what the update writes. Reading all that wait for each is 20,000.
    assert explained["Plan"]["Shared Hit Blocks"] < 3_000
