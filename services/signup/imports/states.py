"""The states of an import, as data. docs/states.md is generated from here; CHECK constraints enforce the same rules."""

import enum
from collections.abc import Mapping


class State(enum.StrEnum):
    """The state of an import: docs/states.md draws what leads where."""

    RECEIVING = "receiving"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELED = "canceled"
    FAILED = "failed"


class Outcome(enum.StrEnum):
    """What a row of an import came to."""

    CREATED = "created"
    ALREADY_EXISTS = "already_exists"
    DUPLICATE = "duplicate"
    INVALID = "invalid"


# `done`: every row has its outcome. Paced mails may still be leaving; pause and cancel apply to those.
TRANSITIONS: Mapping[State, Mapping[str, State]] = {
    State.RECEIVING: {"start": State.RUNNING, "fail": State.FAILED, "cancel": State.CANCELED},
    State.RUNNING: {"pause": State.PAUSED, "finish": State.DONE, "cancel": State.CANCELED},
    State.PAUSED: {"resume": State.RUNNING, "cancel": State.CANCELED},
    State.DONE: {"pause": State.PAUSED, "cancel": State.CANCELED},
    State.CANCELED: {},
    State.FAILED: {"receive": State.RECEIVING},
}


def next_state(state: State, event: str, *, mails_left: bool) -> State | None:
    """The state after `event`, or None when `state` does not allow it."""
    if state is State.DONE and not mails_left:
        return None
    return TRANSITIONS[state].get(event)


def states_for(event: str) -> list[State]:
    """The states that allow `event`."""
    return [state for state, events in TRANSITIONS.items() if event in events]
