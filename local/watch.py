"""An eye on the processes: who has a new process ID, and who died at once and is to be tried again."""

import time
from dataclasses import dataclass

from .settings import LocalError
from .supervisor import Supervisor

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 2.0
LONGEST_DOUBLING = 8


@dataclass
class _Pace:
    """When a program that died within its first second may be tried again."""

    deaths: int = 0
    not_before: float = 0.0

    def died(self) -> None:
        pause = FIRST_PAUSE_SECONDS * 2 ** min(self.deaths, LONGEST_DOUBLING)
        self.deaths += 1
        self.not_before = time.monotonic() + min(pause, LONGEST_PAUSE_SECONDS)


class Watch:
    """Looks when told to. supervisord restarts what ran for a second by itself; the rest is done here, for ever."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._paces: dict[str, _Pace] = {}
        self.pids: dict[str, int] = {}  # the last known one of each, also while it is down

    def look(self, most_deaths: int | None = None) -> list[str]:
        """Names of the programs that have a new process ID. Raises SupervisorGoneError, and LocalError when one died
        `most_deaths` times in a row.
        """
        changed = []
        for process in self._supervisor.processes():
            if process.state == "FATAL":
                self._try_again(process.group, process.name, most_deaths)
            elif process.state == "RUNNING":
                self._paces.pop(process.name, None)
            if process.pid and self.pids.get(process.name) != process.pid:
                self.pids[process.name] = process.pid
                changed.append(process.name)
        return changed

    def _try_again(self, group: str, name: str, most_deaths: int | None) -> None:
        pace = self._paces.setdefault(name, _Pace())
        if time.monotonic() < pace.not_before:
            return
        pace.died()
        if most_deaths is not None and pace.deaths >= most_deaths:
            raise LocalError(f"{name} does not stay up. Its last words:\n{self._supervisor.last_words(name)}")
        self._supervisor.start_again(group, name)
