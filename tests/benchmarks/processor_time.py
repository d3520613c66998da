"""Processor time and memory of processes, as /proc tells them (Linux only)."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# After the command, which is in parentheses: see proc(5), whose numbers begin at 1 and count the first two.
_PARENT, _TIMES = 1, slice(11, 15)


@dataclass(frozen=True)
class Stat:
    parent: int
    seconds: float


def parse(text: str) -> Stat:
    """Of /proc/PID/stat: user and system time of the process and of all children that it has waited for."""
    parts = text.rpartition(")")[2].split()
    return Stat(int(parts[_PARENT]), sum(int(ticks) for ticks in parts[_TIMES]) / _TICKS_A_SECOND)


def seconds_of_trees(roots: Sequence[int], stats: Mapping[int, Stat]) -> float:
    """Of the processes and their living descendants. Those that ended count in the parent that reaped them."""
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(stat.parent, []).append(pid)
    total, waiting = 0.0, list(roots)
    while waiting:
        pid = waiting.pop()
        total += stats[pid].seconds
        waiting += children.get(pid, [])
    return total


def read_stats() -> dict[int, Stat]:
    """Of all processes."""
    stats: dict[int, Stat] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                stats[int(folder.name)] = parse((folder / "stat").read_text(errors="replace"))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
    return stats


@dataclass(frozen=True)
class Meter:
    """Names groups of processes: each process stands for its whole tree."""

    groups: Mapping[str, Sequence[int]]

    def read(self) -> dict[str, float]:
        """Processor seconds so far, by group."""
        stats = read_stats()
        return {name: seconds_of_trees(pids, stats) for name, pids in self.groups.items()}


def per_unit(before: Mapping[str, float], after: Mapping[str, float], count: float) -> dict[str, float]:
    """Processor milliseconds for each of `count` units of work between two readings, by group."""
    return {name: (after[name] - before[name]) * 1000 / count for name in after}


def resident_megabytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES / 1e6
