"""A worker process as a table: which loops run, how often, what wakes them sooner, and when they end."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from ..observability.logs import get_logger
from .loops import Loop, LoopFailures, keep_running

_log = get_logger(__name__)

# After the drain, loops that wait for an unavailable database are canceled; those that can, end by themselves.
_END_SECONDS = 3.0


class WakeupFanout:
    """One wake-up for several loops: `set` wakes each of them, and each loop clears its own event."""

    def __init__(self) -> None:
        self._events: list[asyncio.Event] = []

    def subscribe(self) -> asyncio.Event:
        event = asyncio.Event()
        self._events.append(event)
        return event

    def set(self) -> None:
        for event in self._events:
            event.set()


@dataclass(frozen=True)
class Scheduled:
    """One line of the table. `every_seconds` is the longest pause between two runs, woken or not; it may change."""

    loop: Loop
    every_seconds: float | Callable[[], float]
    woken_by: WakeupFanout | None = None
    # Ends after the drain, not before it: leases are renewed until the last mail has left.
    until_drained: bool = False


@dataclass(frozen=True)
class CronWakeup:
    """arq wakes the loops of `wakeup` at these times, in every process: each has its own events."""

    name: str
    wakeup: WakeupFanout
    second: int | set[int] = 0
    minute: int | set[int] | None = None
    hour: int | None = None


async def run_schedule(
    table: Sequence[Scheduled],
    stop: asyncio.Event,
    *,
    beside: Sequence[Coroutine[Any, Any, None]] = (),
    endless: Sequence[Coroutine[Any, Any, None]] = (),
    drain: Callable[[], Awaitable[None]] | None = None,
    drain_seconds: float,
    failures: LoopFailures | None = None,
) -> None:
    """Run every loop of `table` until `stop`, then finish the current batches, await `drain`, and end the rest.

    `beside` are coroutines that run as long as the loops and end by themselves after `stop`; the `endless` ones are
    canceled at the end, after the drain if there is one. When a task ends before `stop`, all the others end too, and
    its exception is raised: the process must not go on without it.
    """
    drained, failures = asyncio.Event(), failures or LoopFailures()
    wakes = [line.woken_by.subscribe() if line.woken_by else asyncio.Event() for line in table]
    loops = [
        asyncio.create_task(
            keep_running(
                line.loop,
                wake=wake,
                stop=drained if line.until_drained else stop,
                poll_seconds=line.every_seconds,
                failures=failures,
            )
        )
        for line, wake in zip(table, wakes, strict=True)
    ]
    canceled = [asyncio.create_task(coroutine) for coroutine in endless]
    tasks = [*loops, *(asyncio.create_task(coroutine) for coroutine in beside), *canceled]
    try:
        await _first_failure_or(stop, tasks)
        _wake_all(wakes)
        claiming = [task for task, line in zip(loops, table, strict=True) if not line.until_drained]
        await asyncio.wait(claiming, timeout=drain_seconds)
        if drain is not None:
            await drain()
    finally:
        stop.set()
        drained.set()
        _wake_all(wakes)
        for task in canceled:
            task.cancel()
        await asyncio.wait(tasks, timeout=_END_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _wake_all(wakes: Sequence[asyncio.Event]) -> None:
    """So that no loop sleeps on after its stop."""
    for wake in wakes:
        wake.set()


async def _first_failure_or(stop: asyncio.Event, tasks: Sequence["asyncio.Task[None]"]) -> None:
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not stop.is_set():
        for task in done:
            task.result()
