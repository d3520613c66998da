"""An outbox row and its next state after an attempt. Pure: nothing here reads a clock or a database.

`pending ─claim▶ leased ─▶ delivered | dead | pending`. The CHECKs of the migration hold the same rules.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from shared.contract.ids import UUID
from shared.worker.backoff import equal_jitter

# 1 s doubling to 5 min: a refused mail is retried soon, a hopeless one does not crowd out the rest.
RETRY_BASE_SECONDS = 1.0
RETRY_CAP_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class ClaimedRow:
    """A claimed row. `claimed_at` is the database's clock at the claim."""

    id: UUID
    user_id: UUID | None
    payload: dict[str, Any]
    attempts: int
    created_at: datetime
    expires_at: datetime
    claimed_at: datetime
    correlation_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The effect took place. `result` is stored in the settled row."""

    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TryLater:
    """A verdict on this row that may change later."""

    error: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A verdict on this row that will not change by itself."""

    error: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """No verdict on this row: its own peer is unavailable, while others are not. No attempt counts (P9)."""

    error: str
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class Obsolete:
    """The effect is no longer needed."""

    reason: str


Outcome: TypeAlias = Done | TryLater | Refused | Postponed | Obsolete


class PeerFaultError(Exception):
    """The peer is unreachable or out of order: no verdict on any row, so no attempt counts (P9)."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """leased → delivered: the row moves to `outbox_settled`."""

    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Retry:
    """leased → pending, due in `delay_seconds`."""

    delay_seconds: float
    error: str
    counted: bool = True


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """leased → dead: an operator decides."""

    error: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """leased → canceled: the row moves to `outbox_settled`."""

    reason: str


Settlement: TypeAlias = Deliver | Retry | DeadLetter | Cancel


def decide_next(entry: ClaimedRow, outcome: Outcome, *, jitter: Callable[..., float] = equal_jitter) -> Settlement:
    """Decides how an outcome settles a row. Giving up is by age, not by count (DESIGN decision 12)."""
    match outcome:
        case Done(result):
            return Deliver(result)
        case Refused(error):
            return DeadLetter(error)
        case Obsolete(reason):
            return Cancel(reason)
        case Postponed(error, delay) if entry.claimed_at < entry.expires_at:
            return Retry(delay, error, counted=False)
        case TryLater(error) | Postponed(error):
            if entry.claimed_at >= entry.expires_at:
                return DeadLetter(f"Given up: the row has expired. Last error: {error}")
            delay = jitter(entry.attempts + 1, base_seconds=RETRY_BASE_SECONDS, cap_seconds=RETRY_CAP_SECONDS)
            return Retry(delay, error)
