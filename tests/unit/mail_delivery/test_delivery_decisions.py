"""What follows from an outcome, for every snapshot of a mail and every verdict."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from services.mail.delivery.retry_policy import MailSnapshot, RetryPolicy, decide_next
from services.mail.delivery.smtp_outcomes import Outcome, Verdict
from services.mail.delivery.states import ATTEMPT_TRANSITIONS, MAIL_TRANSITIONS, MailState, Phase

NOW = datetime(2026, 3, 1, tzinfo=UTC)
POLICY = RetryPolicy(draw=max)  # the longest wait that the jitter allows
FIRST_TRY = MailSnapshot(attempt=1, counted=0, on_uncertain="hold", in_doubt=False, expires_at=NOW + timedelta(days=2))


def settle(outcome: Outcome, **changes: object) -> tuple[MailState, float | None]:
    settlement = decide_next(replace(FIRST_TRY, **changes), Verdict(outcome, "because"), NOW, POLICY)  # type: ignore[arg-type]
    return settlement.state, settlement.due_in_seconds


@pytest.mark.parametrize(
    ("outcome", "on_uncertain", "in_doubt", "counted"),
    list(product(Outcome, ["hold", "resend"], [False, True], [0, 1, 7])),
)
def test_every_settlement_is_a_transition_of_the_table(
    outcome: Outcome, on_uncertain: str, in_doubt: bool, counted: int
) -> None:
    state, due = settle(outcome, on_uncertain=on_uncertain, in_doubt=in_doubt, counted=counted, attempt=counted + 1)
    assert state in MAIL_TRANSITIONS[MailState.SENDING][outcome]
    assert (due is not None) == (state in {MailState.QUEUED, MailState.DEFERRED})


@pytest.mark.promise("P5")
@pytest.mark.parametrize(
    ("outcome", "on_uncertain", "in_doubt", "expected"),
    [
        (Outcome.ACCEPTED, "hold", False, MailState.SENT),
        (Outcome.ACCEPTED, "resend", True, MailState.SENT),
        (Outcome.REFUSED, "hold", False, MailState.FAILED),
        (Outcome.REFUSED, "resend", True, MailState.UNCERTAIN),
        (Outcome.TRY_LATER, "hold", False, MailState.DEFERRED),
        (Outcome.TRY_LATER, "resend", True, MailState.DEFERRED),
        (Outcome.UNKNOWN, "hold", False, MailState.UNCERTAIN),
        (Outcome.UNKNOWN, "resend", False, MailState.QUEUED),
        (Outcome.GATEWAY_FAULT, "hold", False, MailState.QUEUED),
        (Outcome.GATEWAY_FAULT, "resend", True, MailState.QUEUED),
    ],
)
def test_an_outcome_leads_to_its_state(
    outcome: Outcome, on_uncertain: str, in_doubt: bool, expected: MailState
) -> None:
    assert settle(outcome, on_uncertain=on_uncertain, in_doubt=in_doubt)[0] is expected


def test_a_deferred_mail_stays_deferred_after_a_gateway_fault() -> None:
    assert settle(Outcome.GATEWAY_FAULT, counted=1, attempt=2) == (MailState.DEFERRED, 0.0)


@pytest.mark.parametrize(("counted", "seconds"), [(0, 300), (1, 600), (2, 1200), (5, 9600), (6, 14400), (20, 14400)])
def test_waits_double_from_five_minutes_to_four_hours(counted: int, seconds: float) -> None:
    assert settle(Outcome.TRY_LATER, counted=counted, attempt=counted + 1) == (MailState.DEFERRED, seconds)


def test_the_jitter_halves_a_wait_at_most() -> None:
    policy = RetryPolicy(draw=min)
    settlement = decide_next(FIRST_TRY, Verdict(Outcome.TRY_LATER, "later"), NOW, policy)
    assert settlement.due_in_seconds == 150


def test_the_last_try_is_moved_up_before_expiry() -> None:
    assert settle(Outcome.TRY_LATER, expires_at=NOW + timedelta(seconds=250)) == (MailState.DEFERRED, 240)


def test_a_mail_that_expires_before_another_try_fails_with_the_last_reply() -> None:
    verdict = Verdict(Outcome.TRY_LATER, "deferred with 450 at RCPT", 450, None, "450 not now")
    settlement = decide_next(replace(FIRST_TRY, expires_at=NOW + timedelta(seconds=60)), verdict, NOW, POLICY)
    assert settlement.state is MailState.FAILED
    assert settlement.reason.startswith("deferred with 450 at RCPT")
    assert settlement.verdict.reply == "450 not now"


def test_a_mail_in_doubt_never_fails_by_age() -> None:
    soon = NOW + timedelta(seconds=60)
    assert settle(Outcome.TRY_LATER, in_doubt=True, expires_at=soon)[0] is MailState.UNCERTAIN


def test_a_resend_past_expiry_stays_uncertain() -> None:
    soon = NOW + timedelta(seconds=60)
    assert settle(Outcome.UNKNOWN, on_uncertain="resend", expires_at=soon)[0] is MailState.UNCERTAIN


def test_a_rescued_resend_is_due_at_once() -> None:
    mail = replace(FIRST_TRY, on_uncertain="resend")
    settlement = decide_next(mail, Verdict(Outcome.UNKNOWN, "lost"), NOW, POLICY, worker_lost=True)
    assert (settlement.state, settlement.due_in_seconds) == (MailState.QUEUED, 0.0)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 0), (5, 0), (6, 0.5), (7, 1), (50, 10)])
def test_a_mail_that_alone_causes_faults_does_not_spin(attempt: int, seconds: float) -> None:
    assert settle(Outcome.GATEWAY_FAULT, attempt=attempt)[1] == seconds


def test_every_state_is_in_the_table() -> None:
    assert set(MAIL_TRANSITIONS) == set(MailState)
    assert set(ATTEMPT_TRANSITIONS) == set(Phase)
