"""What follows from the call of a subscriber. Pure: nothing here reads a clock or a database."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from shared.webhooks.verdicts import Accepted, Failed, Gone, NotCalled, Verdict
from shared.worker.backoff import equal_jitter

# 1 s doubling to 5 min, as for the outbox of signup.
RETRY_BASE_SECONDS = 1.0
RETRY_CAP_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Settled:
    """The delivery moves to the log as `delivered`, `dead` or `canceled`. `called`: one more attempt counts."""

    outcome: str
    status: int | None = None
    error: str | None = None
    called: bool = True


@dataclass(frozen=True, slots=True)
class Retried:
    """The delivery waits again, for `delay_seconds`."""

    delay_seconds: float
    error: str
    status: int | None = None
    called: bool = True


Settlement: TypeAlias = Settled | Retried


def decide_next(
    attempts: int,
    verdict: Verdict,
    *,
    claimed_at: datetime,
    expires_at: datetime,
    jitter: Callable[..., float] = equal_jitter,
) -> Settlement:
    """`attempts` were made before. Giving up is by age, not by count (DESIGN decision 12)."""
    match verdict:
        case Accepted(status):
            return Settled("delivered", status)
        case Gone(status, reason):
            return Settled("canceled", status, reason)
        case NotCalled(error) if claimed_at < expires_at:
            # Claims ask the breaker first, so nothing else need keep the rows apart.
            return Retried(0.0, error, called=False)
        case NotCalled(error):
            return Settled("dead", None, f"Given up: the delivery has expired. {error}", called=False)
        case Failed(error, status):
            if claimed_at >= expires_at:
                return Settled("dead", status, f"Given up: the delivery has expired. Last error: {error}")
            delay = jitter(attempts + 1, base_seconds=RETRY_BASE_SECONDS, cap_seconds=RETRY_CAP_SECONDS)
            return Retried(delay, error, status)
