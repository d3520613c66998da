"""An eye on the processes: who has a new process ID, who died at once and is to be tried again, who never stays up."""

import time
from dataclasses import dataclass

from .settings import LocalError
from .supervisor import ProcessState, Supervisor

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 2.0
LONGEST_DOUBLING = 8
# Whoever has ended while it was being started must live for this long before it is believed.
STEADY_SECONDS = 5


@dataclass
class _Pace:
    """When a program that died within its first second may be tried again."""

    deaths: int = 0
    not_before: float = 0.0

    def died(self) -> None:
        pause = FIRST_PAUSE_SECONDS * 2 ** min(self.deaths, LONGEST_DOUBLING)
        self.deaths += 1
        self.not_before = time.monotonic() + min(pause, LONGEST_PAUSE_SECONDS)


@dataclass
class _Life:
    """The process that was last seen alive (0: none is), how many ended before, where in the log its words begin."""

    pid: int = 0
    ends: int = 0
    log_begins: int = 0
    end_is_counted: bool = False


class AlertLoop:
    """Looks when told to. supervisord restarts what ran for a second by itself; the rest is done here, for ever."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._paces: dict[str, _Pace] = {}
        self._lives: dict[str, _Life] = {}
        self.pids: dict[str, int] = {}  # the last known one of each, also while it is down

    def begin(self) -> None:
        """Nothing runs yet, everything is about to be started: from here on ends count."""
        self._lives = {
            process.name: _Life(log_begins=self._supervisor.log_size(process.name))
            for process in self._supervisor.processes()
        }

    def look(self, most_ends: int | None = None) -> list[str]:
        """Names of the programs that have a new process ID. Raises SupervisorGoneError, and LocalError when one has
        ended `most_ends` times since `begin`.
        """
        changed = []
        for process in self._supervisor.processes():
            self._count_ends(process, most_ends)
            if process.state == "FATAL":
                self._try_again(process)
            elif process.state == "RUNNING":
                self._paces.pop(process.name, None)
            if process.pid and self.pids.get(process.name) != process.pid:
                self.pids[process.name] = process.pid
                changed.append(process.name)
        return changed

    def all_are_steady(self) -> bool:
        return all(
            process.state == "RUNNING" and (self._lives[process.name].ends == 0 or process.seconds >= STEADY_SECONDS)
            for process in self._supervisor.processes()
        )

    def _count_ends(self, process: ProcessState, most_ends: int | None) -> None:
        # However long it lived: what imports for two seconds and then refuses its settings was RUNNING before.
        life = self._lives[process.name]
        was_replaced = life.pid not in {0, process.pid}
        died_unseen = process.state == "FATAL" and not life.end_is_counted
        life.pid = process.pid
        if process.pid:
            life.end_is_counted = False
        if not (was_replaced or died_unseen):
            return
        life.end_is_counted = process.pid == 0
        life.ends += 1
        if most_ends is not None and life.ends >= most_ends:
            words = self._supervisor.last_words(process.name, since=life.log_begins)
            raise LocalError(f"{process.name} does not stay up. Its last words:\n{words}")
        life.log_begins = self._supervisor.log_size(process.name)

    def _try_again(self, process: ProcessState) -> None:
        pace = self._paces.setdefault(process.name, _Pace())
        if time.monotonic() < pace.not_before:
            return
        pace.died()
        self._lives[process.name].end_is_counted = False
        self._supervisor.restart(process.group, process.name)
