"""Which fault begins when. A pure function of the seed and the length: the same seed gives the same schedule."""

from dataclasses import dataclass
from random import Random
from typing import Any

from .faults import REGISTRY
from .faults.fault import Fault

# The load runs alone first, and the last faults end before the load does.
_QUIET_SECONDS = 5.0
# Between the begins of two faults. A fault lasts about as long, so one or two are on at a time.
_GAPS = (1.5, 4.5)
# Between the end of a fault and the next with the same target.
_RECOVERY_SECONDS = 2.0


@dataclass(frozen=True)
class Planned:
    """Seconds since the begin of the load, and for how long."""

    at: float
    fault: str
    parameters: dict[str, Any]
    seconds: float

    @property
    def ends_at(self) -> float:
        return self.at + self.seconds

    def make(self) -> Fault:
        return REGISTRY[self.fault](**self.parameters)


def draw_schedule(seed: int, minutes: float) -> list[Planned]:
    """Deals from a shuffled deck of all faults, and shuffles it again when it is empty: none stays away for long."""
    random = Random(seed)
    length = minutes * 60
    at = _QUIET_SECONDS
    deck: list[str] = []
    free_at: dict[str, float] = {}
    planned: list[Planned] = []
    while True:
        if not deck:
            deck = list(REGISTRY)
            random.shuffle(deck)
        name = deck.pop()
        fault = REGISTRY[name].draw(random)
        seconds = random.uniform(*fault.lasts)
        begins = max(at, free_at.get(fault.target, 0.0))
        if at > length - _QUIET_SECONDS:
            return sorted(planned, key=lambda each: each.at)
        if begins + seconds <= length - _QUIET_SECONDS:
            planned.append(Planned(round(begins, 2), name, fault.parameters(), round(seconds, 2)))
            free_at[fault.target] = begins + seconds + _RECOVERY_SECONDS
        at += random.uniform(*_GAPS)
