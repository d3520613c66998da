"""Begins and ends the faults of a schedule in their time, and starts again what dies, as a supervisor does."""

import heapq
import itertools
import time
from collections.abc import Callable, Sequence

from .faults.fault import Fault
from .record import Happened, Record
from .schedule import Planned
from .site import Site

_TICK_SECONDS = 0.05
_SUPERVISE_SECONDS = 0.5
# A fault whose end fails is ended again: the product must not stay broken by the lab.
_END_AGAIN_SECONDS, _MOST_ENDS = 1.0, 60


class Conductor:
    """From the main thread. `say` gets a line for each begin and end."""

    def __init__(self, site: Site, record: Record, say: Callable[[str], None]) -> None:
        self._site = site
        self._record = record
        self._say = say
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._supervised_at = 0.0
        # Targets of faults that have begun and not ended.
        self._broken: set[str] = set()

    def conduct(self, schedule: Sequence[Planned], seconds: float) -> None:
        """Returns when the time is over and every fault has ended."""
        for planned in schedule:
            self._at(planned.at, lambda planned=planned: self._begin(planned))  # type: ignore[misc]
        while self._due or self._record.now < seconds:
            self.tick()

    def tick(self) -> None:
        while self._due and self._due[0][0] <= self._record.now:
            heapq.heappop(self._due)[2]()
        if self._record.now > self._supervised_at + _SUPERVISE_SECONDS:
            self._site.supervise()
            self._supervised_at = self._record.now
        time.sleep(_TICK_SECONDS)

    def _at(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (seconds, next(self._numbers), act))

    def _begin(self, planned: Planned) -> None:
        fault = planned.make()
        if fault.target in self._broken:  # an earlier fault of it began or ended late
            self._at(self._record.now + _SUPERVISE_SECONDS, lambda: self._begin(planned))
            return
        happened = Happened.of(planned, fault, self._record.now)
        self._record.happened.append(happened)
        about = f"{planned.fault} {' '.join(f'{name}={value}' for name, value in planned.parameters.items())}"
        if (missing := fault.lacks(self._site)) is not None:
            happened.was_had, happened.problem, happened.ended = False, missing, happened.began
            self._say(f"{happened.began:7.1f}  not had: {about}: {missing}")
            return
        self._say(f"{happened.began:7.1f}  {about}")
        self._broken.add(fault.target)
        try:
            fault.begin(self._site)
        except Exception as error:  # noqa: BLE001 - two faults at once: the second may find nothing to break
            happened.problem = f"did not begin whole: {error!r}"
            self._say(f"{self._record.now:7.1f}  {about}: {happened.problem}")
        self._at(self._record.now + planned.seconds, lambda: self._end(fault, happened, about, 1))

    def _end(self, fault: Fault, happened: Happened, about: str, tries: int) -> None:
        try:
            fault.end(self._site)
        except Exception as error:
            if tries == _MOST_ENDS:
                raise
            self._say(f"{self._record.now:7.1f}  {about}: end again: {error!r}"[:200])
            self._at(self._record.now + _END_AGAIN_SECONDS, lambda: self._end(fault, happened, about, tries + 1))
            return
        happened.ended = self._record.now
        self._broken.discard(fault.target)
        self._say(f"{happened.ended:7.1f}  end of {about}")
