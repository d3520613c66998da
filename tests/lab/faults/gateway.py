"""Faults of the two that the product calls outside: the SMTP gateway and a subscriber to webhooks."""

from abc import abstractmethod
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Self

from ..gateway import DROP_PHASES, REPLY_PHASES, Behavior, act
from ..site import Site
from .fault import Fault

_FIRST_PHASES = ("connect", "EHLO")


@dataclass(frozen=True)
class _OfGateway(Fault):
    phase: str
    # Which part of all conversations it hits.
    share: float

    @property
    def target(self) -> str:
        return "gateway"

    def begin(self, site: Site) -> None:
        site.gateway.behavior = self._behavior()
        if self.phase in _FIRST_PHASES:  # connections are reused: these phases come only in a new one
            site.run(site.proxies["mail-gateway"].cut())

    def end(self, site: Site) -> None:
        site.gateway.behavior = None

    @abstractmethod
    def _behavior(self) -> Behavior: ...


def _share(random: Random) -> float:
    return random.choice((0.1, 0.5, 1.0))


@dataclass(frozen=True)
class GatewayDrops(_OfGateway):
    """It closes the connection at a phase; `taken`: it keeps the mail whose dot it has read."""

    @classmethod
    def draw(cls, random: Random) -> Self:
        return cls(random.choice(DROP_PHASES), _share(random))

    def _behavior(self) -> Behavior:
        return act("drop", self.phase, self.share)


@dataclass(frozen=True)
class GatewayRefuses(_OfGateway):
    code: int

    @classmethod
    def draw(cls, random: Random) -> Self:
        return cls(random.choice(REPLY_PHASES), _share(random), random.choice((421, 450, 451, 550, 554)))

    def _behavior(self) -> Behavior:
        return act("refuse", self.phase, self.share, code=self.code)


@dataclass(frozen=True)
class GatewaySlow(_OfGateway):
    seconds: float
    lasts: ClassVar[tuple[float, float]] = (4.0, 12.0)

    @classmethod
    def draw(cls, random: Random) -> Self:
        return cls(random.choice(REPLY_PHASES), _share(random), random.choice((0.5, 2.0, 12.0)))

    def _behavior(self) -> Behavior:
        return act("slow", self.phase, self.share, seconds=self.seconds)


@dataclass(frozen=True)
class SubscriberFails(Fault):
    """It answers 500, or takes an event and closes the connection without an answer."""

    how: str
    lasts: ClassVar[tuple[float, float]] = (1.0, 6.0)

    @classmethod
    def draw(cls, random: Random) -> Self:
        return cls(random.choice(("500", "hang_up")))

    @property
    def target(self) -> str:
        return "subscriber"

    def begin(self, site: Site) -> None:
        site.receiver.fails = self.how

    def end(self, site: Site) -> None:
        site.receiver.fails = None
