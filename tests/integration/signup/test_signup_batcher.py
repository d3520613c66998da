"""Who shares a statement with whom, and that one which takes long does not hold up the others (ADR 0007, 0044)."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from asyncpg.transaction import Transaction

from services.signup.accounts.sign_up import Details
from services.signup.accounts.signup_batcher import SignupBatcher
from shared.contract.addresses import parse_address
from tests.support.signups import ANONYMOUS, SignupLedger

HELD = "held@example.org"
HOUR = 3600.0


def _sign_up(batcher: SignupBatcher, email: str) -> "asyncio.Task[object]":
    return asyncio.create_task(batcher.sign_up(Details(parse_address(email), "P"), ANONYMOUS))


@pytest.fixture
async def held(ledger: SignupLedger) -> AsyncIterator[Transaction]:
    """Holds the row of one user, as an import may, until it is rolled back."""
    await ledger.sign_up(HELD)
    connection = await asyncpg.connect(ledger.clone.owner_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SELECT FROM users WHERE email = $1 FOR UPDATE", HELD)
    yield transaction
    await connection.close()


async def _statements(ledger: SignupLedger) -> list[int]:
    """How many users each statement wrote; all rows of a transaction have one time."""
    rows = await ledger.pool.fetch(
        "SELECT count(*) AS users FROM users WHERE email <> $1 GROUP BY created_at ORDER BY created_at", HELD
    )
    return [row["users"] for row in rows]


async def test_signups_that_come_while_a_statement_runs_share_the_next_one(
    ledger: SignupLedger, held: Transaction
) -> None:
    batcher = SignupBatcher(ledger.pool, ledger.policy, late_seconds=HOUR)
    tasks = [_sign_up(batcher, HELD)]
    for n in range(5):
        assert await _statements(ledger) == []  # a round trip: each comes in another turn of the loop
        tasks.append(_sign_up(batcher, f"p{n}@example.org"))
    await held.rollback()
    await asyncio.gather(*tasks)
    assert await _statements(ledger) == [5]
    await batcher.close()


async def test_a_statement_that_waits_for_a_row_does_not_hold_up_the_others(
    ledger: SignupLedger, held: Transaction
) -> None:
    batcher = SignupBatcher(ledger.pool, ledger.policy)
    waiting = _sign_up(batcher, HELD)
    for n in range(3):
        assert await _statements(ledger) == [1] * n  # a round trip: the one before has begun
        await _sign_up(batcher, f"p{n}@example.org")
    assert not waiting.done()
    await held.rollback()
    await waiting
    await batcher.close()


async def test_an_idle_batcher_signs_up_at_once(ledger: SignupLedger) -> None:
    batcher = SignupBatcher(ledger.pool, ledger.policy, late_seconds=HOUR)
    for n in range(3):
        await _sign_up(batcher, f"p{n}@example.org")
    assert await _statements(ledger) == [1, 1, 1]
    await batcher.close()
