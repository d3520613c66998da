"""Runs a state machine whose steps are coroutines on one event loop."""

import asyncio
import functools
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from shared.db.pool import Database, DatabaseOptions, open_database

Result = TypeVar("Result")
Step = TypeVar("Step", bound=Callable[..., None])
Run = Callable[[Coroutine[Any, Any, Result]], Result]

_ASKED = int(os.environ.get("STATE_MACHINE_EXAMPLES", "0"))
_SETTINGS = settings(
    max_examples=_ASKED or 40,
    stateful_step_count=40,
    deadline=None,
    # The same orders each time; others when a number of them is asked for.
    derandomize=not _ASKED,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
# Which one of those that there are: taken modulo their number.
picks = st.integers(0, 9)


class Machine(RuleBasedStateMachine):
    """A subclass has the rules. Each example leaves a database in which all is settled, so the next one can use it."""

    def __init__(self, database: Database, runner: asyncio.Runner) -> None:
        super().__init__()
        self.database, self.pool, self._runner = database, database.pool, runner

    def run(self, step: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(step)


def only_if(holds: Callable[[Any], object]) -> Callable[[Step], Step]:
    """A step that does nothing unless this holds, for what depends on which worker won a race.

    Hypothesis' `precondition` decides what is drawn next, and must be the same whenever the same steps are repeated.
    """

    def decorate(step: Step) -> Step:
        @functools.wraps(step)
        def guarded(machine: Machine, **drawn: Any) -> None:
            if holds(machine):
                step(machine, **drawn)

        return cast("Step", guarded)

    return decorate


def try_orders(machine: type[Machine], url: str) -> None:
    """Fails with the shortest order of steps that breaks a promise."""
    with asyncio.Runner() as runner:
        database = runner.run(open_database(DatabaseOptions(url, "test")))
        try:
            run_state_machine_as_test(lambda: machine(database, runner), settings=_SETTINGS)  # type: ignore[arg-type]
        finally:
            runner.run(database.close())
