"""Challenges, and the switch that turns them on."""

import base64
import hashlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.signup.accounts.attack_switch import AttackSwitch
from services.signup.accounts.challenges import MAX_NUMBER, ChallengePolicy, Challenges
from services.signup.verification_token import TokenRing
from tests.support.challenges import solve

OLD, NEW = "o" * 32, "n" * 32
CHALLENGES = Challenges(TokenRing.from_setting(NEW))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_solution_names_the_challenge_that_was_signed() -> None:
    challenge = CHALLENGES.make()
    assert challenge["maxnumber"] == MAX_NUMBER
    found = CHALLENGES.solved_id(solve(challenge))
    assert found == hashlib.sha256(challenge["challenge"].encode()).digest()


def test_challenges_differ() -> None:
    assert len({CHALLENGES.make()["challenge"] for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "changed",
    [
        {"number": MAX_NUMBER + 1},
        {"number": -1},
        {"number": "7"},
        {"number": True},
        {"number": None},
        {"signature": "0" * 64},
        {"signature": "ö"},
        {"signature": 7},
        {"challenge": "0" * 64},
        {"challenge": None},
        {"salt": "0" * 24},
        {"salt": []},
        {"algorithm": "SHA-1"},
        {"algorithm": {}},
    ],
)
def test_a_changed_solution_is_none(changed: dict[str, object]) -> None:
    assert CHALLENGES.solved_id(solve(CHALLENGES.make(), **changed)) is None


def test_a_signature_of_another_challenge_does_not_count() -> None:
    assert CHALLENGES.solved_id(solve(CHALLENGES.make(), signature=CHALLENGES.make()["signature"])) is None


def test_a_later_end_is_not_what_was_signed() -> None:
    challenge = CHALLENGES.make(lifetime_seconds=-1)
    salt, _, _ = challenge["salt"].partition("?")
    for later in (f"{salt}?expires=99999999999&", f"{salt}?expires=99999999999&{challenge['salt'].partition('?')[2]}"):
        assert CHALLENGES.solved_id(solve(challenge, salt=later)) is None


def test_an_expired_challenge_is_worth_nothing() -> None:
    assert CHALLENGES.solved_id(solve(CHALLENGES.make(lifetime_seconds=-1))) is None


def test_every_spelling_of_one_solution_has_the_same_id() -> None:
    challenge = CHALLENGES.make()
    spellings = [solve(challenge), solve(challenge, salt=challenge["salt"].removesuffix("&")), solve(challenge, took=9)]
    assert len({CHALLENGES.solved_id(spelling) for spelling in spellings} - {None}) == 1


def test_a_rotated_secret_still_verifies_and_another_one_does_not() -> None:
    made_before = solve(Challenges(TokenRing.from_setting(OLD)).make())
    assert Challenges(TokenRing.from_setting(f"{NEW},{OLD}")).solved_id(made_before) is not None
    assert CHALLENGES.solved_id(made_before) is None


@pytest.mark.parametrize("solution", [None, "", "e30=", "W10=", "bnVsbA==", "Nw==", "x", "ö", "====", "eyJhIjo="])
def test_what_is_no_solution_is_none(solution: str | None) -> None:
    assert CHALLENGES.solved_id(solution) is None


@given(st.text(max_size=50), st.dictionaries(st.text(max_size=9), st.integers(0, 9) | st.text(max_size=9), max_size=5))
def test_nothing_that_was_not_signed_counts(text: str, members: dict[str, object]) -> None:
    assert CHALLENGES.solved_id(text) is None
    assert CHALLENGES.solved_id(base64.b64encode(orjson.dumps(members)).decode()) is None


def test_the_switch_goes_on_above_the_rate_and_off_after_five_quiet_minutes() -> None:
    clock = Clock()
    switch = AttackSwitch(3, clock)
    seen = []
    for _ in range(4):
        switch.count()
        seen.append(switch.on)
    for seconds in (299, 1):
        clock.now += seconds
        seen.append(switch.on)
    assert seen == [False, False, False, True, True, False]


def test_the_switch_stays_on_while_the_rate_is_exceeded() -> None:
    clock = Clock()
    switch = AttackSwitch(3, clock)
    for _ in range(100):
        switch.count()
        clock.now += 15
    seen = [switch.on]
    for _ in range(21):  # three a minute from here on
        clock.now += 20
        switch.count()
    assert [*seen, switch.on] == [True, False]


def test_the_minute_slides() -> None:
    clock = Clock()
    switch = AttackSwitch(3, clock)
    for _ in range(50):
        switch.count()
        clock.now += 20
    assert not switch.on


def test_callers_with_a_key_neither_count_nor_need_a_challenge() -> None:
    policy = ChallengePolicy("under_attack", CHALLENGES, AttackSwitch(1, Clock()))
    for _ in range(9):
        assert not policy.judge(None, keyed=True).needed
    assert [policy.judge(None).needed for _ in range(3)] == [False, True, True]
    assert not policy.judge(None, keyed=True).needed


@pytest.mark.parametrize(("mode", "needed"), [("off", False), ("under_attack", False), ("always", True)])
def test_the_mode_decides_whether_one_is_needed(mode: str, *, needed: bool) -> None:
    assert ChallengePolicy(mode, CHALLENGES, AttackSwitch(60, Clock())).judge(None).needed is needed
