"""What is found when one mail is compared in both ledgers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.signup.mail_service import LedgerMail
from services.signup.reconciliation.compare import Finding, OwnRecord, judge, same_person
from shared.contract.ids import uuid7

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OWN = OwnRecord(
    id=uuid7(),
    user_id=uuid7(),
    created_at=NOW,
    outcome="delivered",
    to_email="Asa@bücher.example",
    fingerprint="a" * 64,
    answered_state="queued",
    waiting=False,
    served=False,
    known_state="queued",
    sent_at=None,
    known_fingerprint="a" * 64,
)
MAIL = {
    "id": str(uuid7()),
    "request_id": str(OWN.id),
    "client": "signup",
    "state": "sent",
    "to": {"email": "asa@bücher.example"},
    "fingerprint": "a" * 64,
    "expires_at": (NOW + timedelta(days=2)).isoformat(),
}


def _judge(own: OwnRecord, **fields: object) -> list[Finding]:
    mail = LedgerMail.model_validate({**MAIL, **fields}) if fields else None
    return list(judge(own, mail, now=NOW, stuck_seconds=3600, run="run"))


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("known", "kind", "repairable"),
    [
        ({"known_state": "sent", "sent_at": NOW}, "lost_records", True),
        ({"known_state": "queued", "sent_at": NOW}, "lost_records", True),
        ({"known_state": None, "answered_state": "sent"}, "lost_records", False),
        ({"known_state": "sent", "sent_at": NOW, "to_email": None}, "lost_records", False),
        ({"known_state": None, "answered_state": None}, "missing", True),
        ({"known_state": "queued"}, "missing", True),
        ({"known_state": "deferred"}, "missing", True),
        ({"known_state": "sending"}, "missing", False),
        ({"known_state": "queued", "answered_state": "sending"}, "missing", False),
        ({"known_state": None, "answered_state": "sending"}, "missing", False),
        ({"known_state": "uncertain"}, "missing", False),
        ({"known_state": "failed"}, "missing", False),
        ({"known_state": None, "answered_state": "suppressed"}, "missing", False),
        ({"known_state": "queued", "to_email": None}, "missing", False),
        ({"known_state": "queued", "served": True}, "missing", False),
    ],
)
def test_a_mail_unknown_to_the_mail_service_is_lost_or_missing_by_what_signup_knows(
    known: dict[str, object], kind: str, repairable: bool
) -> None:
    (finding,) = _judge(replace(OWN, **known))  # type: ignore[arg-type]
    assert (finding.kind, finding.repairable) == (kind, repairable)


@pytest.mark.parametrize("known", [{"waiting": True}, {"outcome": "canceled"}])
def test_a_mail_that_waits_in_the_outbox_or_was_canceled_is_not_missing(known: dict[str, object]) -> None:
    assert _judge(replace(OWN, **known)) == []  # type: ignore[arg-type]


def test_a_mail_that_is_the_same_in_both_ledgers_is_no_finding() -> None:
    assert _judge(OWN, state="sent") == []


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"to": {"email": "eve@x.example"}}, "differs in recipient"),
        ({"fingerprint": "b" * 64}, "differs in fingerprint"),
        ({"fingerprint": "b" * 64, "to": {"email": "eve@x.example"}}, "differs in fingerprint, recipient"),
    ],
)
def test_fields_that_differ_are_named(fields: dict[str, object], reason: str) -> None:
    (finding,) = _judge(OWN, **fields)
    assert (finding.kind, finding.reason, finding.repairable) == ("different", reason, False)


def test_a_mail_that_was_erased_on_one_side_does_not_differ() -> None:
    assert _judge(OWN, to={"email": None}) == []
    assert _judge(replace(OWN, to_email=None), state="sent") == []


def test_a_mail_known_as_sent_that_waits_at_the_mail_service_again_differs_in_its_state() -> None:
    waiting = {"state": "queued", "next_attempt_at": NOW.isoformat()}
    (finding,) = _judge(replace(OWN, sent_at=NOW), **waiting)
    assert (finding.kind, finding.reason) == ("different", "differs in state")


@pytest.mark.parametrize(
    ("state", "next_attempt", "expires", "stuck"),
    [
        ("deferred", NOW + timedelta(hours=1), NOW + timedelta(days=1), False),
        ("queued", NOW - timedelta(minutes=59), NOW + timedelta(days=1), False),
        ("sending", NOW - timedelta(hours=1), NOW + timedelta(days=1), True),
        ("deferred", NOW + timedelta(hours=1), NOW - timedelta(hours=1), True),
        ("failed", None, NOW - timedelta(days=9), False),
    ],
)
def test_a_mail_is_stuck_when_it_waits_long_after_its_time(
    state: str, next_attempt: datetime | None, expires: datetime, stuck: bool
) -> None:
    found = _judge(OWN, state=state, next_attempt_at=next_attempt, expires_at=expires)
    assert [finding.kind for finding in found] == ["stuck"] * stuck


def test_an_unreadable_address_equals_no_other() -> None:
    assert same_person("Asa@bücher.example", "asa@xn--bcher-kva.example")
    assert not same_person("asa@x.example", "asa@" + "ü" * 80 + ".example")


@pytest.mark.parametrize(
    ("known_state", "state", "attempts", "is_reported"),
    [
        ("uncertain", "queued", 0, True),
        ("uncertain", "sending", 0, True),
        # An operator has just resolved it as `resend`, and the feed has not reported it yet.
        ("uncertain", "queued", 1, False),
        ("uncertain", "uncertain", 1, False),
        ("queued", "queued", 0, False),
    ],
)
def test_an_uncertain_mail_that_waits_as_if_never_tried_is_reported_and_left_to_an_operator(
    known_state: str, state: str, attempts: int, *, is_reported: bool
) -> None:
    own = replace(OWN, known_state=known_state, sent_at=None)
    found = _judge(own, state=state, attempts=attempts, next_attempt_at=NOW.isoformat())
    assert [(finding.kind, finding.reason, finding.repairable) for finding in found] == (
        [("different", "differs in state", False)] if is_reported else []
    )
