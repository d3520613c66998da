"""Keeps a fault that repeats from filling the log: one line in a while for each kind, with how many were left out."""

import time
from collections.abc import Callable


class LogThrottle:
    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._next_at: dict[object, float] = {}
        self._left_out: dict[object, int] = {}

    def admit(self, kind: object) -> int | None:
        """How many lines of this kind were left out since the last one; None: leave this one out too."""
        now = self._clock()
        if now < self._next_at.get(kind, now):
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return None
        self._next_at[kind] = now + self._seconds
        return self._left_out.pop(kind, 0)
