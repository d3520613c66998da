"""Which events owe which effects."""

import pytest

from services.signup.outbox.effect_registry import EFFECTS, Kind, Owed, effects_owed
from services.signup.outbox.effects.statistics import StatsEffect
from services.signup.outbox.events import Event
from shared.contract.configuration import ConfigurationError


def test_a_new_kind_in_the_registry_is_owed_by_its_events() -> None:
    new = Kind("confetti", lambda _: StatsEffect(), frozenset({Event.VERIFIED, Event.SIGNED_UP}))
    owed = effects_owed("stats,cache", {**EFFECTS, "confetti": new})
    pairs = set(zip(owed.events, owed.effects, strict=True))
    assert pairs - set(zip(*effects_owed("stats,cache"), strict=True)) == {
        ("user.signed_up", "confetti"),
        ("user.verified", "confetti"),
    }


def test_the_erasure_at_the_mail_service_is_owed_whatever_is_chosen() -> None:
    assert effects_owed("none") == effects_owed("") == Owed(("user.erased",), ("erase_mail",))


@pytest.mark.parametrize("setting", ["confetti", "stats,mail", "stats,erase_mail"])
def test_choosing_an_unknown_or_fixed_effect_stops_the_start(setting: str) -> None:
    with pytest.raises(ConfigurationError, match="SIGNUP_EFFECTS"):
        effects_owed(setting)


def test_every_owed_effect_has_a_relay() -> None:
    assert set(effects_owed("stats,cache").effects) <= set(EFFECTS)
    assert all(kind.batches_at_once >= 1 for kind in EFFECTS.values())
