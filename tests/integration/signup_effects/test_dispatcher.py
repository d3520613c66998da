"""One claim for all effects of a worker: no effect takes a place from another (P3), and no row is left behind."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from functools import partial
from operator import eq

import asyncpg
import pytest

from services.signup.outbox.dispatcher import Dispatcher
from services.signup.outbox.effects.statistics import StatsEffect
from services.signup.outbox.relay import Relay
from shared.worker.circuit_breaker import Breaker, BreakerState
from shared.worker.claim_floor import FULL_EVERY_SECONDS
from shared.worker.growing_gap import GrowingGap
from shared.worker.schedule import WakeupFanout
from tests.support.mail_stand_in import MailStandIn, mail_stand_in
from tests.support.relays import LoneRelay
from tests.support.signups import SignupLedger
from tests.support.stack import eventually

MakeRelay = Callable[..., LoneRelay]


@pytest.fixture
async def hanging() -> AsyncIterator[MailStandIn]:
    async with mail_stand_in() as stand_in:
        stand_in.answer_with = "hang"
        yield stand_in


@pytest.fixture
async def mail_and_stats(
    ledger: SignupLedger, relay_for: MakeRelay, hanging: MailStandIn
) -> AsyncIterator[tuple[Dispatcher, LoneRelay]]:
    """A dispatcher of both effects, and the relay of mails, whose peer does not answer."""
    mail, stats = (
        relay_for("mail", mail_url=hanging.url, mail_api_key="cf_x", mail_timeout_seconds=60),
        relay_for("stats"),
    )
    dispatcher = Dispatcher(ledger.pool, [mail.relay, stats.relay], gap=GrowingGap(0))
    yield dispatcher, mail
    for task in dispatcher._tasks:
        task.cancel()
    await asyncio.gather(*dispatcher._tasks, return_exceptions=True)


async def mails(ledger: SignupLedger) -> list[str]:
    return [row["state"] for row in await ledger.rows("outbox", effect="mail")]


async def settled_stats(ledger: SignupLedger) -> int:
    return len(await ledger.rows("outbox_settled", effect="stats"))


@pytest.mark.promise("P3")
async def test_an_effect_that_hangs_holds_nobody_up_and_takes_no_more_rows_than_its_own(
    ledger: SignupLedger, mail_and_stats: tuple[Dispatcher, LoneRelay]
) -> None:
    dispatcher, _ = mail_and_stats
    for number, email in enumerate(("asa@example.org", "bo@example.org"), 1):
        await ledger.sign_up(email)
        await dispatcher.run_once()
        assert len(dispatcher._tasks) == 2, "the batch that hangs, and one of the other effect"
        await asyncio.wait(dispatcher._tasks, return_when=asyncio.FIRST_COMPLETED)
        assert await settled_stats(ledger) == number
    assert await mails(ledger) == ["leased", "pending"]


async def test_an_open_breaker_lets_one_row_of_its_own_effect_out_and_every_row_of_the_others(
    ledger: SignupLedger, mail_and_stats: tuple[Dispatcher, LoneRelay]
) -> None:
    dispatcher, mail = mail_and_stats
    for _ in range(2):
        mail.breaker.faulted("down")
    await ledger.sign_up("asa@example.org", "bo@example.org")
    await dispatcher.run_once()
    await eventually(lambda: settled_stats(ledger), partial(eq, 2))
    assert sorted(await mails(ledger)) == ["leased", "pending"]


async def test_a_claim_that_fails_gives_the_probe_back(
    ledger: SignupLedger, mail_and_stats: tuple[Dispatcher, LoneRelay]
) -> None:
    dispatcher, mail = mail_and_stats
    for _ in range(2):
        mail.breaker.faulted("down")
    await ledger.run("ALTER TABLE outbox RENAME TO elsewhere")
    with pytest.raises(asyncpg.UndefinedTableError):
        await dispatcher.run_once()
    assert mail.breaker.state is BreakerState.OPEN
    assert mail.breaker.allowance(1) == 1


async def test_a_row_put_back_in_time_is_found_by_the_next_full_look(
    ledger: SignupLedger, relay_for: MakeRelay
) -> None:
    now = 1000.0
    dispatcher = Dispatcher(ledger.pool, [relay_for("stats").relay], gap=GrowingGap(0), clock=lambda: now)
    await ledger.sign_up("asa@example.org")
    await dispatcher.run_once()
    await dispatcher.drain()
    assert await settled_stats(ledger) == 1
    await ledger.sign_up("bo@example.org")
    await ledger.run("UPDATE outbox SET due_at = now() - interval '1 hour' WHERE effect = 'stats'")
    for later, found in ((0.5, 1), (5.0, 1), (FULL_EVERY_SECONDS, 2)):
        now = 1000.0 + later
        await dispatcher.run_once()
        await dispatcher.drain()
        assert await settled_stats(ledger) == found, later


async def test_an_effect_that_rests_gathers_its_rows_until_it_has_rested_or_they_fill_a_batch(
    ledger: SignupLedger,
) -> None:
    now, wakeup = 1000.0, WakeupFanout()
    woken = wakeup.subscribe()
    relay = Relay(ledger.pool, StatsEffect(), breaker=Breaker("stats"), batch=2, lease_seconds=30, clock=lambda: now)
    dispatcher = Dispatcher(ledger.pool, [relay], wakeup=wakeup, gap=GrowingGap(0), clock=lambda: now)
    steps = ((0.0, "a", 1, 1.0), (0.5, "b", 1, 0.5), (1.0, "c", 3, math.inf), (1.0, "d", 4, 1.0), (1.75, "e", 4, 0.25))
    for later, person, found, rest_left in steps:
        now = 1000.0 + later
        woken.clear()
        await ledger.sign_up(f"{person}@example.org")
        await dispatcher.run_once()
        await dispatcher.run_once()  # while the batch is under way
        await dispatcher.drain()
        assert await settled_stats(ledger) == found, person
        assert woken.is_set() == (person == "c"), "more may wait behind a full batch; else it looks when it has rested"
        assert dispatcher.rest_left() == rest_left, person
