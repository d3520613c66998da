"""Faults of the machine: a clock that steps, a disk that is full."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Self

from tests.support.stack import PROCESSES

from ..site import SERVICES, Site
from .fault import SIGNUP, Fault

# libfaketime reads the clock's file once a second.
_STEP_SECONDS = 2.0


@dataclass(frozen=True)
class ClockStep(Fault):
    """A process is started with a wrong wall clock, which steps back to the right time while it works.

    Its monotonic clock is right. Times of the product are the database's.
    """

    process: str
    seconds: int
    lasts: ClassVar[tuple[float, float]] = (5.0, 12.0)

    @classmethod
    def draw(cls, random: Random) -> Self:
        return cls(random.choice(PROCESSES), random.choice((-86_400, -3600, -5, 5, 3600)))

    @property
    def target(self) -> str:
        return self.process

    @property
    def disturbs(self) -> Collection[str]:
        return (SIGNUP,) if self.process == "signup-api" else ()

    def lacks(self, site: Site) -> str | None:
        return None if site.stack.faketime else "libfaketime is not installed"

    def begin(self, site: Site) -> None:
        site.stack.set_clock(self.process, self.seconds)
        site.stack.stepping.add(self.process)
        site.stack.kill(self.process)
        site.stack.start(self.process)

    def end(self, site: Site) -> None:
        site.stack.set_clock(self.process, 0)
        time.sleep(_STEP_SECONDS)
        site.stack.stepping.discard(self.process)
        site.stack.kill(self.process)
        site.stack.start(self.process)


@dataclass(frozen=True)
class DiskFull(Fault):
    """No byte is left on the file system of a database."""

    service: str
    lasts: ClassVar[tuple[float, float]] = (3.0, 8.0)

    @classmethod
    def draw(cls, random: Random) -> Self:
        return cls(random.choice(SERVICES))

    @property
    def target(self) -> str:
        return f"{self.service}-postgres"

    @property
    def disturbs(self) -> Collection[str]:
        return (SIGNUP,) if self.service == "signup" else ()

    def lacks(self, site: Site) -> str | None:
        return None if site.stack.disks else "file systems may not be mounted"

    def begin(self, site: Site) -> None:
        site.hold(self.target)  # it may give up, and cannot start before there is room
        site.stack.disks[self.target].fill()

    def end(self, site: Site) -> None:
        site.stack.disks[self.target].empty()
        site.release(self.target)
