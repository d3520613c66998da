"""Standard reports are read although their reporters differ from the RFC, and complaints in their older forms."""

import base64

import pytest

from services.mail.bounces.notice_parser import Kind, read
from tests.support.notices import complaint, in_free_words, quoted_header, recipient_fields, report

ID = "019ac000-0000-7000-8000-000000000001"
QUOTED = quoted_header(ID)


def test_a_space_before_the_colon_of_a_field_is_passed_over() -> None:
    notice = read(report(QUOTED, recipient_fields().replace(": ", " : ")))
    assert (notice.kind, notice.status, notice.code) == (Kind.FAILED, "5.1.1", 550)


def test_a_group_that_an_empty_line_tore_apart_is_read_as_one() -> None:
    torn = "Reporting-MTA: dns; mx.example\n\nDiagnostic-Code: smtp; 550-first\n\n550 second\n"
    torn += "Status: 5.0.0\nAction: failed\n"
    notice = read(report(QUOTED, torn))
    assert (notice.kind, notice.status, notice.code, notice.diagnostic) == (Kind.FAILED, "5.0.0", 550, "550-first")


def test_an_encoded_delivery_status_is_read() -> None:
    encoded = base64.encodebytes(recipient_fields().encode()).decode()
    raw = report(QUOTED, encoded, status_type="message/delivery-status\nContent-Transfer-Encoding: base64")
    assert (read(raw).kind, read(raw).status) == (Kind.FAILED, "5.1.1")


@pytest.mark.parametrize(
    ("diagnostic", "kind", "code"),
    [
        ("smtp; 550 5.1.1 unknown", Kind.FAILED, 550),
        ("550 unknown", Kind.FAILED, 550),
        ("smtp; 450 later", Kind.DELAYED, 450),
        ("smtp; unknown", Kind.OTHER, None),
        ("x-unix; 75", Kind.OTHER, None),
    ],
)
def test_without_action_and_status_the_class_of_the_reply_decides(
    diagnostic: str, kind: Kind, code: int | None
) -> None:
    notice = read(report(QUOTED, recipient_fields("", "", diagnostic)))
    assert (notice.kind, notice.code) == (kind, code)


def test_the_refusal_behind_a_greeting_is_the_code() -> None:
    notice = read(report(QUOTED, recipient_fields("failed", "4.2.1", "smtp; 220-mx.example 421 4.2.1 Service refused")))
    assert (notice.kind, notice.code) == (Kind.FAILED, 421)


def test_an_action_of_opensmtpd_is_a_failure() -> None:
    assert read(report(QUOTED, recipient_fields("error", "", ""))).kind is Kind.FAILED


def test_a_status_without_a_recipient_leaves_it_to_the_words() -> None:
    text = report(QUOTED, "Reporting-MTA: dns; mx.example\n").decode()
    known = text.replace("I'm sorry to have to inform you about", "I'm sorry to have to inform you that it came back:")
    assert (read(known.encode()).kind, read(known.encode()).mail_ids[0]) == (
        Kind.FAILED,
        read(report(QUOTED)).mail_ids[0],
    )


def test_a_full_mailbox_suppresses_no_address_even_with_the_code_of_a_dead_one() -> None:
    from services.mail.bounces.ingest import suppresses_recipient  # noqa: PLC0415 - beside its only use

    assert suppresses_recipient(read(report(QUOTED)))
    full = recipient_fields("failed", "5.2.1", "smtp; 550 5.2.1 mailbox is full")
    assert not suppresses_recipient(read(report(QUOTED, full)))


def test_the_complaints_of_outlook_com_are_read() -> None:
    mail = (
        "From: staff@hotmail.com\nSubject: complaint about message from 192.0.2.7\nMIME-Version: 1.0\n"
        f'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: message/rfc822\n\n{QUOTED}\nBody\n--b--\n'
    )
    notice = read(mail.encode())
    assert (notice.kind, notice.status, str(notice.mail_ids[0])) == (Kind.COMPLAINT, "abuse", ID)
    other = mail.replace("staff@hotmail.com", "eva@hotmail.com")
    assert read(other.encode()).kind is Kind.OTHER


@pytest.mark.parametrize(("feedback", "kind"), [("abuse", Kind.COMPLAINT), ("auth-failure", Kind.OTHER)])
def test_feedback_whose_part_lost_its_type_is_read(feedback: str, kind: Kind) -> None:
    raw = complaint(QUOTED, f"Feedback-Type: {feedback}\nUser-Agent: Loop/1.0\nVersion: 1\n")
    assert read(raw.replace(b"message/feedback-report", b"text/plain")).kind is kind
    form = in_free_words(f"Our form:\nFeedback-Type: {feedback}", sender="eva@shop.example", subject="A form")
    assert read(form).kind is Kind.OTHER


def test_feedback_that_lost_its_fields_is_known_by_its_first_words() -> None:
    words = "This is an email abuse report for an email message received from IP 192.0.2.7 on Monday."
    notice = read(in_free_words(words, sender="fbl@shop.example", subject="Feedback"))
    assert (notice.kind, notice.status) == (Kind.COMPLAINT, "abuse")
