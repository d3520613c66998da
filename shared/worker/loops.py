"""The loops of a worker process: `run_once()` is the unit, and all run side by side until stopped."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from typing import Protocol

from ..db.pool import UNAVAILABLE
from ..observability.logs import get_logger
from .backoff import full_jitter

_log = get_logger(__name__)


class Loop(Protocol):
    """One kind of work. `run_once` does a batch and returns whether there may be more to do at once."""

    name: str

    async def run_once(self) -> bool: ...


async def keep_running(loop: Loop, *, wake: asyncio.Event, stop: asyncio.Event, poll_seconds: float) -> None:
    """Run `loop` when woken, and at least every `poll_seconds`, until `stop`. A failure is logged and retried.

    On `stop` the current batch is finished, not cut: that drains a worker on SIGTERM.
    """
    failures = 0
    while not stop.is_set():
        wake.clear()
        more = False
        try:
            more = await loop.run_once()
            failures = 0
        except UNAVAILABLE as error:
            failures += 1
            _log.warning("loop_waits_for_database", loop=loop.name, error=str(error) or type(error).__name__)
        except Exception:  # noqa: BLE001 - one bad batch must not end the loop
            failures += 1
            _log.exception("loop_failed", loop=loop.name)
        if failures:
            # A broken batch must not spin; 2 s keeps recovery well inside the promised minute.
            await _wait(stop, full_jitter(failures, base_seconds=0.1, cap_seconds=2.0))
        elif not more:
            await _wait(wake, poll_seconds)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class FunctionLoop:
    """A loop made of one coroutine function."""

    def __init__(self, name: str, function: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self._function = function

    async def run_once(self) -> bool:
        await self._function()
        return False


async def run_until_signaled(start: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Await `start(stop)`; SIGTERM or SIGINT sets `stop`."""
    stop = asyncio.Event()

    def ask_to_stop() -> None:
        _log.info("stopping")
        stop.set()

    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, ask_to_stop)
    await start(stop)
