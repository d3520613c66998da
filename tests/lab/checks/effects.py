"""P3: each effect succeeds or fails alone, and takes place once."""

from collections import Counter
from collections.abc import Iterator

from ..evidence import Evidence
from .violation import Violation

_COUNTED = {"signups": ("user.signed_up", "user.imported"), "verifications": ("user.verified",)}


def alone(evidence: Evidence) -> list[Violation]:
    """P3: each effect succeeds or fails alone."""
    return [*_none_is_dead(evidence), *_each_took_place_once(evidence), *_statistics_agree(evidence)]


def _none_is_dead(evidence: Evidence) -> Iterator[Violation]:
    for effect in evidence.effects:
        if effect.state in ("dead", "canceled"):
            yield Violation(effect.id, f"{effect.effect} {effect.what} is {effect.state}")


def _each_took_place_once(evidence: Evidence) -> Iterator[Violation]:
    rows = Counter(effect.id for effect in evidence.effects)
    for row, count in rows.items():
        if count > 1:
            yield Violation(row, "is settled, and owed again")
    for effect in evidence.effects:
        if effect.settled > 1:
            yield Violation(effect.id, f"{effect.effect} {effect.what} took place {effect.settled} times")
    owed = Counter(
        (effect.user_id, effect.effect, effect.what, effect.subscriber)
        for effect in evidence.effects
        if effect.user_id and effect.what != "user.signed_up_again"
    )
    for (user_id, name, what, _), count in owed.items():
        if count > 1:
            yield Violation(str(user_id), f"{name} {what} is owed {count} times")


def _statistics_agree(evidence: Evidence) -> Iterator[Violation]:
    settled = Counter(effect.what for effect in evidence.effects if effect.effect == "stats" and effect.settled)
    for kind, events in _COUNTED.items():
        counted, expected = evidence.statistics.get(kind, 0), sum(settled[event] for event in events)
        if counted != expected:
            yield Violation(f"statistics of {kind}", f"counted {counted}, settled {expected}")
