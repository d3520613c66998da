"""A notice is about a mail only if it has the mail's own marks, wherever and however they stand in it."""

import base64
import quopri
from uuid import UUID

import pytest

from services.mail.bounces.notice_parser import Kind, Notice, read
from tests.support.notices import complaint, in_free_words, recipient_fields, report

ID = UUID("019ac000-0000-7000-8000-000000000001")
OTHER_ID = UUID("019ac000-0000-7000-8000-000000000002")
DOMAIN = "bounces.example"
VERP = f"bounce+{ID.hex}@{DOMAIN}"
WORDS = "A message that you sent could not be delivered.\n\na@x.example: 550 5.1.1 unknown\n"
MARKS = [VERP, f"X-Counterfoil-ID: {ID}", f"Message-ID: <{ID}@counterfoil.example>"]


def _read(words: str, **changes: str) -> Notice:
    notice = read(in_free_words(words, **changes), DOMAIN)
    assert notice.kind is Kind.FAILED
    return notice


def test_free_words_without_a_mark_are_about_no_mail() -> None:
    assert _read(WORDS).mail_ids == ()
    # Neither an address nor an ID alone is a mark.
    assert _read(f"{WORDS}\na@x.example, b+{ID.hex}@{DOMAIN}, {ID}, request {ID}\n").mail_ids == ()


@pytest.mark.parametrize("name", ["To", "Delivered-To", "X-Original-To", "Envelope-To"])
def test_the_envelope_address_in_the_header_is_a_mark(name: str) -> None:
    assert _read(WORDS, fields=f"{name}: <{VERP}>\n").mail_ids == (ID,)


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize(
    "form", ["{}", "----- Original message -----\n{}", "> {}", "&lt;{}&gt;", "a {} b", "<p>{}</p>"]
)
def test_a_mark_counts_anywhere_in_the_text(mark: str, form: str) -> None:
    assert _read(f"{WORDS}\n{form.format(mark)}\n").mail_ids == (ID,)


@pytest.mark.parametrize(
    "text",
    [
        f"X-Counterfoil-ID:\n > {ID}",
        f"> > X-COUNTERFOIL-ID: {str(ID).upper()}",
        f"Message-Id:\n\t<{ID}@counterfoil.example>",
        f"The message identifier was: {ID}@counterfoil.example",
        f"&lt;{ID}&#64;counterfoil.example&gt;",
        f'{{\\"messageId\\":\\"{ID}\\u0040counterfoil.example\\"}}',
        f"Return-Path: <{VERP.upper()}>",
        f"Return-Path: <{VERP}>.",
        VERP.replace("+", "%2B").replace("@", "%40"),
    ],
)
def test_a_mark_counts_however_it_is_quoted(text: str) -> None:
    assert _read(f"{WORDS}\n{text}\n").mail_ids == (ID,)


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
@pytest.mark.parametrize("content_type", ["text/plain", "message/rfc822", "application/octet-stream"])
def test_a_mark_counts_in_an_encoded_part(mark: str, encoding: str, content_type: str) -> None:
    quoted = f"Subject: Wëlcome\nX-Long: {'x' * 60}\n{mark}\n\nBody\n".encode()
    encoded = base64.encodebytes(quoted) if encoding == "base64" else quopri.encodestring(quoted)
    head = (
        "From: MAILER-DAEMON@mx.example\nSubject: Undelivered\n"
        f'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/plain\n\n{WORDS}\n'
        f"--b\nContent-Type: {content_type}\nContent-Transfer-Encoding: {encoding}\n\n"
    )
    notice = read(head.encode() + encoded + b"\n--b--\n", DOMAIN)
    assert (notice.kind, notice.mail_ids) == (Kind.FAILED, (ID,))


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_counts_behind_the_window_that_is_parsed(mark: str) -> None:
    filler = "0123456789abcdef\n" * (1 << 16)
    assert _read(f"{WORDS}\n----- Original message -----\n{filler}{mark}\n{filler}").mail_ids == (ID,)


def test_the_envelope_address_comes_before_the_header_and_the_message_id() -> None:
    third = UUID("019ac000-0000-7000-8000-000000000003")
    text = f"Message-ID: <{third}@counterfoil.example>\nX-Counterfoil-ID: {OTHER_ID}\n"
    assert _read(f"{WORDS}\n{text}", fields=f"Delivered-To: {VERP}\n").mail_ids == (ID, OTHER_ID, third)


def test_an_envelope_address_at_another_domain_is_no_mark() -> None:
    for other in (f"bounce+{ID.hex}@{DOMAIN}.evil.example", f"bounce+{ID.hex}@evil-{DOMAIN}", f"x{VERP}", f"a+{VERP}"):
        assert _read(f"{WORDS}\n{other}\n", fields=f"Delivered-To: {other}\n").mail_ids == ()
    assert read(in_free_words(f"{WORDS}\n{VERP}\n")).mail_ids == ()


def test_the_message_id_of_a_mail_that_was_restored_is_kept() -> None:
    foreign = _read(f"{WORDS}\n> Message-ID: <Abc.1@old.example>\n").message_ids
    assert "<Abc.1@old.example>" in foreign


def test_what_reports_nothing_is_tied_by_its_envelope_alone() -> None:
    """An answer names the mail it answers in References, and is not about it."""
    fields = f"In-Reply-To: <{ID}@counterfoil.example>\nAuto-Submitted: auto-replied\n"
    answer = in_free_words("I am away.", sender="eva@x.example", subject="Re: Welcome", fields=fields)
    assert read(answer, DOMAIN).mail_ids == ()
    addressed = in_free_words("I am away.", sender="eva@x.example", subject="Re: Welcome", to=VERP)
    assert read(addressed, DOMAIN).mail_ids == (ID,)


def test_a_standard_report_that_quotes_nothing_is_tied_by_a_mark_in_its_text() -> None:
    text = report("").decode().replace("I'm sorry", f"About <{ID}@counterfoil.example>: I'm sorry")
    assert read(text.encode()).mail_ids == (ID,)
    # The mail that it quotes comes first.
    quoting = report(f"X-Counterfoil-ID: {OTHER_ID}\n").decode().replace("I'm sorry", f"<{ID}@x.example> I'm sorry")
    assert read(quoting.encode()).mail_ids == (OTHER_ID, ID)
    feedback = complaint("", f"Feedback-Type: abuse\nX-Said: <{ID}@counterfoil.example>\n")
    assert read(feedback).mail_ids == (ID,)


def test_marks_are_bounded() -> None:
    marks = "\n".join(f"X-Counterfoil-ID: {UUID(int=number)}" for number in range(1, 1000))
    assert len(_read(f"{WORDS}\n{marks}\n").mail_ids) <= 20
    assert recipient_fields()
