"""Turns the challenge on while signups come in faster than usual: SIGNUP_CHALLENGE=under_attack."""

import time
from collections import deque
from collections.abc import Callable

_MINUTE = 60.0
# Attacks come in waves; a shorter pause would let the front of each wave through.
_QUIET_SECONDS = 300.0


class AttackSwitch:
    """On from the request that exceeds `per_minute` in a sliding minute, until five minutes pass without one.

    It counts what one process sees, refused requests as well: they show that the attack goes on.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # One more than is allowed: when the oldest of them is younger than a minute, the rate is exceeded.
        self._latest: deque[float] = deque(maxlen=per_minute + 1)
        self._exceeded_at: float | None = None

    def count(self) -> None:
        now = self._clock()
        self._latest.append(now)
        if len(self._latest) == self._latest.maxlen and now - self._latest[0] < _MINUTE:
            self._exceeded_at = now

    @property
    def on(self) -> bool:
        return self._exceeded_at is not None and self._clock() - self._exceeded_at < _QUIET_SECONDS
