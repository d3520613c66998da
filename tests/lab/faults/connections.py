"""Faults of the network between each pair of neighbours, by the proxy that stands between them."""

from collections.abc import Collection
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Self

from ..proxy import Trouble
from ..site import PAIRS, Site
from .fault import SIGNUP, Fault

_OF_SIGNUP = ("clients-signup", "signup-postgres")


@dataclass(frozen=True)
class _BetweenPair(Fault):
    pair: str
    trouble: ClassVar[Trouble]

    @classmethod
    def draw(cls, random: Random) -> Self:
        return cls(random.choice(PAIRS))

    @property
    def target(self) -> str:
        return f"network {self.pair}"

    @property
    def disturbs(self) -> Collection[str]:
        return (SIGNUP,) if self.pair in _OF_SIGNUP else ()

    def begin(self, site: Site) -> None:
        site.proxies[self.pair].trouble = self.trouble

    def end(self, site: Site) -> None:
        site.proxies[self.pair].trouble = None
        # What was swallowed never comes: both sides find their connection gone.
        site.run(site.proxies[self.pair].cut())


@dataclass(frozen=True)
class Cut(_BetweenPair):
    """Every connection is reset, and new ones are too."""

    trouble: ClassVar[Trouble] = Trouble.REFUSE

    def begin(self, site: Site) -> None:
        super().begin(site)
        site.run(site.proxies[self.pair].cut())


@dataclass(frozen=True)
class Delay(_BetweenPair):
    """Every chunk takes a fifth of a second longer."""

    trouble: ClassVar[Trouble] = Trouble.DELAY
    lasts: ClassVar[tuple[float, float]] = (3.0, 10.0)


@dataclass(frozen=True)
class HalfOpen(_BetweenPair):
    """Connections stay open and nothing gets through."""

    trouble: ClassVar[Trouble] = Trouble.SWALLOW
    lasts: ClassVar[tuple[float, float]] = (3.0, 8.0)


@dataclass(frozen=True)
class LostAnswers(_BetweenPair):
    """Requests arrive, answers do not: the hardest, because what was asked has happened."""

    trouble: ClassVar[Trouble] = Trouble.LOSE_ANSWERS
    lasts: ClassVar[tuple[float, float]] = (1.0, 5.0)
