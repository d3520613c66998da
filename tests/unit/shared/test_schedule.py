"""A worker's table: loops end in order on a stop, and a task that fails ends the process."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from shared.worker.loops import FunctionLoop
from shared.worker.schedule import Scheduled, WakeupFanout, run_schedule


def _loop(name: str, run: Callable[[], None]) -> FunctionLoop:
    async def function() -> None:
        run()

    return FunctionLoop(name, function)


async def test_one_wakeup_wakes_every_loop_that_waits_for_it() -> None:
    wakeup, stop, runs = WakeupFanout(), asyncio.Event(), [0, 0]
    once, both = asyncio.Event(), asyncio.Event()

    def count(place: int) -> None:
        runs[place] += 1
        if min(runs) >= 1:
            once.set()
        if min(runs) >= 2:
            both.set()

    table = [Scheduled(_loop(f"loop-{place}", partial(count, place)), 3600, wakeup) for place in (0, 1)]
    running = asyncio.create_task(run_schedule(table, stop, drain_seconds=1))
    async with asyncio.timeout(60):
        await once.wait()
        wakeup.set()
        await both.wait()
    stop.set()
    await running


@pytest.mark.promise("P8")
async def test_a_loop_that_nothing_wakes_runs_again() -> None:
    stop, twice, runs = asyncio.Event(), asyncio.Event(), [0]

    def count() -> None:
        runs[0] += 1
        if runs[0] == 2:
            twice.set()

    running = asyncio.create_task(run_schedule([Scheduled(_loop("poll", count), 0.01)], stop, drain_seconds=1))
    async with asyncio.timeout(60):
        await twice.wait()
    stop.set()
    await running


async def test_loops_that_run_until_drained_outlive_the_others_and_the_drain() -> None:
    stop, order = asyncio.Event(), list[str]()
    started, beat_again = asyncio.Event(), asyncio.Event()
    beats = WakeupFanout()

    async def drain() -> None:
        beat_again.clear()
        beats.set()
        await beat_again.wait()
        order.append("drained")

    def claim() -> None:
        order.append("claim")
        started.set()

    def beat() -> None:
        order.append("beat")
        beat_again.set()

    table = [Scheduled(_loop("claim", claim), 3600), Scheduled(_loop("beat", beat), 3600, beats, until_drained=True)]
    running = asyncio.create_task(run_schedule(table, stop, drain=drain, drain_seconds=1))
    async with asyncio.timeout(60):
        await started.wait()
        stop.set()
        await running
    assert order.index("drained") > order.index("claim")
    assert order.count("claim") == 1
    assert order[order.index("drained") - 1] == "beat"


async def test_a_task_that_fails_ends_the_schedule_with_its_exception() -> None:
    async def listen() -> None:
        raise RuntimeError("the listener ended")

    table = [Scheduled(_loop("idle", lambda: None), 3600)]
    with pytest.raises(RuntimeError, match="the listener ended"):
        async with asyncio.timeout(60):
            await run_schedule(table, asyncio.Event(), beside=[listen()], drain_seconds=1)


async def test_an_endless_task_ends_after_the_drain_and_nothing_waits_for_it() -> None:
    """A worker that waited for its listener took three seconds longer to end."""
    stop, order = asyncio.Event(), list[str]()
    is_over = asyncio.Event()

    async def listen() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            order.append("canceled")
            is_over.set()

    async def last() -> None:
        await is_over.wait()
        order.append("ended by itself")

    async def drain() -> None:
        order.append("drained")

    table = [Scheduled(_loop("idle", stop.set), 3600)]
    async with asyncio.timeout(60):
        await run_schedule(table, stop, beside=[last()], endless=[listen()], drain=drain, drain_seconds=1)
    assert order == ["drained", "canceled", "ended by itself"]
