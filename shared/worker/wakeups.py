"""Wake-ups between processes over PostgreSQL's NOTIFY. A wake-up is a hint: every loop polls as well.

The API pings after its commit, coalesced: NOTIFY inside a writing transaction would serialize all commits (DESIGN
decision 7). The worker's listener probes its connection, because a dead peer looks like silence.
"""

import asyncio
import contextlib
from typing import Any

from ..db.pool import UNAVAILABLE, DatabaseOptions, Pool, connect
from ..observability.foreign_errors import describe as describe_error
from ..observability.log_throttle import LogThrottle
from ..observability.logs import get_logger
from .growing_gap import GrowingGap
from .schedule import WakeupFanout

_log = get_logger(__name__)

_SECONDS_BETWEEN_LINES = 60.0


# A wake-up that a crash loses costs a poll interval, so its commit does not wait for the disk.
PING = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, '')"


class Pinger:
    """Sends NOTIFYs on `channel`, with a growing gap between two."""

    def __init__(self, pool: Pool, channel: str, *, enabled: bool = True) -> None:
        self._pool = pool
        self._channel = channel
        self._gap = GrowingGap()
        self._enabled = enabled
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def ping(self) -> None:
        """Announce committed rows. Never waits and never fails: polling covers a lost wake-up."""
        if not self._enabled:
            return
        if self._task is not None and not self._task.done():
            self._again = True
            return
        self._task = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        self._again = True
        while self._again:
            # Commits during this pause share the NOTIFY.
            await self._gap.leave()
            self._again = False
            with contextlib.suppress(*UNAVAILABLE):
                await self._pool.execute(PING, self._channel)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


class Listener:
    """Sets `wakeup` on every NOTIFY on `channel`; always reconnects. `listening` says whether wake-ups arrive."""

    def __init__(
        self, options: DatabaseOptions, channel: str, wakeup: WakeupFanout, *, probe_seconds: float = 10.0
    ) -> None:
        self._options = options
        self._channel = channel
        self._wakeup = wakeup
        self._probe_seconds = probe_seconds
        self.listening = False

    async def run(self) -> None:
        """Run until canceled. No error of the server ends it: polling goes on meanwhile, and LISTEN is tried again."""
        throttle = LogThrottle(_SECONDS_BETWEEN_LINES)
        while True:
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - a worker that no longer listens would be slow for ever
                if (left_out := throttle.admit(type(error))) is not None:
                    _log.warning("listener_lost", channel=self._channel, error=describe_error(error), left_out=left_out)
            self.listening = False
            await asyncio.sleep(1.0)  # polling is just as fast meanwhile

    async def _listen(self) -> None:
        connection = await connect(self._options)
        lost = asyncio.Event()

        def on_notify(*_: Any) -> None:
            self._wakeup.set()

        def on_termination(*_: Any) -> None:
            lost.set()

        try:
            connection.add_termination_listener(on_termination)
            await connection.add_listener(self._channel, on_notify)
            self.listening = True
            self._wakeup.set()  # rows may have been committed before the LISTEN
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._probe_seconds):
                        await lost.wait()
                if lost.is_set():
                    raise ConnectionResetError("the server closed the listening connection")
                await connection.execute("SELECT 1", timeout=self._probe_seconds)
        finally:
            connection.terminate()
