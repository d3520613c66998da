"""Faults of the four processes: killed, told to stop, and frozen for longer than a lease."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Self

from tests.support.stack import PROCESSES

from ..site import Site
from .fault import SIGNUP, Fault

_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class _OfProcess(Fault):
    process: str

    @classmethod
    def draw(cls, random: Random) -> Self:
        return cls(random.choice(PROCESSES))

    @property
    def target(self) -> str:
        return self.process

    @property
    def disturbs(self) -> Collection[str]:
        return (SIGNUP,) if self.process == "signup-api" else ()


@dataclass(frozen=True)
class Kill(_OfProcess):
    """kill -9, and its start again."""

    lasts: ClassVar[tuple[float, float]] = (0.0, 3.0)

    def begin(self, site: Site) -> None:
        site.hold(self.process)
        site.stack.kill(self.process)

    def end(self, site: Site) -> None:
        site.release(self.process)


@dataclass(frozen=True)
class Terminate(_OfProcess):
    """SIGTERM, as at a deployment, and its start again."""

    def begin(self, site: Site) -> None:
        site.hold(self.process)
        site.stack.processes[self.process].terminate()

    def end(self, site: Site) -> None:
        try:
            site.stack.processes[self.process].wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            site.note(f"{self.process} did not stop within {_STOP_SECONDS:g} s of SIGTERM")
            site.stack.kill(self.process)
        site.release(self.process)


@dataclass(frozen=True)
class Freeze(_OfProcess):
    """SIGSTOP for longer than a lease: the process that goes on afterwards has lost its rows without knowing it."""

    lasts: ClassVar[tuple[float, float]] = (4.5, 9.0)

    def begin(self, site: Site) -> None:
        os.kill(site.stack.processes[self.process].pid, signal.SIGSTOP)

    def end(self, site: Site) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(site.stack.processes[self.process].pid, signal.SIGCONT)
