"""Notices in the words of mail systems are read: what they report, with the codes and the reporter's reason."""

from email.message import Message

import pytest

from services.mail.bounces.bounded_message import own_parts, parse
from services.mail.bounces.free_words import SYSTEMS
from services.mail.bounces.ingest import suppresses_recipient
from services.mail.bounces.notice_parser import Kind, read
from services.mail.bounces.own_words import letter_of
from tests.support.notices import in_free_words, quoted_header
from tests.unit.mail_bounces.example import Example
from tests.unit.mail_bounces.notices_of_providers import FILTERS, PROVIDERS
from tests.unit.mail_bounces.notices_of_servers import SERVERS

EXAMPLES = (*SERVERS, *PROVIDERS, *FILTERS)
SES = (
    '{"notificationType":"%s","bounce":{"bounceType":"Permanent","bouncedRecipients":[{"emailAddress":"a@x.example",'
    '"action":"failed","status":"5.1.1","diagnosticCode":"smtp; 550 5.1.1 user unknown"}]},"mail":{}}'
)


def _name(example: Example) -> str:
    return f"{example.system}-{example.kind}"


def test_each_system_has_an_example() -> None:
    assert {example.system for example in EXAMPLES} == {system.name for system in SYSTEMS}


@pytest.mark.parametrize("example", EXAMPLES, ids=_name)
def test_the_system_is_known_by_its_words(example: Example) -> None:
    message = parse(example.raw())
    assert isinstance(message, Message)
    letter = letter_of(message, list(own_parts(message)))
    assert example.system in [system.name for system in SYSTEMS if system.wrote(letter)]


@pytest.mark.parametrize("example", EXAMPLES, ids=_name)
def test_its_notice_is_read_with_its_codes(example: Example) -> None:
    notice = read(example.raw())
    assert (notice.kind, notice.status, notice.code) == (example.kind, example.status, example.code)
    assert notice.diagnostic
    if example.code:
        assert str(example.code) in notice.diagnostic


def test_the_reporters_words_are_the_paragraph_with_the_code() -> None:
    (exim, *_) = SERVERS
    diagnostic = read(exim.raw()).diagnostic or ""
    assert diagnostic.startswith("lost@shop.example host mx.shop.example [192.0.2.7] SMTP error")
    assert diagnostic.endswith("550 5.1.1 <lost@shop.example>: no mailbox here by that name")


@pytest.mark.parametrize(
    ("ses", "kind", "status", "code"),
    [
        ("Bounce", "failed", "5.1.1", 550),
        ("Complaint", "complaint", "abuse", None),
        ("Delivery", "delivered", None, None),
    ],
)
def test_what_amazon_ses_publishes_is_read(ses: str, kind: str, status: str | None, code: int | None) -> None:
    raw = in_free_words(SES % ses, sender="SES <no-reply@sns.amazonaws.com>", subject="AWS Notification Message")
    for each in (raw, raw.replace(b'"', b'\\"')):
        notice = read(each)
        assert (notice.kind, notice.status, notice.code) == (kind, status, code)


UNKNOWN = "Es tut uns leid: Ihre Nachricht an lost@shop.example konnte nicht zugestellt werden."


def test_an_unknown_system_is_read_when_it_writes_as_one() -> None:
    assert read(in_free_words(UNKNOWN, subject="Hinweis")).kind is Kind.FAILED
    assert read(in_free_words(UNKNOWN, subject="Hinweis", sender="Eva <eva@shop.example>")).kind is Kind.OTHER


def test_an_unknown_sender_is_read_when_it_returns_a_mail_and_says_so_in_the_subject() -> None:
    returned = in_free_words(UNKNOWN, subject="Undelivered mail", sender="no-reply@shop.example")
    assert read(returned).kind is Kind.FAILED
    assert read(returned.replace(b"Return-Path: <>", b"Return-Path: <eva@shop.example>")).kind is Kind.OTHER


def test_html_alone_is_read() -> None:
    html = "<html><style>p {}</style><p>Your message couldn&#39;t be delivered.<br>550 5.4.1 denied</p></html>"
    raw = in_free_words(html).replace(b"text/plain", b"text/html")
    notice = read(raw)
    assert (notice.kind, notice.status, notice.code) == (Kind.FAILED, "5.4.1", 550)
    assert notice.diagnostic == "Your message couldn't be delivered. 550 5.4.1 denied"


@pytest.mark.parametrize("charset", ["iso-2022-jp", "koi8-r", "no-such-charset", "punycode", '"'])
def test_a_charset_that_is_unknown_or_wrong_costs_only_its_letters(charset: str) -> None:
    raw = SERVERS[0].raw().replace(b"charset=utf-8", f"charset={charset}".encode())
    assert (read(raw).status, read(raw).code) == ("5.1.1", 550)


SEVERAL = """\
A message that you sent could not be delivered to one or more of its recipients.

one@shop.example: 550 5.1.1 unknown

two@shop.example: {other}
"""


@pytest.mark.parametrize(
    ("other", "status"),
    [
        ("550 5.1.1 unknown", "5.1.1"),
        ("552 5.2.2 full", "5.2.2"),
        ("550 5.7.1 blocked", "5.7.1"),
        ("554 5.5.1 no valid recipients", "5.1.1"),
        ("550 5.0.0 no", "5.1.1"),
    ],
)
def test_a_notice_about_several_addresses_suppresses_only_if_all_are_dead(other: str, status: str) -> None:
    notice = read(in_free_words(SEVERAL.format(other=other)))
    assert notice.status == status
    assert suppresses_recipient(notice) is (status == "5.1.1")


@pytest.mark.parametrize(
    "reply",
    [
        "550 5.1.1 mailbox is full",
        "550 5.2.1 User is over quota",
        "552 5.1.1 Quota exceeded",
        "550 5.1.1 not enough storage space",
        "551 5.1.1 User not local",
        "550 5.1.1 The user has moved to new@shop.example",
        "550 5.1.1 The address has changed",
        "550 5.1.6 recipient no longer on server",
        "552 5.2.2 full",
        "550 User unknown",
        "450 4.1.1 unknown, and the retry time is over",
    ],
)
def test_a_full_mailbox_a_changed_address_and_a_missing_code_suppress_no_address(reply: str) -> None:
    notice = read(in_free_words(f"A message that you sent could not be delivered.\n\n{reply}"))
    assert notice.kind is Kind.FAILED
    assert not suppresses_recipient(notice)


def test_a_dead_address_is_suppressed_by_free_words_with_its_code() -> None:
    assert suppresses_recipient(read(SERVERS[0].raw()))
    assert not suppresses_recipient(read(SERVERS[1].raw()))


@pytest.mark.parametrize(
    "number",
    [
        "Port 550 is closed",
        "Message 5504 was lost",
        "version 5.1.1.2",
        "Exim 4.94",
        "see http://x.example/5.1.1",
        "1.5.1.1",
    ],
)
def test_other_numbers_are_no_codes(number: str) -> None:
    notice = read(in_free_words(f"A message that you sent could not be delivered.\n\n{number}"))
    assert (notice.kind, notice.status, notice.code) == (Kind.FAILED, None, None)


def test_a_delivery_status_that_stands_in_the_text_is_read() -> None:
    words = "Technical report:\n\nAction: failed\nFinal-Recipient: rfc822; a@x.example\nStatus: 5.1.1\n"
    assert read(in_free_words(words)).status == "5.1.1"
    delayed = words.replace("failed", "delayed").replace("5.1.1", "4.4.1")
    assert read(in_free_words(delayed)).kind is Kind.DELAYED


def test_the_mail_that_is_returned_is_not_read_as_words() -> None:
    words = f"A message that you sent could not be delivered.\n\n{quoted_header('x')}\n550 5.1.1 is my favourite number"
    assert read(in_free_words(words)).status == "5.1.1"
    returned = words.replace("\n\nDate:", "\n\n----- Original message -----\n\nDate:")
    assert read(in_free_words(returned)).status is None
