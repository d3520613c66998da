"""A relay of a test: it claims for itself alone, and a run ends when its batch is settled."""

import asyncio
from typing import Any

from services.signup.outbox.dispatcher import Dispatcher
from services.signup.outbox.effect_registry import Effect
from services.signup.outbox.relay import Relay
from shared.db.pool import Pool
from shared.worker.circuit_breaker import BreakerState
from shared.worker.growing_gap import GrowingGap
from shared.worker.loops import LoopFailures


class _Raising(LoopFailures):
    """Keeps the error of a batch, for the test to raise."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None

    def failed(self, loop: str, error: Exception) -> None:
        del loop
        self.error = error


class LoneRelay:
    """`run_once` is a claim and its batch, and it does not rest; every other attribute is the relay's."""

    def __init__(self, pool: Pool, effect: Effect, **options: Any) -> None:
        self.relay = Relay(pool, effect, **options)
        self.relay._rest_seconds = 0.0
        self._failures = _Raising()
        self._dispatcher = Dispatcher(pool, [self.relay], failures=self._failures, gap=GrowingGap(0))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.relay, name)

    async def run_once(self) -> bool:
        """Whether more may be due. Raises what the batch raised. Looks at all rows: tests put some back in time."""
        room, before = self.relay._batch, self.relay.counts.total()
        self._dispatcher._floors.clear()
        await self._dispatcher.run_once()
        for ended in await asyncio.gather(*self._dispatcher._tasks, return_exceptions=True):
            if isinstance(ended, asyncio.CancelledError):
                raise ended
        if (error := self._failures.error) is not None:
            self._failures.error = None
            self.relay._paused_until = 0.0
            raise error
        return self.relay.counts.total() - before >= room and self.relay.breaker.state is BreakerState.CLOSED
