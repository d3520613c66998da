"""What the header of a mail contains, and what it can never contain."""

from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

import pytest
from pydantic import ValidationError

from services.mail.delivery.message import Content, build, envelope_address, needs_smtputf8
from services.mail.settings import Settings

from .mails import PLAIN, field_names, header_lines, mail, read, read_mailbox

LINE_BREAKERS = ["\r\n", "\n", "\r", "\0", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1e", "\ud800"]
FORGED = "x{}Bcc: spy@example.org"
LOOKALIKE = "=?utf-8?q?x=0D=0ABcc=3A_spy=40example=2Eorg?="


@pytest.mark.parametrize("breaker", LINE_BREAKERS, ids=ascii)
@pytest.mark.parametrize(
    "field", ["subject", "to_name", "sender_name", "reply_to_name", "to_email", "sender_email", "message_id"]
)
def test_a_line_break_or_control_character_is_refused_in_every_field_of_the_header(field: str, breaker: str) -> None:
    forged = FORGED.format(breaker)
    if field.endswith("email"):
        forged = f"ada{breaker}Bcc:spy@example.org"
    elif field == "message_id":
        forged = f"<a@b{breaker}Bcc:spy>"
    with pytest.raises(ValueError):
        build(mail(reply_to_email="help@example.org", **{field: forged}))


@pytest.mark.parametrize("breaker", LINE_BREAKERS, ids=ascii)
def test_a_line_break_or_control_character_is_refused_in_custom_headers(breaker: str) -> None:
    with pytest.raises(ValueError):
        build(mail(headers={"X-Note": FORGED.format(breaker)}))
    with pytest.raises(ValueError):
        build(mail(headers={f"X-Note: 1{breaker}Bcc": "spy@example.org"}))


@pytest.mark.parametrize("name", ["", "X Note", "X-Note:", "X-Nöte", "X-Note\n"])
def test_an_invalid_header_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        build(mail(headers={name: "1"}))


@pytest.mark.parametrize(
    "name",
    [
        "Bcc",
        "from",
        "SUBJECT",
        "Message-Id",
        "Date",
        "MIME-Version",
        "Content-Type",
        "Content-X",
        "X-Counterfoil-ID",
        "Sender",
        "Resent-Sender",
    ],
)
def test_a_header_that_the_service_writes_itself_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        build(mail(headers={name: "1"}))


def test_text_that_looks_like_an_encoded_word_is_read_back_unchanged() -> None:
    content = mail(subject=LOOKALIKE, to_name=LOOKALIKE, headers={"X-Note": LOOKALIKE})
    message = read(content)
    assert message["subject"] == LOOKALIKE
    assert message["x-note"] == LOOKALIKE
    assert read_mailbox(build(content), "to")[0] == LOOKALIKE


def test_the_header_has_each_field_once_and_in_this_order() -> None:
    content = mail(reply_to_email="help@example.org", reply_to_name="Help", headers={"X-B": "2", "X-A": "1"})
    assert field_names(build(content)) == [
        *("Date", "From", "To", "Subject", "Message-ID", "MIME-Version", "Auto-Submitted", "X-Counterfoil-ID"),
        *("Reply-To", "X-A", "X-B", "Content-Type"),
    ]


def test_the_header_holds_the_pinned_values() -> None:
    message = read(mail(reply_to_email="help@example.org", reply_to_name="Help, please"))
    assert message["message-id"] == PLAIN.message_id
    assert parsedate_to_datetime(message["date"]) == PLAIN.accepted_at
    assert message["auto-submitted"] == "auto-generated"
    assert message["x-counterfoil-id"] == str(PLAIN.mail_id)
    assert message["from"].addresses[0].display_name == "Counterfoil"
    assert str(message["reply-to"]) == '"Help, please" <help@example.org>'


@pytest.mark.parametrize(
    ("name", "written"),
    [
        (None, "ada@example.org"),
        ("", "ada@example.org"),
        ("Ada Lovelace", "Ada Lovelace <ada@example.org>"),
        ("Dr. Ada", '"Dr. Ada" <ada@example.org>'),
        ("Lovelace, Ada", '"Lovelace, Ada" <ada@example.org>'),
        ('Ada "& Co" \\o/', '"Ada \\"& Co\\" \\\\o/" <ada@example.org>'),
        ("x> <spy@example.org", '"x> <spy@example.org" <ada@example.org>'),
        ("Åsa", "=?utf-8?q?=C3=85sa?= <ada@example.org>"),
        ("漢字", "=?utf-8?b?5ryi5a2X?= <ada@example.org>"),
    ],
)
def test_a_display_name_is_written_in_the_plainest_form_that_is_safe(name: str | None, written: str) -> None:
    assert f"To: {written}".encode() in header_lines(build(mail(to_name=name)))


def test_long_ascii_subjects_are_folded_at_spaces() -> None:
    subject = "word " * 60 + "end"
    data = build(mail(subject=subject))
    assert max(map(len, header_lines(data))) <= 78
    assert b"=?" not in data
    assert read(mail(subject=subject))["subject"] == subject


@pytest.mark.parametrize("subject", ["ß" * 300, "w" * 600, "👩‍👩‍👧" * 60, "e\u0301" * 200, "a b  " * 60 + "."])
def test_a_subject_that_cannot_be_folded_at_spaces_is_split_into_encoded_words(subject: str) -> None:
    content = mail(subject=subject, to_name=subject[:200])
    assert max(map(len, header_lines(build(content)))) <= 76
    assert read(content)["subject"] == subject
    assert read_mailbox(build(content), "to")[0] == subject[:200]


def test_a_structured_custom_header_is_never_encoded_however_long_its_words_are() -> None:
    value = "<https://example.org/" + "u" * 400 + ">, <mailto:leave@example.org>"
    data = build(mail(headers={"List-Unsubscribe": value}))
    assert f"List-Unsubscribe: {value.split(' ', maxsplit=1)[0]}".encode() in header_lines(data)
    assert read(mail(headers={"List-Unsubscribe": value}))["list-unsubscribe"] == value


def test_a_long_header_name_leaves_room_for_encoded_words() -> None:
    name = "X-" + "n" * 74
    content = mail(headers={name: "ß" * 200})
    # Python 3.11 keeps the space that begins the first continuation line.
    assert read(content)[name].lstrip(" ") == "ß" * 200
    assert max(map(len, header_lines(build(content)))) <= 77  # the name and its colon


def test_domains_are_written_as_a_labels() -> None:
    content = mail(to_email="asa@bücher.example", sender_email="no-reply@BÜCHER.example")
    data = build(content)
    assert data.isascii()
    assert read_mailbox(data, "to")[1] == "asa@xn--bcher-kva.example"
    assert read_mailbox(data, "from")[1] == "no-reply@xn--bcher-kva.example"
    assert not needs_smtputf8(content)


def test_only_an_address_with_a_local_part_that_is_not_ascii_is_written_in_utf8() -> None:
    content = mail(to_email="åsa@bücher.example", to_name="Åsa", subject="Grüße")
    lines = header_lines(build(content))
    assert [line for line in lines if not line.isascii()] == [
        "To: =?utf-8?q?=C3=85sa?= <åsa@xn--bcher-kva.example>".encode()
    ]
    assert needs_smtputf8(content)


@pytest.mark.parametrize("field", ["to_email", "sender_email", "reply_to_email"])
def test_each_address_of_the_header_may_need_smtputf8(field: str) -> None:
    assert needs_smtputf8(mail(**{field: "åsa@example.org"}))


@pytest.mark.parametrize(
    ("email", "envelope"),
    [
        ("Ada@Example.org", ("Ada@Example.org", False)),
        ("ada+tag@bücher.example", ("ada+tag@xn--bcher-kva.example", False)),
        ("åsa@example.org", ("åsa@example.org", True)),
        ("åsa@bücher.example", ("åsa@xn--bcher-kva.example", True)),
    ],
)
def test_the_envelope_takes_the_domain_as_a_labels(email: str, envelope: tuple[str, bool]) -> None:
    assert envelope_address(email) == envelope


@pytest.mark.parametrize(
    "email",
    [
        *["", "ada", "@example.org", "ada@", "a da@example.org", "ada@exa mple.org", "<ada@example.org>"],
        *["a@b@c.example", "ada@example.org SIZE=1", "ada@-", "ada@ü", "a\u2028b@example.org"],
        "a" * 400 + "@example.org",
    ],
)
def test_an_invalid_address_never_reaches_the_envelope(email: str) -> None:
    with pytest.raises(ValueError):
        envelope_address(email)


def test_the_date_does_not_depend_on_the_zone_in_which_the_time_is_given() -> None:
    elsewhere = PLAIN.accepted_at.astimezone(timezone(timedelta(hours=9)))
    assert build(mail(accepted_at=elsewhere)) == build(PLAIN)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError):
        build(mail(accepted_at=datetime(2026, 11, 23)))  # noqa: DTZ001 - that is the fault


@pytest.mark.parametrize("message_id", ["", "a@b", "<a>", "<a b@c>", "<a@b>, <c@d>", "<ä@b>", f"<{'a' * 500}@b>"])
def test_an_invalid_message_id_is_refused(message_id: str) -> None:
    with pytest.raises(ValueError):
        build(mail(message_id=message_id))


def test_the_content_cannot_be_changed_after_it_was_pinned() -> None:
    assert Content.__dataclass_params__.frozen  # type: ignore[attr-defined] # typeshed does not know it


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("mail.example", "mail.example"),
        (" mail.example ", "mail.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("localhost", "localhost"),
    ],
)
def test_message_ids_are_at_a_domain_that_can_be_written(text: str, domain: str) -> None:
    assert Settings(mail_message_id_domain=text).mail_message_id_domain == domain
    assert read(mail(message_id=f"<1@{domain}>"))["Message-ID"] == f"<1@{domain}>"


@pytest.mark.parametrize("text", ["@mail.example", "mail example", "", "-.example", "a..example", "mail.example."])
def test_any_other_domain_of_message_ids_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="domain name"):
        Settings(mail_message_id_domain=text)
