"""The time between two of the same statement, so that rows which come one after another share one.

It costs nothing while there is little to do: who comes later than the gap does not wait. While one follows another all
the time, the gap doubles, because a claim or a wake-up costs as much for one row as for twenty.
"""

import asyncio
import time
from collections.abc import Callable

SHORTEST_SECONDS, LONGEST_SECONDS = 0.005, 0.024


class GrowingGap:
    """For one loop. `clock` is monotonic, in seconds; `shortest_seconds` of 0 never waits."""

    def __init__(
        self, shortest_seconds: float = SHORTEST_SECONDS, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shortest_seconds = shortest_seconds
        self.seconds = shortest_seconds
        self._clock = clock
        self._last = float("-inf")

    async def leave(self, *, grow: bool = True) -> None:
        """Wait until the last one is the gap ago. Without `grow`, rows wait already: the gap is the shortest again."""
        if not grow:
            self.seconds = self._shortest_seconds
        left = self.seconds - (self._clock() - self._last)
        if left > 0:
            await asyncio.sleep(left)
        if grow:
            self.seconds = min(LONGEST_SECONDS, 2 * self.seconds) if left > 0 else self._shortest_seconds
        self._last = self._clock()
