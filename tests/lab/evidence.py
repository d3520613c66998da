"""All that the checker looks at, as plain rows: what the databases hold, what the gateway took, what clients were told.

`reader.py` reads it from a run; tests plant violations in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .asks import Ask
from .gateway import Copy, Refusal
from .receiver import Call


@dataclass(frozen=True)
class User:
    """`kinds` are the kinds of its history."""

    id: str
    email: str
    status: str
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Effect:
    """What is owed: a row of the outbox, or of the settled ones. `what` is the template or the event.

    `settled` is how often it was settled as delivered, `noted` how often history says so.
    """

    id: str
    effect: str
    user_id: str | None
    what: str
    state: str
    attempts: int
    subscriber: str | None = None
    settled: int = 0
    noted: int = 0
    mail_id: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class Mail:
    """`history_state` is the last state in its history, None without one; `is_queued`: it has a row in the queue."""

    id: str
    client: str
    request_id: str
    state: str
    message_id: str
    fingerprint: str
    to: str
    on_uncertain: str
    attempts: int
    is_queued: bool
    history_state: str | None


@dataclass(frozen=True)
class Attempt:
    mail_id: str
    n: int
    phase: str
    outcome: str | None
    counted: bool


@dataclass(frozen=True)
class Outcome:
    """What signup's own ledger knows of a mail."""

    request_id: str
    mail_id: str
    state: str
    fingerprint: str
    message_id: str


@dataclass(frozen=True)
class Entry:
    """An entry of a mail's history. `client` is the mail's; `event`: what subscribers are told, if anything."""

    id: str
    mail_id: str
    client: str
    kind: str
    state: str | None


@dataclass(frozen=True)
class Lease:
    """A lease that is overdue, or that is held while no work is left."""

    table: str
    row: str


@dataclass(frozen=True)
class Tampering:
    """An attempt of the runtime role to change history; `refused` by the database."""

    service: str
    statement: str
    refused: bool


@dataclass(frozen=True)
class Subscription:
    """A webhook subscriber: `path` is where its calls go."""

    id: str
    service: str
    client: str
    path: str
    events: tuple[str, ...]


@dataclass(frozen=True)
class Outage:
    """A fault as it took place. `disturbs_signup`: signup need not say yes then."""

    name: str
    began: float
    ended: float
    disturbs_signup: bool


@dataclass
class Evidence:
    asks: Sequence[Ask] = ()
    changes: Sequence[Mapping[str, str]] = ()
    copies: Sequence[Copy] = ()
    refusals: Sequence[Refusal] = ()
    calls: Sequence[Call] = ()
    users: Sequence[User] = ()
    effects: Sequence[Effect] = ()
    mails: Sequence[Mail] = ()
    attempts: Sequence[Attempt] = ()
    outcomes: Sequence[Outcome] = ()
    entries: Sequence[Entry] = ()
    leases: Sequence[Lease] = ()
    tampering: Sequence[Tampering] = ()
    subscriptions: Sequence[Subscription] = ()
    outages: Sequence[Outage] = ()
    statistics: Mapping[str, int] = field(default_factory=dict)
    reconciliation: Mapping[str, object] = field(default_factory=dict)
