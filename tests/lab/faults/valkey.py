"""Faults of Valkey, of which no promise depends: it may be lost at any time."""

import os
import signal
from dataclasses import dataclass
from random import Random
from typing import Self

from ..site import Site
from .fault import Fault


@dataclass(frozen=True)
class _OfValkey(Fault):
    @classmethod
    def draw(cls, random: Random) -> Self:  # noqa: ARG003 - no parameters
        return cls()

    @property
    def target(self) -> str:
        return "valkey"


@dataclass(frozen=True)
class KillValkey(_OfValkey):
    def begin(self, site: Site) -> None:
        site.hold(self.target)
        site.stack.kill_server(self.target)

    def end(self, site: Site) -> None:
        site.release(self.target)


@dataclass(frozen=True)
class WipeValkey(_OfValkey):
    """Everything in it is gone, at its begin and at its end."""

    def begin(self, site: Site) -> None:
        site.valkey("FLUSHALL")

    def end(self, site: Site) -> None:
        site.valkey("FLUSHALL")


@dataclass(frozen=True)
class PauseValkey(_OfValkey):
    """It answers nothing and closes nothing."""

    def begin(self, site: Site) -> None:
        os.kill(site.server_pid(self.target), signal.SIGSTOP)

    def end(self, site: Site) -> None:
        os.kill(site.server_pid(self.target), signal.SIGCONT)


@dataclass(frozen=True)
class ReplicaValkey(_OfValkey):
    """It becomes the replica of a server that does not answer: it refuses writes."""

    def begin(self, site: Site) -> None:
        site.valkey("REPLICAOF", "127.0.0.1", "1")

    def end(self, site: Site) -> None:
        site.valkey("REPLICAOF", "NO", "ONE")
