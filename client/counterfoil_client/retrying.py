"""Asks the service until it gives a verdict: what is repeated, after which wait, and until when.

Repeated are: a request that was never received; 429, which refuses before anything is done; and, for calls that are
safe to repeat, a lost answer, 502, 503 and 504. A verdict (any other 4xx, 500) is never asked for again.
"""

import logging
import math
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from .errors import (
    CounterfoilError,
    DeadlineExceeded,
    LostAnswer,
    NotConnected,
    RateLimited,
    UnreadableAnswer,
    api_error,
)
from .problems import Problem
from .steps import Answer, Call, NoAnswer, Outcome, Pause, Plan, Send

_log = logging.getLogger("counterfoil_client")

_SUCCESS = range(200, 300)
_ERRORS = range(400, 600)
_TOO_MANY = 429
# A proxy may answer these after it has passed the request on.
_NOT_NOW = frozenset({502, 503, 504})
# Doubling more often than this only overflows.
_MAX_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Repeat:
    """What `on_repeat` is told before each wait."""

    method: str
    path: str
    attempt: int
    wait_seconds: float
    error: CounterfoilError


@dataclass(frozen=True, slots=True)
class Retry:
    """How long to go on, and how fast. A wait is drawn from 0 to `base_seconds * 2**n`, at most `cap_seconds`."""

    deadline_seconds: float = 30.0  # for a whole call: every attempt and every wait
    attempt_seconds: float = 10.0  # for one attempt, from connecting to the last byte
    base_seconds: float = 0.2
    cap_seconds: float = 10.0

    def wait_seconds(self, attempt: int, draw: float, retry_after: float | None) -> float:
        """The wait after an attempt: full jitter.

        Retry-After comes on top, or all clients that were told the same would come at once.
        """
        highest = min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS))
        return (retry_after or 0.0) + draw * highest


@dataclass(frozen=True, slots=True)
class Timing:
    """Where time and chance come from. Tests give their own."""

    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    random: Callable[[], float] = random.random


@dataclass(frozen=True, slots=True)
class Exchange:
    """Plans of one call each, with its repetitions."""

    retry: Retry
    timing: Timing
    on_repeat: Callable[[Repeat], None] | None = None

    def deadline(self, seconds: float | None = None) -> float:
        """On the clock: so many seconds from now; by default what the policy allows a call."""
        return self.timing.clock() + (self.retry.deadline_seconds if seconds is None else seconds)

    def ask(self, call: Call, deadline: float | None = None, *, repeats_lost: bool = True) -> Plan[Answer]:
        """The answer to `call`, a success. Without `repeats_lost` a lost answer is raised at once.

        Raises:
            ApiError: the service refused.
            TransportError: there was no verdict before the deadline.
        """
        deadline = self.deadline() if deadline is None else deadline
        # One correlation ID for all repetitions, so that both sides' logs can be laid beside each other.
        call = replace(call, headers={"x-request-id": str(uuid.uuid4()), **call.headers})
        attempt, may_have_arrived = 0, False
        while True:
            attempt += 1
            # At least a little: a deadline that has just passed is for `pause` to notice.
            left = max(0.001, deadline - self.timing.clock())
            outcome = yield Send(call, min(self.retry.attempt_seconds, left))
            assert outcome is not None
            if isinstance(outcome, Answer) and outcome.status in _SUCCESS:
                return outcome
            error = self._error_of(outcome)
            if not _may_repeat(call, outcome) or (isinstance(error, LostAnswer) and not repeats_lost):
                raise error
            may_have_arrived |= not isinstance(error, NotConnected | RateLimited)
            yield from self.pause(call, attempt, deadline, error, may_have_arrived=may_have_arrived)

    def pause(
        self, call: Call, attempt: int, deadline: float, error: CounterfoilError, *, may_have_arrived: bool = True
    ) -> Plan[None]:
        """The wait after an attempt.

        Raises:
            DeadlineExceeded: it would last until the deadline. `error` is its cause.
        """
        retry_after = getattr(error, "retry_after_seconds", None)
        wait = self.retry.wait_seconds(attempt, self.timing.random(), retry_after)
        if self.timing.clock() + wait >= deadline:
            message = f"{call.method} {call.path}: no verdict after attempt {attempt}: {error}"
            raise DeadlineExceeded(message, may_have_arrived) from error
        _log.info("%s %s: %s; attempt %d follows in %.2f s", call.method, call.path, error, attempt + 1, wait)
        if self.on_repeat is not None:
            self.on_repeat(Repeat(call.method, call.path, attempt, wait, error))
        yield Pause(wait)

    def _error_of(self, outcome: Outcome) -> CounterfoilError:
        if isinstance(outcome, NoAnswer):
            return LostAnswer(outcome.reason) if outcome.may_have_arrived else NotConnected(outcome.reason)
        if outcome.status not in _ERRORS:
            return UnreadableAnswer(f"Answered {outcome.status}")
        return api_error(Problem.of_answer(outcome, self.timing.wall_clock()))


def _may_repeat(call: Call, outcome: Outcome) -> bool:
    if isinstance(outcome, NoAnswer):
        return call.is_repeatable or not outcome.may_have_arrived
    return outcome.status == _TOO_MANY or (call.is_repeatable and outcome.status in _NOT_NOW)


NEVER = math.inf
