"""The states of an outbox row, as data: docs/states.md is rendered from here, and the CHECKs hold the same rules.

`pending ─claim▶ leased ─▶ delivered | dead | pending`.
"""

import enum


class State(enum.StrEnum):
    PENDING = "pending"
    LEASED = "leased"
    DEAD = "dead"
    # These two appear in `outbox_settled`, never in `outbox`.
    DELIVERED = "delivered"
    CANCELED = "canceled"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.LEASED, State.CANCELED}),
    # To itself: a claim takes over the row of a lost worker once its lease has ended.
    State.LEASED: frozenset({State.PENDING, State.LEASED, State.DELIVERED, State.DEAD, State.CANCELED}),
    State.DEAD: frozenset({State.PENDING, State.CANCELED}),
    State.DELIVERED: frozenset(),
    State.CANCELED: frozenset(),
}
