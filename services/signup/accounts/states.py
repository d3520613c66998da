"""The states of a user, as data. docs/states.md is generated from here; CHECK constraints enforce the same rules."""

import enum
from collections.abc import Mapping


class Status(enum.StrEnum):
    PENDING = "pending"
    VERIFIED = "verified"
    ERASED = "erased"


TRANSITIONS: Mapping[Status, Mapping[str, Status]] = {
    Status.PENDING: {"verify": Status.VERIFIED, "erase": Status.ERASED},
    Status.VERIFIED: {"erase": Status.ERASED},
    Status.ERASED: {},
}
