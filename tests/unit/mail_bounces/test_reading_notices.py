"""What notices report, and which mails they may be about."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mail.bounces.ingest import reason_for, suppresses_recipient
from services.mail.bounces.notice_parser import DIAGNOSTIC_MAX_CHARACTERS, Kind, read
from tests.support.notices import complaint, quoted_header, recipient_fields, report

ID = UUID("019ac000-0000-7000-8000-000000000001")
OTHER_ID = UUID("019ac000-0000-7000-8000-000000000002")
QUOTED = quoted_header(ID)
VERP = f"bounce+{ID.hex}@bounces.example"


def test_a_failure_is_read_with_the_reply_of_the_server() -> None:
    notice = read(report(QUOTED))
    assert (notice.kind, notice.status, notice.code) == (Kind.FAILED, "5.1.1", 550)
    assert notice.diagnostic == "550 5.1.1 <b@x.example>: User unknown"
    assert notice.mail_ids == (ID,)
    assert notice.message_ids == (f"<{ID}@counterfoil.example>",)


@pytest.mark.parametrize(
    ("action", "status", "kind"),
    [
        ("failed", "5.1.1", Kind.FAILED),
        ("Failed (unknown user)", "5.1.1", Kind.FAILED),
        # RFC 3464 section 2.3.3: `failed` is final, whatever the status.
        ("failed", "4.4.7", Kind.FAILED),
        ("delayed", "4.4.1", Kind.DELAYED),
        ("delivered", "2.0.0", Kind.DELIVERED),
        ("relayed", "2.0.0", Kind.DELIVERED),
        ("expanded", "2.0.0", Kind.DELIVERED),
        ("", "5.1.1", Kind.FAILED),
        ("", "4.4.1", Kind.DELAYED),
        ("", "", Kind.OTHER),
        ("exploded", "", Kind.OTHER),
    ],
)
def test_the_action_decides_and_without_one_the_status(action: str, status: str, kind: Kind) -> None:
    assert read(report(QUOTED, recipient_fields(action, status, ""))).kind is kind


@pytest.mark.parametrize(
    ("status", "diagnostic", "specific", "code"),
    [
        ("5.0.0", "smtp; 550 5.1.1 no such user", "5.1.1", 550),
        ("5.0.0", "smtp; 450 4.2.0 busy", "5.0.0", 450),
        ("5.2.2", "smtp; 552 5.1.1 odd", "5.2.2", 552),
        ("", "smtp; 550-5.7.1 policy", "5.7.1", 550),
        ("5.1.2 (bad destination system)", "", "5.1.2", None),
        ("5.4.4", "x-unix; 550 host not found", "5.4.4", None),
        ("5.4.4", "not typed at all", "5.4.4", None),
    ],
)
def test_the_most_specific_code_is_kept(status: str, diagnostic: str, specific: str, code: int | None) -> None:
    notice = read(report(QUOTED, recipient_fields("failed", status, diagnostic)))
    assert (notice.status, notice.code) == (specific, code)


@pytest.mark.parametrize("code", ["5.1.1", "5.1.2", "5.1.10", "5.2.1"])
def test_a_dead_address_is_suppressed_by_a_failure_and_not_by_a_delay(code: str) -> None:
    assert suppresses_recipient(read(report(QUOTED, recipient_fields("failed", code))))
    assert not suppresses_recipient(read(report(QUOTED, recipient_fields("delayed", code))))


@pytest.mark.parametrize("code", ["5.7.1", "5.7.26", "5.2.2", "5.0.0", "4.4.7", "5.1.11"])
def test_other_failures_suppress_no_address(code: str) -> None:
    assert not suppresses_recipient(read(report(QUOTED, recipient_fields("failed", code, ""))))


def test_a_forwarded_mail_has_failed_only_when_it_reached_no_address() -> None:
    failed, delivered = recipient_fields(), "\nFinal-Recipient: rfc822; c@x.example\nAction: delivered\nStatus: 2.0.0\n"
    assert read(report(QUOTED, failed + delivered)).kind is Kind.DELIVERED
    assert read(report(QUOTED, failed + "\nAction: failed\nStatus: 5.2.2\n")).kind is Kind.FAILED


@pytest.mark.parametrize("quoted_type", ["message/rfc822", "text/rfc822-headers", "message/global"])
def test_the_mail_is_found_whether_it_is_quoted_whole_or_as_its_header(quoted_type: str) -> None:
    whole = QUOTED + "\nBody\n" if quoted_type != "text/rfc822-headers" else QUOTED
    assert read(report(whole, quoted_type=quoted_type)).mail_ids == (ID,)


def test_an_internationalized_report_is_read_too() -> None:
    notice = read(report(QUOTED, status_type="message/global-delivery-status"))
    assert (notice.kind, notice.status) == (Kind.FAILED, "5.1.1")


def test_our_envelope_sender_comes_before_the_quoted_mail() -> None:
    raw = report(quoted_header(OTHER_ID), to=VERP)
    assert read(raw, "bounces.example").mail_ids == (ID, OTHER_ID)
    assert read(report("", to=VERP), "bounces.example").mail_ids == (ID,)


def test_an_envelope_sender_at_another_domain_is_not_ours() -> None:
    for domain in ("", "other.example"):
        assert read(report("", to=VERP), domain).mail_ids == ()
    assert read(report("", to="x" + VERP), "bounces.example").mail_ids == ()


def test_the_envelope_id_and_the_sender_in_a_complaint_are_read() -> None:
    status = f"Original-Envelope-Id: {VERP}\n" + recipient_fields()
    assert read(report("", status), "bounces.example").mail_ids == (ID,)
    feedback = f"Feedback-Type: abuse\nOriginal-Mail-From: <{VERP}>\n"
    assert read(complaint("", feedback), "bounces.example").mail_ids == (ID,)


def test_a_foreign_message_id_is_kept_for_mails_that_were_restored() -> None:
    notice = read(report("Message-ID: <abc@old.example>\n"))
    assert (notice.mail_ids, notice.message_ids) == ((), ("<abc@old.example>",))


def test_a_complaint_is_read_and_suppresses_the_address() -> None:
    notice = read(complaint(QUOTED))
    assert (notice.kind, notice.status, notice.mail_ids) == (Kind.COMPLAINT, "abuse", (ID,))
    assert suppresses_recipient(notice)


@pytest.mark.parametrize("feedback", ["not-spam", "auth-failure", "dmarc", ""])
def test_other_feedback_is_no_complaint(feedback: str) -> None:
    notice = read(complaint(QUOTED, f"Feedback-Type: {feedback}\n"))
    assert notice.kind is Kind.OTHER
    assert not suppresses_recipient(notice)


def test_a_notice_inside_a_quoted_message_reports_nothing() -> None:
    """A recipient forwards one of our bounces, or replies with it."""
    inner = report(QUOTED).decode().replace("\r\n", "\n").replace("b1/", "b2/")
    forwarded = report(inner, "Action: none\n")
    assert read(forwarded).kind is Kind.OTHER


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0\xff\xfe",
        b"From: a@x.example\nSubject: Re: Welcome\n\nThank you!",
        b"Subject: Out of office\nAuto-Submitted: auto-replied\n\nI am away. 550 5.1.1",
        b"Content-Type: multipart/report\n\nno boundary",
        b"Content-Type: message/delivery-status\n\n",
        b"Content-Type: message/rfc822\n\n",
        b"Content-Type: message/feedback-report\nContent-Transfer-Encoding: base64\n\n!!!",
        b"Content-Type: text/rfc822-headers; charset=nonsense\nContent-Transfer-Encoding: base64\n\n////",
    ],
)
def test_a_message_that_is_no_report_is_other(raw: bytes) -> None:
    assert read(raw).kind is Kind.OTHER


def test_the_beginning_of_a_notice_is_enough() -> None:
    whole = report(QUOTED + "\n" + "A long mail.\n" * 1000)
    assert read(whole[:-5000]) == read(whole)


def test_a_message_nested_too_deep_is_not_read() -> None:
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (n, n) for n in range(5_000))
    assert read(nested).kind is Kind.OTHER
    assert read(b"Content-Type: message/rfc822\n\n" * 5_000).kind is Kind.OTHER
    boundaries = "".join(f"X-{n}: multipart/mixed; Boundary*{n % 2} = {n}\n" for n in range(60))
    assert read(report(QUOTED + boundaries)).kind is Kind.OTHER
    assert read(report(QUOTED + "\nThe boundary: a word like any other.\n" * 60)).kind is Kind.FAILED


def test_a_diagnostic_is_kept_up_to_its_limit_on_one_line_and_can_be_stored() -> None:
    status = recipient_fields(diagnostic="smtp; 550 a\0b\n \tc " + "x" * 5_000)
    diagnostic = read(report(QUOTED, status)).diagnostic
    assert diagnostic is not None
    assert diagnostic.startswith("550 a b c x")
    assert len(diagnostic) == DIAGNOSTIC_MAX_CHARACTERS


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (report(QUOTED), "bounced with 5.1.1"),
        (report(QUOTED, recipient_fields("failed", "", "smtp; 550 b@x.example")), "bounced with 550"),
        (report(QUOTED, recipient_fields("failed", "", "b@x.example")), "bounced"),
        (report(QUOTED, recipient_fields("delayed", "4.4.1")), "delayed with 4.4.1"),
        (complaint(QUOTED), "the recipient complained (abuse)"),
    ],
)
def test_our_reason_repeats_nothing_from_the_notice(raw: bytes, reason: str) -> None:
    assert reason_for(read(raw)) == reason


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 1200))
def test_junk_in_a_report_raises_nothing(junk: bytes, at: int) -> None:
    raw = report(QUOTED)
    notice = read(raw[:at] + junk + raw[at:], "bounces.example")
    assert notice.diagnostic is None or notice.diagnostic.encode()
    assert "\0" not in f"{notice.diagnostic}{notice.status}{notice.message_ids}"
