"""Replays what happened to a mail against the model: each change of its state must be one that a step of it makes."""

from collections.abc import Sequence
from itertools import pairwise

from .page import steps

_CHANGES = frozenset(change for step in steps() for change in step.changes)


def first_strange_change(states: Sequence[str]) -> tuple[str, str] | None:
    """The first change in a mail's history that no step of the model makes; None when it is a run of the model.

    `states` are those that history tells, in its order. A claim writes no history: `sending` may lie between two.
    """
    return next((change for change in pairwise(["absent", *states]) if not _is_made(*change)), None)


def _is_made(old: str, new: str) -> bool:
    return (old, new) in _CHANGES or {(old, "sending"), ("sending", new)} <= _CHANGES
