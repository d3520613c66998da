"""How many connections to one gateway this worker uses at once (ADR 0023).

It starts at the number in `MAIL_GATEWAYS`. When the gateway turns one away while others are open, their number is the
limit from then on. One more is tried after 1 s, and each trial that fails doubles this pause, up to a minute.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from shared.observability.logs import get_logger

_log = get_logger(__name__)

_FIRST_PAUSE_SECONDS = 1.0
# A trial that fails costs one connection and no mail, so once a minute is cheap.
_LONGEST_PAUSE_SECONDS = 60.0


class ConnectionLimit:
    """A semaphore whose size follows what the gateway allows. At size 0, only a trial is let through."""

    def __init__(self, gateway: str, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._most = most
        self._clock = clock
        self.allowed = most
        self._used = 0
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._trial_at = 0.0
        self._is_trying = False

    @property
    def lets_through(self) -> bool:
        """Whether a mail may go now or after waiting. Changes nothing."""
        return self.allowed > 0 or self._trial_is_due()

    async def acquire(self) -> bool:
        """Wait for a turn. False: no connection can be had now, and waiting would not help."""
        if not self._waiting and self._take():
            return True
        if not self.allowed:
            return False
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.release()  # the turn came at the same time
            raise

    def release(self) -> None:
        """Each `acquire` that returned True needs one."""
        self._used -= 1
        self._pass_turns_on()

    def proved(self, open_connections: int) -> None:
        """So many are open now: a trial that succeeded raises the limit."""
        if open_connections <= self.allowed:
            return
        self.allowed = min(self._most, open_connections)
        self._is_trying = False
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._trial_at = self._clock() + self._pause_seconds
        _log.info("gateway_connections_raised", gateway=self._gateway, connections=self.allowed, wanted=self._most)
        self._pass_turns_on()

    def turned_away(self, open_connections: int, reason: str) -> None:
        """The gateway refused a connection while so many others are open: no more than those are used."""
        if self._is_trying:
            self._is_trying = False
            self._pause_seconds = min(_LONGEST_PAUSE_SECONDS, self._pause_seconds * 2)
        self._trial_at = self._clock() + self._pause_seconds
        if open_connections >= self.allowed:
            return
        self.allowed = open_connections
        _log.warning(
            "gateway_connections_lowered",
            gateway=self._gateway,
            connections=self.allowed,
            wanted=self._most,
            reason=reason,
        )
        if not self.allowed:
            self._refuse_waiting()

    def _trial_is_due(self) -> bool:
        return self.allowed < self._most and self._clock() >= self._trial_at

    def _take(self) -> bool:
        if self._used < self.allowed:
            self._used += 1
            return True
        if self._used == self.allowed and self._trial_is_due():
            self._is_trying = True
            self._trial_at = self._clock() + self._pause_seconds
            self._used += 1
            return True
        return False

    def _pass_turns_on(self) -> None:
        while self._waiting:
            if self._waiting[0].done():  # canceled
                self._waiting.popleft()
            elif self._take():
                self._waiting.popleft().set_result(True)
            else:
                return

    def _refuse_waiting(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(False)
