"""The loops of a worker process: `run_once()` is the unit, and all run side by side until stopped."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from typing import Protocol

from ..db.pool import UNAVAILABLE
from ..observability.foreign_errors import describe as describe_error
from ..observability.log_throttle import LogThrottle
from ..observability.logs import get_logger
from .backoff import full_jitter

_log = get_logger(__name__)

_SECONDS_BETWEEN_LINES = 60.0


class Loop(Protocol):
    """One kind of work. `run_once` does a batch and returns whether there may be more to do at once."""

    name: str

    async def run_once(self) -> bool: ...


class LoopFailures:
    """Which loops of this process fail now, for its heartbeat; and one log line a minute for each kind of failure."""

    def __init__(self) -> None:
        self._throttle = LogThrottle(_SECONDS_BETWEEN_LINES)
        self._failing: dict[str, str] = {}

    def failed(self, loop: str, error: Exception) -> None:
        self._failing[loop] = type(error).__name__
        is_outage = isinstance(error, UNAVAILABLE)
        # During an outage of the database every loop says the same.
        left_out = self._throttle.admit("outage" if is_outage else (loop, type(error)))
        if left_out is None:
            return
        if is_outage:
            _log.warning("loops_wait_for_database", loop=loop, error=describe_error(error), left_out=left_out)
        else:
            _log.error("loop_failed", loop=loop, exc_info=error, left_out=left_out)

    def succeeded(self, loop: str) -> None:
        self._failing.pop(loop, None)

    def detail(self) -> dict[str, str]:
        """The type of the last error of each loop that fails now."""
        return dict(self._failing)


async def keep_running(
    loop: Loop,
    *,
    wake: asyncio.Event,
    stop: asyncio.Event,
    poll_seconds: float | Callable[[], float],
    failures: LoopFailures | None = None,
) -> None:
    """Run `loop` when woken, and at least every `poll_seconds`, until `stop`. A failure is logged and retried.

    On `stop` the current batch is finished, not cut: that drains a worker on SIGTERM.
    """
    failures = failures or LoopFailures()
    in_a_row = 0
    while not stop.is_set():
        wake.clear()
        more = False
        try:
            more = await loop.run_once()
        except Exception as error:  # noqa: BLE001 - one bad batch must not end the loop
            in_a_row += 1
            failures.failed(loop.name, error)
            # A broken batch must not spin; 2 s keeps recovery well inside the promised minute.
            await _wait(stop, full_jitter(in_a_row, base_seconds=0.1, cap_seconds=2.0))
            continue
        in_a_row = 0
        failures.succeeded(loop.name)
        if not more:
            await _wait(wake, poll_seconds() if callable(poll_seconds) else poll_seconds)


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
