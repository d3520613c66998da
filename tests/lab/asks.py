"""The clients' own record: what they asked for, how often, and what they were told. The checker believes it."""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["signup", "keyed", "import", "mail", "batch", "verify"]


@dataclass(frozen=True)
class Failure:
    """A try without a yes: a status, or the name of the fault."""

    began: float
    ended: float
    what: str


@dataclass
class Ask:
    """One thing that a client wants. `key` is its address, idempotency key or request ID.

    `identities` are the IDs that answers named: of the user, the import or the mail. More than one is a broken promise.
    `said` is the body of an answer that says no.
    """

    kind: Kind
    key: str
    asked_at: float = field(default_factory=time.time)
    accepted_at: float | None = None
    identities: list[str] = field(default_factory=list)
    yeses: int = 0
    failures: list[Failure] = field(default_factory=list)
    said: str | None = None
    # Addresses of an import, request IDs of a batch; what a mail asks for.
    members: list[str] = field(default_factory=list)
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def is_accepted(self) -> bool:
        return self.accepted_at is not None

    @property
    def is_refused(self) -> bool:
        return self.said is not None

    def accept(self, identities: list[str]) -> None:
        self.yeses += 1
        self.accepted_at = self.accepted_at or time.time()
        self.identities += [each for each in identities if each not in self.identities]
