"""What follows from an outcome while a gateway that deduplicates can be asked, for every pair of mail and outcome."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

import pytest

from services.mail.delivery.deduplication import Deduplication, KeyUse, key_of, open_question, read_key_uses, use_of
from services.mail.delivery.retry_policy import MailSnapshot, RetryPolicy, Settlement, decide_next
from services.mail.delivery.smtp_outcomes import Outcome, Verdict
from services.mail.delivery.states import MAIL_TRANSITIONS, MailState

NOW = datetime(2026, 3, 1, tzinfo=UTC)
POLICY = RetryPolicy(draw=max)  # the longest wait that the jitter allows
DAY = timedelta(days=1)
USE = KeyUse("keyed", "X-Key: a", NOW + DAY)
FIRST_TRY = MailSnapshot(attempt=1, counted=0, on_uncertain="hold", in_doubt=False, expires_at=NOW + 2 * DAY)
ASKED = replace(FIRST_TRY, attempt=2, counted=1, in_doubt=True, question=replace(USE, unknown=1))


def decide(outcome: Outcome, mail: MailSnapshot, use: KeyUse | None = USE, *, lost: bool = False) -> Settlement:
    return decide_next(mail, Verdict(outcome, "because"), NOW, POLICY, worker_lost=lost, key_use=use)


@pytest.mark.parametrize(
    ("outcome", "mail", "on_uncertain", "seconds_left", "lost"),
    list(product(Outcome, [FIRST_TRY, ASKED], ["hold", "resend"], [86_400, 12, 0, -1], [False, True])),
)
def test_every_settlement_is_a_transition_of_the_table(
    outcome: Outcome, mail: MailSnapshot, on_uncertain: str, seconds_left: int, lost: bool
) -> None:
    use = replace(USE, ask_until=NOW + timedelta(seconds=seconds_left))
    question = mail.question and replace(mail.question, ask_until=use.ask_until)
    settlement = decide(outcome, replace(mail, on_uncertain=on_uncertain, question=question), use, lost=lost)
    assert settlement.state in MAIL_TRANSITIONS[MailState.SENDING][outcome]
    assert (settlement.due_in_seconds is not None) == (settlement.state in {MailState.QUEUED, MailState.DEFERRED})
    if outcome is Outcome.UNKNOWN:
        # 12 s are enough for a question at once, and too few for one after a wait.
        is_asked = seconds_left > (0 if lost else 12)
        otherwise = MailState.QUEUED if on_uncertain == "resend" else MailState.UNCERTAIN
        assert settlement.state is (MailState.DEFERRED if is_asked else otherwise)


@pytest.mark.parametrize("on_uncertain", ["hold", "resend"])
def test_an_unknown_outcome_is_asked_again_soon_whatever_the_policy(on_uncertain: str) -> None:
    settlement = decide(Outcome.UNKNOWN, replace(FIRST_TRY, on_uncertain=on_uncertain))
    assert (settlement.state, settlement.kind, settlement.due_in_seconds) == (MailState.DEFERRED, "mail.deferred", 5)
    assert settlement.reason == "because; asked again at keyed"


@pytest.mark.parametrize(("on_uncertain", "state"), [("hold", MailState.UNCERTAIN), ("resend", MailState.QUEUED)])
def test_without_a_key_the_policy_decides(on_uncertain: str, state: MailState) -> None:
    settlement = decide(Outcome.UNKNOWN, replace(FIRST_TRY, on_uncertain=on_uncertain), None)
    assert (settlement.state, settlement.reason) == (state, "because")


@pytest.mark.parametrize(("on_uncertain", "state"), [("hold", MailState.UNCERTAIN), ("resend", MailState.QUEUED)])
def test_after_the_time_to_ask_the_policy_decides(on_uncertain: str, state: MailState) -> None:
    over = replace(USE, ask_until=NOW)
    for lost in (False, True):
        settlement = decide(Outcome.UNKNOWN, replace(FIRST_TRY, on_uncertain=on_uncertain), over, lost=lost)
        assert (settlement.state, settlement.reason) == (state, "because; too late to ask keyed again")


@pytest.mark.parametrize(("unknown", "seconds"), [(0, 5), (1, 10), (2, 20), (9, 2560), (12, 14_400)])
def test_the_waits_between_questions_double_from_five_seconds_to_four_hours(unknown: int, seconds: float) -> None:
    use = replace(USE, unknown=unknown)
    assert decide(Outcome.UNKNOWN, replace(ASKED, counted=unknown), use).due_in_seconds == seconds


def test_the_last_question_is_moved_up_before_the_time_ends() -> None:
    use = replace(USE, unknown=5, ask_until=NOW + timedelta(seconds=130))
    assert decide(Outcome.UNKNOWN, ASKED, use).due_in_seconds == 120
    use = replace(use, ask_until=NOW + timedelta(seconds=80))
    assert decide(Outcome.UNKNOWN, ASKED, use).state is MailState.UNCERTAIN


def test_the_first_question_waits_no_longer_than_the_first_retry() -> None:
    settlement = decide_next(
        FIRST_TRY, Verdict(Outcome.UNKNOWN, "because"), NOW, RetryPolicy(base_seconds=2.0, draw=max), key_use=USE
    )
    assert settlement.due_in_seconds == 2


def test_a_mail_whose_worker_was_lost_is_asked_about_at_once() -> None:
    assert decide(Outcome.UNKNOWN, FIRST_TRY, lost=True).due_in_seconds == 0


def test_a_question_after_expiry_could_send_the_mail_too_late() -> None:
    for lost in (False, True):
        assert decide(Outcome.UNKNOWN, replace(FIRST_TRY, expires_at=NOW), lost=lost).state is MailState.UNCERTAIN


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.ACCEPTED, MailState.SENT),
        (Outcome.REFUSED, MailState.UNCERTAIN),
        (Outcome.TRY_LATER, MailState.DEFERRED),
        (Outcome.UNKNOWN, MailState.DEFERRED),
        (Outcome.GATEWAY_FAULT, MailState.DEFERRED),
    ],
)
def test_an_answer_to_a_question_leads_to_its_state(outcome: Outcome, state: MailState) -> None:
    assert decide(outcome, ASKED).state is state


def test_a_later_try_that_would_come_after_the_time_to_ask_leaves_the_mail_uncertain() -> None:
    question = replace(USE, unknown=1, ask_until=NOW + timedelta(seconds=250))
    held = decide(Outcome.TRY_LATER, replace(ASKED, question=question))
    assert held.state is MailState.UNCERTAIN
    assert held.reason.startswith("because; not retried: the time to ask again ends first")
    resent = decide(Outcome.TRY_LATER, replace(ASKED, question=question, on_uncertain="resend"))
    assert (resent.state, resent.due_in_seconds) == (MailState.DEFERRED, 600)


def test_a_mail_that_waits_says_where_it_is_asked_about() -> None:
    for outcome in (Outcome.TRY_LATER, Outcome.GATEWAY_FAULT):
        assert decide(outcome, ASKED).reason == "because; an earlier attempt is asked again at keyed"


def test_the_key_is_the_mails_id_and_each_resend_has_its_own() -> None:
    mail_id = UUID(int=7)
    assert [key_of(mail_id, resends) for resends in (0, 1, 12)] == [str(mail_id), f"{mail_id}-1", f"{mail_id}-12"]


def test_the_first_use_of_a_key_sets_the_end_of_asking() -> None:
    deduplication = Deduplication("X-Key", 3600.0)
    first = use_of((), "keyed", "a", NOW, deduplication)
    assert first == KeyUse("keyed", "X-Key: a", NOW + timedelta(hours=1))
    assert use_of((first,), "keyed", "a", NOW + DAY, deduplication) is first
    for gateway, key in (("other", "a"), ("keyed", "a-1")):
        assert use_of((first,), gateway, key, NOW + DAY, deduplication).ask_until == NOW + DAY + timedelta(hours=1)


def test_only_a_use_that_ended_unknown_is_an_open_question() -> None:
    text = (
        '[{"gateway": "first", "line": "X-Key: a", "ask_until": "2026-03-02T00:00:00+00:00", "unknown": 0},'
        ' {"gateway": "keyed", "line": "X-Key: a", "ask_until": "2026-03-02T00:00:00+00:00", "unknown": 2}]'
    )
    uses = read_key_uses(text)
    assert open_question(uses) == uses[1] == replace(USE, unknown=2)
    assert open_question(uses[:1]) is None
    assert read_key_uses(None) == ()
