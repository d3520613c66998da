"""How a gateway's replies are classified."""

import pytest

from services.mail.delivery.smtp_outcomes import REPLY_MAX_CHARACTERS, Outcome, Step, accepts, classify, interrupted

CONVERSATION = (Step.MAIL, Step.RCPT, Step.DATA)


@pytest.mark.parametrize("step", CONVERSATION)
@pytest.mark.parametrize(
    ("code", "outcome"),
    [(450, Outcome.TRY_LATER), (452, Outcome.TRY_LATER), (550, Outcome.REFUSED), (421, Outcome.GATEWAY_FAULT)],
)
def test_the_first_digit_decides_and_421_is_about_the_gateway(step: Step, code: int, outcome: Outcome) -> None:
    assert classify(step, code, "text").outcome is outcome


@pytest.mark.parametrize("step", [Step.CONNECT, Step.MAIL])
@pytest.mark.parametrize(
    ("code", "text"),
    [
        (421, "4.7.0 Too many concurrent SMTP connections"),
        (421, "4.7.0 mx.example Error: too many connections from 192.0.2.1"),
        (421, "4.3.2 The maximum number of concurrent server connections has exceeded a limit, closing channel"),
        (450, "4.7.1 Too many simultaneous sessions"),
        (451, "4.3.2 Concurrent connections limit exceeded"),
        (452, "4.3.2 Connections exceeded"),
        (432, "4.3.2 sorry\nconcurrent connection limit reached"),
        (421, "Connection limit reached, try later"),
    ],
)
def test_too_many_connections_are_about_the_connection_and_never_about_the_mail(
    step: Step, code: int, text: str
) -> None:
    verdict = classify(step, code, text)
    assert (verdict.outcome, verdict.turned_away) == (Outcome.GATEWAY_FAULT, True)
    assert verdict.reason == f"too many connections ({code} at {step})"


@pytest.mark.parametrize(
    ("step", "code", "text"),
    [
        (Step.CONNECT, 554, "5.7.1 too many connections"),
        (Step.CONNECT, 450, "4.7.1 busy"),
        (Step.MAIL, 421, "4.7.0 too many mails on this connection"),
        (Step.MAIL, 421, "4.7.0 too many errors, closing connection"),
        (Step.MAIL, 450, "4.2.1 later"),
        (Step.MAIL, 250, "too many connections"),
        (Step.RCPT, 450, "4.7.1 too many connections to the recipient's host"),
        (Step.BODY, 451, "4.7.1 too many connections to the next hop"),
    ],
)
def test_other_words_and_later_steps_say_nothing_about_the_number_of_connections(
    step: Step, code: int, text: str
) -> None:
    assert not classify(step, code, text).turned_away


def test_any_421_before_ehlo_is_done_turns_the_connection_away() -> None:
    assert classify(Step.CONNECT, 421, "4.3.2 closing").turned_away


@pytest.mark.parametrize("code", [421, 450, 500, 535, 554, -1, 354])
def test_a_reply_before_the_mail_is_never_about_the_mail(code: int) -> None:
    assert classify(Step.CONNECT, code, "no").outcome is Outcome.GATEWAY_FAULT


def test_a_required_login_is_a_gateway_fault_and_refuses_no_mail() -> None:
    assert classify(Step.MAIL, 530, "5.7.0 Authentication required").outcome is Outcome.GATEWAY_FAULT


@pytest.mark.promise("P5")
@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (250, Outcome.ACCEPTED),
        (421, Outcome.TRY_LATER),
        (451, Outcome.TRY_LATER),
        (554, Outcome.REFUSED),
        (354, Outcome.UNKNOWN),
        (-1, Outcome.UNKNOWN),
        (25, Outcome.UNKNOWN),
    ],
)
def test_after_the_dot_only_a_verdict_is_certain(code: int, outcome: Outcome) -> None:
    assert classify(Step.BODY, code, "text").outcome is outcome


@pytest.mark.parametrize("step", [Step.CONNECT, *CONVERSATION])
def test_a_drop_before_the_body_is_the_gateways_fault(step: Step) -> None:
    assert interrupted(step, "connection lost").outcome is Outcome.GATEWAY_FAULT


def test_a_drop_after_the_body_started_is_unknown() -> None:
    assert interrupted(Step.BODY, "connection lost").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("enhanced", ["5.1.1", "5.1.2", "5.1.10", "5.2.1"])
@pytest.mark.parametrize("step", [Step.RCPT, Step.DATA, Step.BODY])
def test_a_dead_mailbox_is_suppressed(step: Step, enhanced: str) -> None:
    assert classify(step, 550, f"{enhanced} gone").suppresses


@pytest.mark.parametrize("text", ["5.7.1 policy", "5.1.11 other", "5.2.2 full", "5.1.1", "gone 5.1.1", ""])
def test_policy_and_other_refusals_never_suppress(text: str) -> None:
    suppresses = classify(Step.RCPT, 550, text).suppresses
    assert suppresses is (text == "5.1.1")


def test_a_temporary_refusal_never_suppresses() -> None:
    assert not classify(Step.RCPT, 450, "5.1.1 odd").suppresses


def test_a_refused_sender_does_not_suppress_the_recipient() -> None:
    assert not classify(Step.MAIL, 550, "5.1.1 who are you").suppresses


def test_a_reply_is_stored_in_full_up_to_a_limit() -> None:
    verdict = classify(Step.RCPT, 550, "5.1.1 " + "x" * 5000)
    assert (verdict.code, verdict.enhanced_code) == (550, "5.1.1")
    assert verdict.reply is not None
    assert verdict.reply.startswith("550 5.1.1 xxx")
    assert len(verdict.reply) == REPLY_MAX_CHARACTERS


def test_characters_that_postgresql_refuses_are_replaced() -> None:
    reply = classify(Step.RCPT, 550, "bad \0 byte \udcff").reply
    assert reply == "550 bad \ufffd byte ?"


def test_a_reason_never_quotes_the_gateway() -> None:
    assert "asa@example.test" not in classify(Step.RCPT, 550, "5.1.1 <asa@example.test>: no such user").reason


def test_any_positive_reply_continues_the_conversation() -> None:
    assert accepts(Step.RCPT, 251)
    assert accepts(Step.DATA, 354)
    assert not accepts(Step.DATA, 250)
