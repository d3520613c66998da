"""Monitors processes: new process IDs, programs that died at once and are restarted, programs that keep ending."""

import time
from dataclasses import dataclass

from .settings import LocalError
from .supervisor import ProcessState, Supervisor

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 2.0
LONGEST_DOUBLING = 8
# A program that ended during the start counts as up only after this time.
STEADY_SECONDS = 5


@dataclass
class _Backoff:
    """When a program that died within its first second may be restarted."""

    deaths: int = 0
    not_before: float = 0.0

    def died(self) -> None:
        pause = FIRST_PAUSE_SECONDS * 2 ** min(self.deaths, LONGEST_DOUBLING)
        self.deaths += 1
        self.not_before = time.monotonic() + min(pause, LONGEST_PAUSE_SECONDS)


@dataclass
class _Life:
    """The last live process (0: none), how many ended before it, and where its output begins in the log."""

    pid: int = 0
    ends: int = 0
    log_begins: int = 0
    end_is_counted: bool = False


class ProcessMonitor:
    """Acts in `poll`. supervisord restarts programs that ran for a second; this class restarts the others, for ever."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._backoffs: dict[str, _Backoff] = {}
        self._lives: dict[str, _Life] = {}
        self.pids: dict[str, int] = {}  # the last known ID of each, also while it is down

    def begin(self) -> None:
        """Start to count ends. To be called before programs are started."""
        self._lives = {
            process.name: _Life(log_begins=self._supervisor.log_size(process.name))
            for process in self._supervisor.processes()
        }

    def poll(self, most_ends: int | None = None) -> list[str]:
        """Names of programs with a new process ID. Raises SupervisorGoneError, and LocalError when a program has
        ended `most_ends` times since `begin`.
        """
        changed = []
        for process in self._supervisor.processes():
            self._count_ends(process, most_ends)
            if process.state == "FATAL":
                self._restart(process)
            elif process.state == "RUNNING":
                self._backoffs.pop(process.name, None)
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
        # Counted whatever its lifetime: a program that imports for 2 s and then rejects its settings was RUNNING.
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
            output = self._supervisor.log_tail(process.name, since=life.log_begins)
            raise LocalError(f"{process.name} keeps ending. The end of its log:\n{output}")
        life.log_begins = self._supervisor.log_size(process.name)

    def _restart(self, process: ProcessState) -> None:
        backoff = self._backoffs.setdefault(process.name, _Backoff())
        if time.monotonic() < backoff.not_before:
            return
        backoff.died()
        self._lives[process.name].end_is_counted = False
        self._supervisor.restart(process.group, process.name)
