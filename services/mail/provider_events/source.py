"""What each provider's module offers: how a call is verified, and what it says."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from ..errors import SignatureInvalid
from .event import Reading

Headers: TypeAlias = Mapping[str, str]

# A clock that is ahead of ours.
_AHEAD = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Once:
    """A signature that does not cover the body is good for one body only: both as SHA-256."""

    token: bytes
    body: bytes


# Headers (names in lower case), body and time. Raises SignatureInvalid.
Verify: TypeAlias = Callable[[Headers, bytes, datetime], Awaitable[Once | None]]


@dataclass(frozen=True, slots=True)
class Source:
    """A provider whose events are accepted. `confirm` answers a `Subscription`."""

    name: str
    verify: Verify
    read: Callable[[bytes], list[Reading]]
    confirm: Callable[[str], Awaitable[None]] | None = None
    # The status that makes the provider send a call again.
    again_status: int = 503


def check_time(at: datetime, now: datetime, *, tolerance: timedelta) -> None:
    """Raises SignatureInvalid when a signed time is too long ago, or ahead of ours."""
    if at < now - tolerance:
        raise SignatureInvalid("The signed time is too long ago.")
    if at > now + _AHEAD:
        raise SignatureInvalid("The signed time is in the future: compare the clocks.")
