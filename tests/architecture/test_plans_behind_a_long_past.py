"""What is read of the past is bounded by what is asked for, not by what lies before or after it."""

from datetime import datetime, timedelta

import pytest

from services.mail.ledger.mail_list import Filters, _matching
from services.signup.reconciliation.queries import NEXT_PENDING_USERS, NEXT_SETTLED
from services.signup.reconciliation.scan import EARLIER, FIRST_ID, LATER
from shared.contract.ids import lowest_uuid7
from shared.contract.mails import MAX_LOOKUP
from tests.support.databases import Clone
from tests.support.plans import pages, pages_with_one_plan

SETTLE_A_DAY = """
INSERT INTO outbox_settled (id, effect, payload, outcome, result, attempts, created_at)
SELECT uuidv7(), 'mail', '{}', 'delivered', '{}', 1, now() - make_interval(secs => 86400 - n)
FROM generate_series(1, 20000) AS n
"""
PENDING_FOR_A_MONTH = """
INSERT INTO users (id, email, email_key, name, source, created_at)
SELECT uuidv7(make_interval(secs => n * -130)), n || '@example.org', n || '@example.org', 'P', 'web',
       now() - make_interval(secs => n * 130)
FROM generate_series(1, 20000) AS n
"""


@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_page_of_a_reconciliation_reads_no_more_of_a_window_the_further_it_has_come(
    signup_database: Clone, *, analyzed: bool
) -> None:
    pool = signup_database.database.pool
    await signup_database.as_owner(SETTLE_A_DAY)
    if analyzed:
        await signup_database.as_owner("ANALYZE")
    now: datetime = await pool.fetchval("SELECT now()")
    read = [
        await pages_with_one_plan(
            signup_database, MAX_LOOKUP, NEXT_SETTLED, now - timedelta(seconds=since), FIRST_ID, now
        )
        for since in (86_400, 86_400 - 18_000)
    ]
    assert max(read) < 15 * MAX_LOOKUP
    assert read[1] < 1.2 * read[0]


@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_reconciliation_reads_no_pending_users_from_before_or_after_its_window(
    signup_database: Clone, *, analyzed: bool
) -> None:
    await signup_database.as_owner(PENDING_FOR_A_MONTH)
    if analyzed:
        await signup_database.as_owner("ANALYZE")
    now: datetime = await signup_database.database.pool.fetchval("SELECT now()")
    for begins in (now + timedelta(hours=2), now - timedelta(days=45)):
        window = (begins, begins + timedelta(days=1))
        ids = (lowest_uuid7(window[0], -EARLIER), lowest_uuid7(window[1], LATER))
        assert await pages_with_one_plan(signup_database, 0, NEXT_PENDING_USERS, *window, *ids) < 20


MAILS_OF_A_MONTH = """
INSERT INTO mails (
    id, client, request_id, fingerprint, state, on_uncertain, lane, message_id, accepted_at, sent_at, expires_at
)
SELECT uuidv7(make_interval(secs => n * -130)), 'c', n::text, sha256(''), 'sent', 'hold', 'live', '<m>',
       now() - make_interval(secs => n * 130), now() - make_interval(secs => n * 130), now()
FROM generate_series(0, 19999) AS n
"""


@pytest.mark.parametrize("analyzed", [False, True])
async def test_the_last_page_of_mails_accepted_after_a_time_reads_none_of_the_older_ones(
    mail_database: Clone, *, analyzed: bool
) -> None:
    await mail_database.as_owner(MAILS_OF_A_MONTH)
    if analyzed:
        await mail_database.as_owner("ANALYZE")
    an_hour_ago = await mail_database.database.pool.fetchval("SELECT now() - interval '1 hour'")
    filters = Filters(accepted_after=an_hour_ago)
    query = _matching([*filters.conditions(), *filters.bounds(None)], None, 51)
    text = str(query.compile(dialect=mail_database.database.engine.dialect, compile_kwargs={"literal_binds": True}))
    assert await pages(mail_database, 28, text) < 200
