"""Who shares a statement with whom: the first goes at once, those that follow it closely go together (ADR 0044)."""

import asyncio

from services.signup.accounts.sign_up import Details
from services.signup.accounts.signup_batcher import ENOUGH, SignupBatcher
from shared.contract.addresses import parse_address
from shared.worker.growing_gap import GrowingGap
from tests.support.signups import ANONYMOUS, SignupLedger

HOUR = 3600.0


async def _sign_up(batcher: SignupBatcher, name: str) -> None:
    await batcher.sign_up(Details(parse_address(f"{name}@example.org"), name), ANONYMOUS)


async def _statements(ledger: SignupLedger) -> list[int]:
    """How many users each statement wrote; all rows of a transaction have one time."""
    rows = await ledger.pool.fetch("SELECT count(*) AS users FROM users GROUP BY created_at ORDER BY created_at")
    return [row["users"] for row in rows]


async def test_while_they_follow_each_other_signups_wait_until_enough_do(ledger: SignupLedger) -> None:
    batcher = SignupBatcher(ledger.pool, ledger.policy, gap=GrowingGap(HOUR, longest_seconds=HOUR))
    await _sign_up(batcher, "first")
    for count in (1, 2):
        waiting = []
        for n in range(1, ENOUGH):
            waiting.append(asyncio.create_task(_sign_up(batcher, f"{count}-{n}")))
            assert await _statements(ledger) == [1, *[ENOUGH] * (count - 1)]
        await asyncio.gather(*waiting, _sign_up(batcher, f"{count}-last"))
    assert await _statements(ledger) == [1, ENOUGH, ENOUGH]
    await batcher.close()


async def test_who_comes_later_than_the_gap_does_not_wait(ledger: SignupLedger) -> None:
    clock = [0.0]
    batcher = SignupBatcher(ledger.pool, ledger.policy, gap=GrowingGap(HOUR, clock=lambda: clock[0]))
    for name in ("bo", "io", "al"):
        await _sign_up(batcher, name)
        clock[0] += HOUR
    assert await _statements(ledger) == [1, 1, 1]
    await batcher.close()


async def test_more_than_enough_at_once_share_one_statement(ledger: SignupLedger) -> None:
    batcher = SignupBatcher(ledger.pool, ledger.policy)
    await asyncio.gather(*(_sign_up(batcher, f"p{n}") for n in range(3 * ENOUGH)))
    assert await _statements(ledger) == [3 * ENOUGH]
    await batcher.close()
