"""Recipients at simulator.example, by which tests choose what the gateway does. docs/testing.md describes each. Pure.

Counts are in memory: after a restart the catcher defers and drops as if for the first time.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

DOMAIN = "simulator.example"
NAMES = frozenset(["bounce", "complaint", "deferred", "refused", "slow", "uncertain", "uncertain-lost"])
DEFAULT_SLOW_SECONDS = 3
# Shorter than any client's timeout after the dot should be (RFC 5321 §4.5.3.2.6: 10 minutes).
MOST_SLOW_SECONDS = 60
NO_SUCH_MAILBOX = "5.1.1"
# Counted keys; a mail that is never tried again must not stay for ever.
MOST_COUNTED = 10_000

_PERMANENT_CODE = re.compile(r"5\.\d{1,3}\.\d{1,3}")


@dataclass(frozen=True)
class Behavior:
    """What to do for one recipient. `number` is the first tag that is a number, `code` the first like 5.7.1."""

    recipient: str
    name: str
    number: int | None = None
    code: str = NO_SUCH_MAILBOX

    @property
    def times(self) -> int:
        """How often to defer or drop before accepting."""
        return 1 if self.number is None else self.number

    @property
    def seconds(self) -> int:
        return min(DEFAULT_SLOW_SECONDS if self.number is None else self.number, MOST_SLOW_SECONDS)


def behavior_of(recipient: str) -> Behavior | None:
    """None for a recipient whose mail is only kept. The name comes before any +tag."""
    local, _, domain = recipient.lower().rpartition("@")
    name, *tags = local.split("+")
    if domain != DOMAIN or name not in NAMES:
        return None
    # At most 4 digits: a tag that makes an address unique may be a time or a process ID.
    numbers = [int(tag) for tag in tags if tag.isascii() and tag.isdecimal() and len(tag) <= 4]  # noqa: PLR2004
    codes = [tag for tag in tags if _PERMANENT_CODE.fullmatch(tag)]
    return Behavior(recipient, name, next(iter(numbers), None), next(iter(codes), NO_SUCH_MAILBOX))


def behaviors_of(recipients: Iterable[str]) -> list[Behavior]:
    return [behavior for recipient in recipients if (behavior := behavior_of(recipient))]


class FirstTimes:
    """Tells the first times of a key from the one after them, which starts over."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], int] = {}

    def is_among_first(self, times: int, *key: str) -> bool:
        """Counts this time. False once after `times` times."""
        count = self._counts.pop(key, 0)
        if count >= times:
            return False
        self._counts[key] = count + 1
        if len(self._counts) > MOST_COUNTED:
            del self._counts[next(iter(self._counts))]
        return True
