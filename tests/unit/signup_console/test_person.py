"""Where a person stands, both ledgers side by side, and the story of the timeline."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.mail.delivery.states import MailState
from services.signup.console.ledgers import Pair, pairs_of
from services.signup.console.standing import standing_of
from services.signup.console.story import told, words_of

NOW = datetime.now(UTC)
PENDING = {"status": "pending", "verified_at": None}


def _row(request_id: str = "r1", **changes: Any) -> dict[str, Any]:
    return {"id": request_id, "effect": "mail", "template": "verification", "state": "delivered", **changes}


def _mail(state: str = "sent", **changes: Any) -> dict[str, Any]:
    return {"request_id": "r1", "state": state, "sent_at": NOW if state == "sent" else None, "lost": False, **changes}


def _pair(row: dict[str, Any] | None = None, mail: dict[str, Any] | None = None) -> Pair:
    return Pair("r1", row or _row(), None, mail)


def test_a_verified_person_stands_well_whatever_became_of_mails() -> None:
    verified = {"status": "verified", "verified_at": datetime.now(UTC) - timedelta(minutes=5)}
    standing = standing_of(verified, [_pair(mail=_mail("failed"))])
    assert (standing.mood, standing.text) == ("good", "Verified 5 min ago.")


def test_an_erased_person_is_told_as_such() -> None:
    assert standing_of({"status": "erased", "verified_at": None}, []).text.startswith("Erased")


def test_a_pending_person_without_a_link_cannot_verify() -> None:
    assert standing_of(PENDING, [_pair(_row(template="welcome"))]).mood == "bad"


@pytest.mark.parametrize("state", list(MailState))
def test_every_state_of_the_mail_with_the_link_has_its_sentence(state: str) -> None:
    standing = standing_of(PENDING, [_pair(mail=_mail(state))])
    assert standing.text.endswith(".")
    assert standing.mood in {"good", "warn", "bad"}


@pytest.mark.parametrize("state", ["pending", "leased", "dead", "canceled"])
def test_what_is_still_in_the_outbox_counts_before_what_the_mail_service_says(state: str) -> None:
    assert "outbox" in standing_of(PENDING, [_pair(_row(state=state))]).text or state in {"leased", "dead"}
    assert standing_of(PENDING, [_pair(_row(state=state), _mail())]).mood != "good"


def test_the_newest_link_counts() -> None:
    pairs = [_pair(_row("new"), _mail("sent")), _pair(_row("old"), _mail("failed"))]
    assert standing_of(PENDING, pairs).mood == "good"


def test_ledgers_that_agree_are_silent() -> None:
    (pair,) = pairs_of([_row()], [_mail()], {"r1": _mail()})
    assert (pair.differs, pair.behind) == ("", "")


@pytest.mark.parametrize(
    ("outcome", "mails", "differs"),
    [
        (None, {}, "handed over here, missing there"),
        (None, {"r1": _mail(lost=True)}, "its entry there was deleted"),
        (_mail("sent"), {"r1": _mail("queued")}, "sent here, queued there"),
        (_mail("sent"), None, ""),
    ],
)
def test_ledgers_that_disagree_are_named(outcome: dict[str, Any] | None, mails: Any, differs: str) -> None:
    (pair,) = pairs_of([_row()], [outcome] if outcome else [], mails)
    assert pair.differs == differs


def test_what_waits_in_the_outbox_is_not_missing_there() -> None:
    (pair,) = pairs_of([_row(state="pending")], [], {})
    assert pair.differs == ""


def test_an_outcome_that_was_not_reported_yet_is_behind_and_no_difference() -> None:
    (pair,) = pairs_of([_row()], [_mail("queued")], {"r1": _mail("sent")})
    assert (pair.differs, pair.behind) == ("", "sent there, not yet reported here")


def test_only_mails_stand_in_two_ledgers() -> None:
    assert pairs_of([_row(effect="event")], [], {}) == []


def _item(kind: str, **detail: Any) -> dict[str, Any]:
    return {
        "at": NOW, "service": "mail", "kind": kind, "subject": "mail:1", "detail": detail, "correlation_id": None,
    }  # fmt: skip


def test_an_attempt_is_told_with_the_gateways_words_apart() -> None:
    story = told(_item("attempt.refused", code=550, enhanced_code="5.1.1", reply="550 5.1.1 <b>No</b>", gateway="a"))
    assert (story.title, story.mood) == ("The gateway refused it", "bad")
    assert story.words == "550 5.1.1 <b>No</b>"
    assert story.detail == {"gateway": "a"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ""),
        ({"code": 250, "reply": "queued as 1"}, "250 queued as 1"),
        ({"code": 550, "enhanced_code": "5.7.1", "reply": None}, "550 5.7.1"),
        ({"reply": "550 5.7.1 no", "code": 550, "enhanced_code": "5.7.1"}, "550 5.7.1 no"),
    ],
)
def test_words_begin_with_the_codes_once(values: dict[str, Any], words: str) -> None:
    assert words_of(values) == words


def test_what_is_owed_and_decided_says_what() -> None:
    assert told(_item("outbox.owed", effect="mail", template="verification")).title == "Owed: mail verification"
    assert told(_item("mail.resolved", **{"as": "sent"})).title == "Decided by an operator: sent"


def test_a_kind_without_a_title_is_readable() -> None:
    assert told(_item("mail.something_new")).title == "mail: something new"
