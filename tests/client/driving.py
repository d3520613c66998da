"""Performs plans of the client by hand: no network, and a clock that only pauses move."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from counterfoil_client.retrying import Exchange, Repeat, Retry, Timing
from counterfoil_client.steps import Answer, Call, Emit, NoAnswer, Outcome, Pause, Plan, Send, Stream, T

LOST = NoAnswer(may_have_arrived=True, reason="lost")
NEVER_ARRIVED = NoAnswer(may_have_arrived=False, reason="no connection")


def answer(status: int, members: Any = None, **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, orjson.dumps(members))


@dataclass
class Bench:
    """Plays the network: gives each `Send` the next outcome of the script, and passes the time of each `Pause`."""

    script: Iterator[Outcome | Callable[[Call], Outcome]]
    retry: Retry = field(default_factory=Retry)
    draw: float = 1.0
    now: float = 1000.0
    sent: list[Send] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    repeats: list[Repeat] = field(default_factory=list)

    @property
    def exchange(self) -> Exchange:
        timing = Timing(clock=lambda: self.now, wall_clock=lambda: 1_700_000_000.0, random=lambda: self.draw)
        return Exchange(self.retry, timing, self.repeats.append)

    def run(self, plan: Plan[T]) -> T:
        outcome: Outcome | None = None
        while True:
            try:
                step = plan.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = self._perform(step)

    def iterate(self, plan: Stream[T]) -> Iterator[T]:
        outcome: Outcome | None = None
        while True:
            try:
                step = plan.send(outcome)
            except StopIteration:
                return
            outcome = None
            if isinstance(step, Emit):
                yield step.item
            else:
                outcome = self._perform(step)

    def _perform(self, step: Send | Pause) -> Outcome | None:
        if isinstance(step, Pause):
            self.pauses.append(step.seconds)
            self.now += step.seconds
            return None
        self.sent.append(step)
        given = next(self.script)
        return given(step.call) if callable(given) else given
