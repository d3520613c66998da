"""What a signup and its effects may write: counts, beside their reasons. A count that grows fails here.

Times and rates are measured by `make bench cost`; these counts are what they are made of.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.mail_stand_in import mail_stand_in
from tests.support.relays import LoneRelay
from tests.support.signups import SignupLedger
from tests.support.written import Written, cost_of

PEOPLE = 20


@pytest.fixture
async def peer_url() -> AsyncIterator[str]:
    async with mail_stand_in() as stand_in:
        yield stand_in.url


async def _sign_up(ledger: SignupLedger, tag: str) -> Written:
    return await cost_of(ledger.clone, lambda: ledger.sign_up(*(f"{tag}-{n}@example.org" for n in range(PEOPLE))))


async def test_a_signup_is_one_commit_of_five_rows(ledger: SignupLedger) -> None:
    await _sign_up(ledger, "warm")
    cost = await _sign_up(ledger, "counted")
    assert cost.commits == 1  # users, all that they are owed and their history: P1
    assert cost.rows == Counter(
        {
            "insert users": PEOPLE,
            "insert outbox": 3 * PEOPLE,  # one for each effect that a signup owes by default: P3
            "insert history": PEOPLE,  # P7
        }
    )
    # users 7 (two of them only for rows with an external ID or erased ones), outbox 6 each (dead rows, imports and
    # webhooks have one each, which these rows are not in), history 3.
    assert cost.index_entries <= 28 * PEOPLE
    assert cost.wal_bytes <= 3_200 * PEOPLE


async def test_an_answer_is_as_much_work_whether_the_address_is_new_pending_or_verified(ledger: SignupLedger) -> None:
    """Within the pause between two mails; after it, each of the three is owed one."""
    await _sign_up(ledger, "warm")
    new = await _sign_up(ledger, "counted")
    pending = await _sign_up(ledger, "counted")
    await ledger.run("UPDATE users SET status = 'verified', verified_at = now()")
    verified = await _sign_up(ledger, "counted")
    assert {cost.rows.total() for cost in (new, pending, verified)} == {5 * PEOPLE}
    assert pending.rows == verified.rows


@pytest.mark.parametrize(
    ("effect", "commits", "wal_bytes"),
    [
        ("mail", 2, 2_300),  # claim, settle; the largest payload, and the mail's ID in the result
        ("stats", 2, 1_700),  # claim, settle; one row of statistics a day
        ("cache", 4, 1_750),  # claim, read the profiles, read them again once they are written, settle
    ],
)
async def test_an_effect_is_written_when_it_is_claimed_and_when_it_is_settled(
    ledger: SignupLedger, relay_for: Callable[..., LoneRelay], peer_url: str, effect: str, commits: int, wal_bytes: int
) -> None:
    relay = relay_for(effect, mail_url=peer_url, mail_api_key="cf_x")
    for tag in ("warm", "counted"):
        await _sign_up(ledger, tag)
        cost = await cost_of(ledger.clone, relay.run_once)
    assert cost.commits == commits
    statistics = {"update signup_statistics": 1} if effect == "stats" else {}
    assert cost.rows == Counter(
        {
            "update outbox": PEOPLE,  # the lease: nobody else performs it
            "delete outbox": PEOPLE,  # the outbox holds only what is owed, so claims stay small
            "insert outbox_settled": PEOPLE,  # the ledger of what was owed, for reconciliation and timelines
            "insert history": PEOPLE,  # P7; it stays when the settled row's month is dropped
            **statistics,
        }
    )
    # outbox 6 (its due time changes), outbox_settled 5 (one only for mails, two only for webhooks), history 3.
    assert cost.index_entries <= 14 * PEOPLE
    assert cost.wal_bytes <= wal_bytes * PEOPLE
