"""A circuit breaker that wraps no call: callers ask `allowance()` first, then report the result.

A library's breaker wraps one call and raises when open. Here the question comes before rows are claimed
("how many may I claim?"), so that an outage burns no attempt (DESIGN decision 12).

Each change is one line in the log, with the reason. A kind of fault that goes on is logged once in ten minutes.
"""

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..observability.log_throttle import LogThrottle
from ..observability.logs import get_logger

_log = get_logger(__name__)

_FAULT_LOG_SECONDS = 600.0


class BreakerState(enum.StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


_METRIC_VALUES = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


def breaker_metric(state: str) -> int:
    """0 closed, 1 half open, 2 open."""
    return _METRIC_VALUES[BreakerState(state)]


@dataclass(frozen=True)
class BreakerPolicy:
    faults_to_open: int = 5
    first_probe_seconds: float = 1.0
    max_probe_seconds: float = 30.0


class Breaker:
    """Opens after `faults_to_open` faults in a row; probes after 1 s, doubling to 30 s (API.md, MAIL_GATEWAYS)."""

    def __init__(
        self, name: str, policy: BreakerPolicy | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._policy = policy or BreakerPolicy()
        self._clock = clock
        self._faults = 0
        self._probe_seconds = 0.0
        self._probe_at = 0.0
        self._probing = False
        self.last_fault: str | None = None
        self._fault_lines = LogThrottle(_FAULT_LOG_SECONDS, clock=clock)

    @property
    def faults_in_a_row(self) -> int:
        """Faults since the last success: more than 0 is worth a warning before the breaker opens."""
        return self._faults

    @property
    def state(self) -> BreakerState:
        if self._faults < self._policy.faults_to_open:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._probing else BreakerState.OPEN

    def allowance(self, wanted: int) -> int:
        """How many of `wanted` calls may start now: all when closed, one probe when it is due, else none.

        A caller that gets the probe must report `succeeded`, `faulted` or `unused`.
        """
        if self.state is BreakerState.CLOSED:
            return wanted
        if wanted and not self._probing and self._clock() >= self._probe_at:
            self._probing = True
            _log.info("breaker_half_open", breaker=self.name, reason=self.last_fault)
            return 1
        return 0

    def seconds_to_probe(self) -> float:
        """Seconds until `allowance` may grant a call again; 0 when it may now."""
        if self.state is BreakerState.CLOSED:
            return 0.0
        return max(0.0, self._probe_at - self._clock())

    def unused(self) -> None:
        """Return the probe: there was nothing to call for."""
        self._probing = False

    def succeeded(self) -> None:
        """The peer answered; a verdict on a message is an answer too."""
        if self.state is not BreakerState.CLOSED:
            _log.info("breaker_closed", breaker=self.name, faults=self._faults)
        self._faults = 0
        self._probe_seconds = 0.0
        self._probing = False

    def faulted(self, reason: str) -> None:
        """The peer could not be reached or was out of order."""
        self.last_fault = reason
        repeated = self._fault_lines.admit(reason)
        if repeated is not None:
            _log.warning("breaker_fault", breaker=self.name, reason=reason, repeated=repeated)
        was_open = self.state is not BreakerState.CLOSED
        probe_failed, self._probing = self._probing, False
        self._faults += 1
        if self.state is BreakerState.CLOSED or (was_open and not probe_failed):
            return  # still counting, or a late result from before it opened
        policy = self._policy
        self._probe_seconds = min(policy.max_probe_seconds, self._probe_seconds * 2 or policy.first_probe_seconds)
        self._probe_at = self._clock() + self._probe_seconds
        _log.warning(
            "breaker_opened", breaker=self.name, reason=reason, faults=self._faults, probe_seconds=self._probe_seconds
        )
