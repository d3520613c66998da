"""Faults of the two PostgreSQL servers, one for each service."""

from collections.abc import Collection
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Self

from ..site import END_SESSIONS, SERVICES, Site
from .fault import SIGNUP, Fault


@dataclass(frozen=True)
class _OfDatabase(Fault):
    service: str

    @classmethod
    def draw(cls, random: Random) -> Self:
        return cls(random.choice(SERVICES))

    @property
    def target(self) -> str:
        return f"{self.service}-postgres"

    @property
    def disturbs(self) -> Collection[str]:
        return (SIGNUP,) if self.service == "signup" else ()


@dataclass(frozen=True)
class KillPostgres(_OfDatabase):
    """kill -9 of the server: it recovers from its write-ahead log at the next start."""

    def begin(self, site: Site) -> None:
        site.hold(self.target)
        site.stack.kill_server(self.target)

    def end(self, site: Site) -> None:
        site.release(self.target)


@dataclass(frozen=True)
class RestartPostgres(_OfDatabase):
    def begin(self, site: Site) -> None:
        site.hold(self.target)
        site.stack.stop_server(self.target)

    def end(self, site: Site) -> None:
        site.release(self.target)


@dataclass(frozen=True)
class EndSessions(_OfDatabase):
    """Every session is ended, once at its begin and once at its end."""

    def begin(self, site: Site) -> None:
        site.sql(self.service, END_SESSIONS, self.service)

    def end(self, site: Site) -> None:
        site.sql(self.service, END_SESSIONS, self.service)


@dataclass(frozen=True)
class ReadOnly(_OfDatabase):
    """As after a failover to a replica: reads work, writes do not."""

    def begin(self, site: Site) -> None:
        site.sql(self.service, f"ALTER DATABASE {self.service} SET default_transaction_read_only = on")
        site.sql(self.service, END_SESSIONS, self.service)

    def end(self, site: Site) -> None:
        site.sql(self.service, f"ALTER DATABASE {self.service} RESET default_transaction_read_only")
        # Sessions that began in between keep it.
        site.sql(self.service, END_SESSIONS, self.service)


@dataclass(frozen=True)
class NoConnections(_OfDatabase):
    """Other clients hold every connection that the server has."""

    lasts: ClassVar[tuple[float, float]] = (3.0, 8.0)

    def begin(self, site: Site) -> None:
        site.use_up_connections(self.service)

    def end(self, site: Site) -> None:
        site.free_connections(self.service)


@dataclass(frozen=True)
class HeldSnapshot(_OfDatabase):
    """A transaction stays open: vacuum removes nothing, and when it `writes`, the change feed stops before it."""

    writes: bool
    lasts: ClassVar[tuple[float, float]] = (10.0, 25.0)

    @classmethod
    def draw(cls, random: Random) -> Self:
        return cls(random.choice(SERVICES), random.choice((False, True)))

    @property
    def target(self) -> str:
        return f"snapshot of {self.service}"

    @property
    def disturbs(self) -> Collection[str]:
        return ()

    def begin(self, site: Site) -> None:
        site.hold_snapshot(self.service, writes=self.writes)

    def end(self, site: Site) -> None:
        site.close_sessions(f"snapshot of {self.service}")
