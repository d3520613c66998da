"""What owes what."""

import pytest

from services.signup.errors import ConfigurationError
from services.signup.outbox.effects import EFFECTS, Kind, Owed, owed_by
from services.signup.outbox.events import Event
from services.signup.outbox.stats import StatsEffect


def test_an_effect_is_owed_by_its_events_once_it_has_a_line_in_the_registry() -> None:
    new = Kind("confetti", lambda _: StatsEffect(), frozenset({Event.VERIFIED, Event.SIGNED_UP}))
    owed = owed_by("stats,cache", {**EFFECTS, "confetti": new})
    pairs = set(zip(owed.events, owed.effects, strict=True))
    assert pairs - set(zip(*owed_by("stats,cache"), strict=True)) == {
        ("user.signed_up", "confetti"),
        ("user.verified", "confetti"),
    }


def test_erasing_is_owed_to_the_mail_service_whatever_is_chosen() -> None:
    assert owed_by("none") == owed_by("") == Owed(("user.erased",), ("erase_mail",))


@pytest.mark.parametrize("setting", ["confetti", "stats,mail", "stats,erase_mail"])
def test_choosing_what_there_is_none_of_stops_the_start(setting: str) -> None:
    with pytest.raises(ConfigurationError, match="SIGNUP_EFFECTS"):
        owed_by(setting)


def test_nothing_is_owed_an_effect_without_a_relay() -> None:
    assert set(owed_by("stats,cache").effects) <= set(EFFECTS)
    assert all(kind.relays >= 1 for kind in EFFECTS.values())
