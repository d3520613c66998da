"""Claims scan the index on due time, however long the queue and however stale its statistics."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from services.mail import worker as mail_worker
from services.mail.audit.queries import ALERT_SYMPTOMS as MAIL_SYMPTOMS
from services.mail.audit.queries import HEALTH as MAIL_HEALTH
from services.mail.audit.stage_metrics_queries import READ_STAGES as MAIL_STAGES
from services.mail.delivery import queries as mail_queries
from services.mail.delivery.expiry import WINDOW
from services.mail.intake.queries import ACCEPT_NEW
from services.mail.ledger.change_feed import changes, read_cursor
from services.mail.ledger.queries import CHANGES_IN_COMMIT_SAFE_ORDER, FEED_LAG, WALK_IN_ORDER
from services.mail.settings import Settings as MailSettings
from services.mail.webhooks import queries as mail_webhooks
from services.signup import worker as signup_worker
from services.signup.audit.queries import ALERT_SYMPTOMS as SIGNUP_SYMPTOMS
from services.signup.audit.stage_metrics_queries import READ_STAGES as SIGNUP_STAGES
from services.signup.outbox.queries import CLAIM_DUE as CLAIM_DUE_EFFECTS
from services.signup.outbox.queries import (
    OUTBOX_HEALTH,
    RELEASE_IF_LEASED,
    SETTLE_CANCELED_IF_LEASED,
    SETTLE_COUNTED_IF_LEASED,
    SETTLE_DEAD_IF_LEASED,
    SETTLE_DELIVERED_IF_LEASED,
    SETTLE_RETRY_IF_LEASED,
)
from services.signup.settings import Settings as SignupSettings
from shared.db.pool import Pool, open_database
from shared.worker.claim_floor import BEGINNING, ClaimFloor
from shared.worker.heartbeats import BEAT
from tests.support.bad_data import plant
from tests.support.databases import Clone
from tests.support.mails import insert_mails
from tests.support.plans import pages, planned_for_all, rows_looked_at

FILL_OUTBOX = """
INSERT INTO outbox (effect, payload, expires_at, due_at)
SELECT 'mail', '{}', now(), now() + make_interval(secs => n - 150000) FROM generate_series(1, 200000) AS n
"""
DEAD_ROWS = 100_000
# What work leaves behind: rows that came, were claimed and settled, each with its two due times. The leases are over by
# now: the index entries of those that are not are as many as are claimed in 30 s, however long a snapshot is held.
DIE = [
    """
    INSERT INTO outbox (effect, payload, expires_at, due_at)
    SELECT 'mail', '{}', now(), now() - make_interval(secs => 60 - n * 0.0005) FROM generate_series(1, $1::int) AS n
    """,
    "UPDATE outbox SET due_at = now() - interval '1 s', state = 'leased', lease = uuidv7() WHERE $1::int > 0",
    "DELETE FROM outbox WHERE $1::int > 0",
]
MAILS_DIE = [
    """
    WITH m AS (
        INSERT INTO mails (
            id, client, request_id, fingerprint, state, on_uncertain, lane, message_id, next_attempt_at, expires_at
        )
        SELECT uuidv7(), 'c', n::text, sha256(''), 'queued', 'hold', 'live', '<m>', now(), now()
        FROM generate_series(1, $1::int) AS n RETURNING id, request_id
    )
    INSERT INTO queue (mail_id, lane, due_at)
    SELECT id, 'live', now() - make_interval(secs => 60 - request_id::int * 0.0005) FROM m
    """,
    "UPDATE queue SET due_at = now() - interval '1 s', lease = gen_random_uuid() WHERE $1::int > 0",
    "DELETE FROM queue WHERE $1::int > 0",
]
# Some index pages, those that the writes need, and the 100 rows that died in the narrow look's 50 ms before the floor.
MOST_PAGES = 150
FILL_QUEUE = """
WITH m AS (
    INSERT INTO mails (
        id, client, request_id, fingerprint, state, on_uncertain, lane, message_id, next_attempt_at, expires_at
    )
    SELECT uuidv7(), 'c', n::text, sha256(''), 'queued', 'hold', 'live', '<m>', now(), now()
    FROM generate_series(1, 100000) AS n RETURNING id, request_id
)
INSERT INTO queue (mail_id, lane, due_at)
SELECT id, 'live', now() + make_interval(secs => request_id::int - 50000) FROM m
"""
FILL_LOST = """
INSERT INTO lost_mails (request_id, client, mail_id, fingerprint, state, message_id, accepted_at)
SELECT n::text, 'c', uuidv7(), sha256(''), 'sent', '<m>', now() FROM generate_series(1, 6000) AS n
"""


async def _plan(clone: Clone, query: str, *arguments: object) -> str:
    """Sequential scans are allowed here, which the pool forbids: the statement itself must need none."""
    async with clone.database.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = on")
        return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {query}", *arguments))


@pytest.mark.parametrize("analyzed", [False, True])
async def test_claiming_effects_reads_no_more_of_the_outbox_than_it_takes(
    signup_database: Clone, *, analyzed: bool
) -> None:
    pool = signup_database.database.pool
    await pool.execute(FILL_OUTBOX)
    if analyzed:
        await pool.execute("ANALYZE outbox")
    plan = await _plan(signup_database, CLAIM_DUE_EFFECTS, ["mail"], [200], [BEGINNING], [30.0], uuid4())
    assert "outbox_due" in plan
    assert "Seq Scan on outbox" not in plan


@asynccontextmanager
async def rows_that_a_snapshot_holds(clone: Clone, table: str, die: list[str]) -> AsyncIterator[ClaimFloor]:
    """While it lasts, vacuum may not remove 100,000 dead rows of `table`. Yields the floor of a claim after them."""
    holder = await asyncpg.connect(clone.owner_url)
    try:
        async with holder.transaction(isolation="repeatable_read"):
            await holder.fetchval(f"SELECT count(*) FROM {table}")
            for statement in die:
                await clone.database.pool.execute(statement, DEAD_ROWS)
            floor = ClaimFloor()
            floor.begin(0.0)
            floor.advance(await clone.database.pool.fetchval("SELECT now()"), None)
            yield floor
    finally:
        await holder.close()


async def test_a_claim_does_not_walk_over_dead_rows_that_a_snapshot_holds(signup_database: Clone) -> None:
    async def claim(due_from: datetime) -> int:
        return await pages(
            signup_database, 5, CLAIM_DUE_EFFECTS, ["mail", "webhook"], [200] * 2, [due_from] * 2, [30.0] * 2, uuid4()
        )

    async with rows_that_a_snapshot_holds(signup_database, "outbox", DIE) as floor:
        await signup_database.database.pool.execute(
            "INSERT INTO outbox (effect, payload, expires_at) SELECT 'mail', '{}', now() FROM generate_series(1, 5)"
        )
        assert await claim(BEGINNING) > DEAD_ROWS / 200
        assert await claim(floor.begin(0.1)) < MOST_PAGES


async def test_the_queue_is_read_from_its_floor_and_not_over_rows_that_a_snapshot_holds(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    async with rows_that_a_snapshot_holds(mail_database, "queue", MAILS_DIE) as floor:
        await insert_mails(pool, 5)
        await insert_mails(pool, 5, expires_in_seconds=-60)
        near = floor.begin(0.1)
        for expected, statement, floors, before, after in (
            (10, mail_queries.CLAIM_DUE, 2, (64, 12, 30.0), ()),
            (1, mail_queries.FIND_OVERDUE, 1, (500,), ()),
            (1, mail_queries.FIND_EXPIRED, 2, (500,), (0, 0, WINDOW)),
        ):
            read = [
                await pages(mail_database, expected, statement, *before, *[begins] * floors, *after)
                for begins in (BEGINNING, near)
            ]
            assert read[0] > DEAD_ROWS / 200
            assert read[1] < 3 * MOST_PAGES
        await _report(pool, "mail-worker", {"claimed_until": {"live": floor.claimed_until.isoformat()}})
        readers: list[tuple[str, tuple[object, ...]]] = [
            (MAIL_HEALTH, (30,)), (MAIL_SYMPTOMS, ()), (MAIL_STAGES, ("mail-worker", []))
        ]  # fmt: skip
        for statement, given in readers:
            assert await pages(mail_database, 1, statement, *given) < MOST_PAGES


async def test_the_outbox_is_read_from_its_floor_and_not_over_rows_that_a_snapshot_holds(
    signup_database: Clone,
) -> None:
    effects = ["mail", "webhook"]
    async with rows_that_a_snapshot_holds(signup_database, "outbox", DIE) as floor:
        assert await pages(signup_database, 1, OUTBOX_HEALTH, effects) > DEAD_ROWS / 200
        claimed_until = {"claimed_until": floor.claimed_until.isoformat()}
        await _report(signup_database.database.pool, "signup-worker", {"effects": {"mail": claimed_until}})
        for statement, arguments in (
            (OUTBOX_HEALTH, (effects,)),
            (SIGNUP_SYMPTOMS, ("signup-worker", effects)),
            (SIGNUP_STAGES, ("signup-worker", [], effects)),
        ):
            assert await pages(signup_database, 1, statement, *arguments) < MOST_PAGES


async def _report(pool: Pool, worker: str, detail: dict[str, Any]) -> None:
    await pool.execute(BEAT, worker, "test", orjson.dumps(detail).decode())


@pytest.mark.parametrize("analyzed", [False, True])
async def test_claiming_mails_reads_no_more_of_the_queue_than_it_takes(mail_database: Clone, *, analyzed: bool) -> None:
    pool = mail_database.database.pool
    await pool.execute(FILL_QUEUE)
    if analyzed:
        await pool.execute("ANALYZE queue")
        await pool.execute("ANALYZE mails")
    plan = await _plan(mail_database, mail_queries.CLAIM_DUE, 100, 25, 30.0, BEGINNING, BEGINNING)
    assert "queue_due" in plan
    for table in ("queue", "mails", "contents"):
        assert f"Seq Scan on {table}" not in plan, plan


# Their arguments: batches of one row, the shortest.
PLANNED_ONCE: dict[str, list[tuple[str, tuple[object, ...]]]] = {
    "signup": [
        (CLAIM_DUE_EFFECTS, (["mail", "stats"], [200] * 2, [BEGINNING] * 2, [30.0] * 2, uuid4())),
        (SETTLE_DELIVERED_IF_LEASED, (uuid4(), [uuid4()], ["{}"])),
        (SETTLE_COUNTED_IF_LEASED, (uuid4(), [uuid4()], ["{}"])),
    ],
    "mail": [
        (mail_queries.CLAIM_DUE, (100, 25, 30.0, BEGINNING, BEGINNING)),
        (mail_queries.TRANSMIT_IF_LEASED, ([uuid4()], [1], [uuid4()], ["sink"], [None], [None], [None])),
        (
            mail_queries.SETTLE_IF_LEASED,
            (
                *([uuid4()], [1], [uuid4()], ["sink"], ["accepted"], [True], [250], [None], ["Ok"], ["sent"]),
                *(["mail.sent"], [None], [None], [False], 30, [None], [None]),
            ),
        ),
    ],
}


@pytest.mark.parametrize("service", PLANNED_ONCE)
async def test_a_worker_has_one_plan_for_all_arguments_however_much_dearer_it_seems_to_become(
    service: str, signup_database: Clone, mail_database: Clone
) -> None:
    """Left to itself, PostgreSQL plans for given arguments as long as one plan for all looks dearer than plans before.

    A table that has grown looks dearer, and one whose dead rows a snapshot holds all the more.
    """
    if service == "signup":
        clone = signup_database
        options = signup_worker.database_options(SignupSettings(signup_runtime_database_url=clone.runtime_url))
    else:
        clone = mail_database
        options = mail_worker.database_options(MailSettings(mail_runtime_database_url=clone.runtime_url))
    database = await open_database(options)
    try:
        async with database.pool.acquire() as connection:
            for grows in (False, True):
                if grows:
                    await (
                        clone.as_owner(FILL_OUTBOX) if service == "signup" else insert_mails(clone.database.pool, 5_000)
                    )
                    await clone.as_owner("ANALYZE")
                for query, arguments in PLANNED_ONCE[service]:
                    for _ in range(6):
                        await connection.fetch(query, *arguments)
            plans = await connection.fetch("SELECT statement, custom_plans, generic_plans FROM pg_prepared_statements")
    finally:
        await database.close()
    made = {row["statement"]: (row["custom_plans"], row["generic_plans"]) for row in plans}
    assert [made[query] for query, _ in PLANNED_ONCE[service]] == [(0, 12)] * len(PLANNED_ONCE[service])


async def test_accepting_reads_lost_mails_by_primary_key(mail_database: Clone) -> None:
    await plant(mail_database, FILL_LOST, "ANALYZE lost_mails")
    plan = await _plan(mail_database, ACCEPT_NEW, "c", "[]", 60, "key", "x.example")
    assert "lost_mails_pkey" in plan
    assert "Seq Scan on lost_mails" not in plan


async def test_no_index_of_mails_covers_a_column_that_delivery_changes(mail_database: Clone) -> None:
    # Such an index would make each update of a mail write all its indexes: see the first revision.
    rows = await mail_database.database.pool.fetch(
        """
        SELECT DISTINCT a.attname FROM pg_index i
        JOIN pg_depend d ON d.objid = i.indexrelid AND d.refobjid = i.indrelid
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid
        JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
        WHERE i.indrelid = 'mails'::regclass AND m.amname <> 'brin'
        """
    )
    indexed = {row["attname"] for row in rows}
    assert {"to_key", "rare_state"} <= indexed
    assert not indexed & {
        *("state", "attempts", "gateway", "sent_at", "next_attempt_at"),
        *("failure_reason", "failure_code", "failure_enhanced_code", "failure_reply"),
    }


FILL_HISTORY = """
INSERT INTO history (kind, subject, actor, detail)
SELECT 'mail.sent', n::text, 'test', '{"state": "sent"}' FROM generate_series(1, 50000) AS n
"""
CHANGES_OF_ALL = """
INSERT INTO history (kind, subject, actor, detail)
SELECT 'mail.accepted', id::text, 'test', '{"state": "queued"}' FROM mails
"""


@pytest.mark.parametrize("analyzed", [False, True])
async def test_reading_the_lag_of_the_feed_reads_one_of_the_changes_that_it_does_not_show(
    mail_database: Clone, *, analyzed: bool
) -> None:
    async with mail_database.database.pool.acquire() as holder, holder.transaction():
        await holder.execute("SELECT pg_current_xact_id()")
        await mail_database.database.pool.execute(FILL_HISTORY)
        if analyzed:
            await mail_database.database.pool.execute("ANALYZE history")
        plan = await _plan(mail_database, f"(ANALYZE) {FEED_LAG}")
    read = [
        int(rows) for rows in re.findall(r"Index Scan using history_\w*position\w* .*?actual [^)]*rows=(\d+)", plan)
    ]
    assert read, plan
    assert max(read) <= 1, plan
    assert "Seq Scan on history" not in plan, plan


@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_page_of_the_feed_reads_no_more_than_it_shows_however_many_changes_lie_behind_the_cursor(
    mail_database: Clone, *, analyzed: bool
) -> None:
    pool, page = mail_database.database.pool, 100
    await insert_mails(pool, 5_000)
    await pool.execute(CHANGES_OF_ALL)
    if analyzed:
        await pool.execute("ANALYZE history, mails")
    read = await pages(
        mail_database, page, CHANGES_IN_COMMIT_SAFE_ORDER, 0, UUID(int=0), None, page, 100_000, prepare=WALK_IN_ORDER
    )
    assert read < 10 * page


@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_client_without_changes_reads_those_of_other_clients_once(
    mail_database: Clone, *, analyzed: bool
) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 5_000)
    await pool.execute(CHANGES_OF_ALL)
    if analyzed:
        await pool.execute("ANALYZE history, mails")
    page = await changes(mail_database.database, "quiet", None, 100)
    assert (page["items"], page["more"]) == ([], False)
    cursor = read_cursor(page["next_cursor"])
    read = await pages(
        mail_database, 1, CHANGES_IN_COMMIT_SAFE_ORDER, *cursor, "quiet", 100, 100_000, prepare=WALK_IN_ORDER
    )
    assert read < 100


@pytest.mark.parametrize("client", ["quiet", "tests", None])
async def test_a_page_of_the_feed_reads_no_more_entries_than_it_looks_at(
    mail_database: Clone, client: str | None
) -> None:
    pool, looked_at = mail_database.database.pool, 50
    await insert_mails(pool, 5_000)
    await pool.execute(CHANGES_OF_ALL)
    rows = 1 if client == "quiet" else looked_at
    read = await pages(
        mail_database, rows, CHANGES_IN_COMMIT_SAFE_ORDER, 0, UUID(int=0), client, 500, looked_at, prepare=WALK_IN_ORDER
    )
    assert read < 10 * looked_at


@pytest.mark.parametrize("instants", [1, 3_000])
@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_look_for_expired_mails_reads_one_window_however_many_wait(
    mail_database: Clone, *, instants: int, analyzed: bool
) -> None:
    window = 100
    await insert_mails(mail_database.database.pool, 3_000)
    await insert_mails(mail_database.database.pool, 3_000, lane="bulk")
    await mail_database.as_owner(
        """
        UPDATE queue SET due_at = now() - make_interval(secs => n % $1::int)
        FROM (SELECT mail_id, row_number() OVER () AS n FROM queue) AS numbered
        WHERE queue.mail_id = numbered.mail_id
        """,
        instants,
    )
    if analyzed:
        await mail_database.as_owner("ANALYZE")
    plan = await planned_for_all(
        mail_database, mail_queries.FIND_EXPIRED, f"500, '{BEGINNING}', '{BEGINNING}', 0, 0, {window}"
    )
    # Both lanes: the row in the queue, and the mail by its key, of three index pages and its own.
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 2 * window * (1 + 4), plan
    assert rows_looked_at(plan) < 20 * window, plan


WAITING = 20_000
SUBSCRIBER = uuid4()
FILL_WAITING = {
    "outbox": f"""
        INSERT INTO outbox (effect, payload, expires_at, due_at)
        SELECT 'mail', '{{}}', now(), now() - interval '1 s' FROM generate_series(1, {WAITING})
    """,
    "queue": f"""
        WITH m AS (
            INSERT INTO mails (
                id, client, request_id, fingerprint, state, on_uncertain, lane, message_id, next_attempt_at, expires_at
            )
            SELECT uuidv7(), 'c', gen_random_uuid()::text, sha256(''), 'queued', 'hold', 'live', '<m>', now(),
                   now() + interval '1 day'
            FROM generate_series(1, {WAITING}) RETURNING id
        )
        INSERT INTO queue (mail_id, lane, due_at) SELECT id, 'live', now() - interval '1 s' FROM m
    """,
    # All that may wait for one subscriber.
    "webhook_deliveries": f"""
        INSERT INTO webhook_deliveries (
            id, subscriber_id, position, mail_id, event, data, occurred_at, due_at, expires_at
        )
        SELECT uuidv7(), '{SUBSCRIBER}', 0, uuidv7(), 'mail.sent', '{{}}', now(),
               now() - make_interval(secs => n * 0.001), now()
        FROM generate_series(1, {WAITING}) n
    """,
}
SUBSCRIBE = f"""
INSERT INTO webhook_subscribers (id, client, url, events, key_id)
VALUES ('{SUBSCRIBER}', 'c', 'https://hooks.example/', ARRAY['mail.sent'], 'k')
"""
# All but the row that was written last, so that the table keeps its pages.
EMPTY = {
    "outbox": "DELETE FROM outbox WHERE id <> (SELECT id FROM outbox ORDER BY id DESC LIMIT 1)",
    "queue": "DELETE FROM queue WHERE mail_id <> (SELECT mail_id FROM queue ORDER BY mail_id DESC LIMIT 1)",
    "webhook_deliveries": "DELETE FROM webhook_deliveries WHERE id <> "
    "(SELECT id FROM webhook_deliveries ORDER BY id DESC LIMIT 1)",
}
BATCH = 100
IDS = "ARRAY[" + ", ".join(f"'{uuid4()}'" for _ in range(BATCH)) + "]::uuid[]"


def _columns(*kinds: str) -> str:
    """A batch of arguments: IDs of no row, and nulls."""
    return ", ".join(IDS if kind == "id" else f"array_fill(NULL::{kind}, ARRAY[{BATCH}])" for kind in kinds)


LEASE = f"'{uuid4()}', "
ON_WAITING_ROWS = {
    "outbox": {
        CLAIM_DUE_EFFECTS: f"'{{mail}}', '{{{BATCH}}}', ARRAY['{BEGINNING}'::timestamptz], '{{30}}', '{uuid4()}'",
        SETTLE_DELIVERED_IF_LEASED: LEASE + _columns("id", "jsonb"),
        SETTLE_COUNTED_IF_LEASED: LEASE + _columns("id", "jsonb"),
        SETTLE_CANCELED_IF_LEASED: LEASE + _columns("id", "text"),
        SETTLE_DEAD_IF_LEASED: LEASE + _columns("id", "text"),
        SETTLE_RETRY_IF_LEASED: LEASE + _columns("id", "float8", "text", "int"),
        RELEASE_IF_LEASED: LEASE + _columns("id") + ", 'x'",
    },
    "queue": {
        mail_queries.CLAIM_DUE: f"72, 10, 30.0, '{BEGINNING}', '{BEGINNING}'",
        mail_queries.TRANSMIT_IF_LEASED: _columns("id", "int", "id", "text", "timestamptz", "text", "timestamptz"),
        mail_queries.RENEW_IF_LEASED: _columns("id", "id") + ", 30.0",
        mail_queries.FIND_EXPIRED: f"500, '{BEGINNING}', '{BEGINNING}', 0, 0, {BATCH}",
        mail_queries.CLOSE_IF_EXPIRED: _columns("id"),
        mail_queries.GIVE_BACK_IF_LEASED: _columns("id", "id", "float8"),
        mail_queries.SETTLE_IF_LEASED: ", ".join(
            (
                _columns("id", "int", "id", "text", "text", "bool", "int", *["text"] * 5, "float8", "bool"),
                "30",
                _columns("timestamptz", "text"),
            )
        ),
    },
    "webhook_deliveries": {
        mail_webhooks.CLAIM_DUE: f"ARRAY['{SUBSCRIBER}'::uuid], '{{{BATCH}}}', 30, '{uuid4()}'",
        mail_webhooks.SETTLE_IF_LEASED: LEASE + f"'{SUBSCRIBER}', " + _columns("id", "text", "int", "text", "int"),
        mail_webhooks.RETRY_IF_LEASED: LEASE + f"'{SUBSCRIBER}', " + _columns("id", "float8", "int", "text", "int"),
        mail_webhooks.GIVE_UP_EXPIRED: f"{BATCH}",
    },
}


# At each row that waits, less than once. A webhook's claim sorts those of the subscriber, a bounded number, and looks
# for an earlier event of each mail.
MOST_LOOKS = {"outbox": 0.75, "queue": 0.75, "webhook_deliveries": 2.5}


@pytest.mark.parametrize("table", ON_WAITING_ROWS)
async def test_a_batch_costs_no_more_where_the_last_vacuum_saw_the_table_empty(
    table: str, signup_database: Clone, mail_database: Clone
) -> None:
    clone = signup_database if table == "outbox" else mail_database
    if table == "webhook_deliveries":
        await clone.as_owner(SUBSCRIBE)
    for statement in (FILL_WAITING[table], EMPTY[table], f"VACUUM {table}", FILL_WAITING[table]):
        await clone.as_owner(statement)
    for query, arguments in ON_WAITING_ROWS[table].items():
        plan = await planned_for_all(clone, query, arguments)
        assert rows_looked_at(plan) < WAITING * MOST_LOOKS[table], (query, plan)
