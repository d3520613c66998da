"""What the call of a subscriber says about a delivery. Pure."""

from dataclasses import dataclass
from typing import TypeAlias

_GONE = 410
_SUCCESS = range(200, 300)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The subscriber has the event."""

    status: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The subscriber wants no more events: disable it."""

    status: int
    reason: str = "The subscriber answered 410 Gone"


@dataclass(frozen=True, slots=True)
class Failed:
    """The subscriber did not take the event now. `status` is None when it gave no answer."""

    error: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class NotCalled:
    """No call was made, so no attempt counts (P9). `probe_seconds`: until its breaker lets a call pass."""

    error: str
    probe_seconds: float = 0.0


Verdict: TypeAlias = Accepted | Gone | Failed | NotCalled


def verdict_on(status: int) -> Accepted | Gone | Failed:
    """What an answer means. Redirects are not followed: they could lead anywhere."""
    if status in _SUCCESS:
        return Accepted(status)
    if status == _GONE:
        return Gone(status)
    return Failed(f"The subscriber answered {status}", status)
