"""The outcome of each row, and the transitions of an import."""

import itertools
from uuid import UUID

import pytest

from services.signup.imports.classify_rows import Decision, KnownUsers, LostRaceError, decide, settle
from services.signup.imports.row_parser import Candidate, Unreadable
from services.signup.imports.states import TRANSITIONS, Outcome, State, next_state

NONE_KNOWN = KnownUsers({}, {}, {}, {})
ANNA, BO = UUID(int=1), UUID(int=2)


def row(line: int, external_id: str, email_key: str) -> Candidate:
    return Candidate(line, external_id, email_key, email_key, "N", "en", verified=False, metadata="{}")


def outcomes(decisions: list[Decision]) -> list[tuple[int, str, UUID | None]]:
    return [(decision.row.line, str(decision.outcome), decision.user_id) for decision in decisions]


def test_an_invalid_or_duplicate_row_blocks_no_later_row() -> None:
    rows: list[Candidate | Unreadable] = [
        Unreadable(1, "email: bad", "a"),
        row(2, "a", "x"),
        row(3, "a", "y"),
        row(4, "b", "y"),
        row(5, "c", "x"),
    ]
    assert [decision.outcome for decision in decide(rows, NONE_KNOWN)] == [
        *(Outcome.INVALID, Outcome.CREATED, Outcome.DUPLICATE, Outcome.CREATED, Outcome.DUPLICATE)
    ]


def test_earlier_rows_are_checked_before_users_because_they_created_some_of_them() -> None:
    known = KnownUsers({"x": ANNA}, {"a": ANNA}, {"x": ANNA, "y": BO}, {"a": ANNA})
    decisions = decide([row(7, "a", "z"), row(8, "q", "x"), row(9, "r", "y"), row(10, "s", "y")], known)
    assert outcomes(decisions) == [
        *((7, "duplicate", ANNA), (8, "duplicate", ANNA)),
        *((9, "already_exists", BO), (10, "duplicate", BO)),
    ]


def test_the_external_id_identifies_a_user_before_the_address_does() -> None:
    known = KnownUsers({}, {}, {"x": BO}, {"a": ANNA})
    (decision,) = decide([row(1, "a", "x")], known)
    assert (decision.outcome, decision.user_id) == (Outcome.ALREADY_EXISTS, ANNA)


def test_a_duplicate_gets_the_id_of_the_user_inserted_before() -> None:
    decisions = decide([row(1, "a", "x"), row(2, "b", "x")], NONE_KNOWN)
    assert outcomes(settle(decisions, {1: ANNA}, NONE_KNOWN)) == [(1, "created", ANNA), (2, "duplicate", ANNA)]


def test_a_user_inserted_concurrently_already_exists() -> None:
    decisions = decide([row(1, "a", "x"), row(2, "b", "x")], NONE_KNOWN)
    settled = settle(decisions, {}, KnownUsers({}, {}, {"x": BO}, {}))
    assert outcomes(settled) == [(1, "already_exists", BO), (2, "duplicate", BO)]
    with pytest.raises(LostRaceError):
        settle(decisions, {}, NONE_KNOWN)


def test_events_follow_the_transition_table_and_none_leaves_canceled() -> None:
    events = {event for table in TRANSITIONS.values() for event in table}
    for state, event in itertools.product(State, events):
        assert next_state(state, event, mails_left=True) == TRANSITIONS[state].get(event)
    assert TRANSITIONS[State.CANCELED] == {}


def test_a_done_import_can_be_paused_or_canceled_only_while_mails_are_left() -> None:
    for event in ("pause", "cancel"):
        assert next_state(State.DONE, event, mails_left=True) is not None
        assert next_state(State.DONE, event, mails_left=False) is None
