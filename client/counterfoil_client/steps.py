"""What a call does, step by step, without doing any of it (sans-I/O).

A plan is a generator: it yields the next step and is sent what came of it. A driver performs the steps, with a blocking
client or on an event loop. So retries, deadlines and the meaning of answers are written once. No I/O comes in here.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Call:
    """One request. A repetition sends the same bytes."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    # A second one does nothing that the first one did not do.
    is_repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Send:
    """Send a call. The driver gives up after `timeout_seconds`."""

    call: Call
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Emit(Generic[T_co]):
    """Hand an item to the caller, who iterates."""

    item: T_co


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """`may_have_arrived`: the service may have done what it was asked."""

    may_have_arrived: bool
    reason: str


Outcome: TypeAlias = Answer | NoAnswer

Plan: TypeAlias = Generator[Send | Pause, Outcome | None, T]
Stream: TypeAlias = Generator[Send | Pause | Emit[T], Outcome | None, None]
