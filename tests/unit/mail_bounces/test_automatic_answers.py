"""Automatic answers, challenges, replies and forwarded bounces are no notices, whatever words they repeat."""

import pytest

from services.mail.bounces.notice_parser import Kind, read
from tests.support.notices import in_free_words, quoted_header, report
from tests.unit.mail_bounces.notices_of_servers import SERVERS

PERSON = "Eva Example <eva@shop.example>"
MAIL_ID = "019ac000-0000-7000-8000-000000000001"
# What an answer may say, so that only its marks tell it from a bounce.
AWAY = "I am away. Your message could not be delivered to my colleague either: 550 5.1.1 user unknown."
BOUNCE = SERVERS[0].words


@pytest.mark.parametrize(
    "fields",
    [
        "Auto-Submitted: auto-replied\n",
        "Auto-Submitted: auto-replied (vacation)\n",
        "Auto-Submitted: auto-replied; owner-email=eva@shop.example\n",
        "Precedence: auto_reply\n",
        "X-Precedence: auto-reply\n",
        "X-Autoreply: yes\n",
        "X-Autorespond: away\n",
        "X-Vacation: yes\n",
    ],
)
def test_an_answer_that_calls_itself_one_is_no_bounce(fields: str) -> None:
    assert read(in_free_words(AWAY, sender=PERSON, subject="Your mail", fields=fields)).kind is Kind.OTHER


def test_an_answer_is_none_also_in_words_that_flufl_takes_for_a_bounce() -> None:
    words = "I am away. Delivery has failed for [eva@shop.example] too."
    assert read(in_free_words(words, sender=PERSON, subject="Your mail")).kind is Kind.FAILED
    answer = in_free_words(words, sender=PERSON, subject="Your mail", fields="Auto-Submitted: auto-replied\n")
    assert read(answer).kind is Kind.OTHER


@pytest.mark.parametrize(
    "subject",
    [
        "Out of Office: Welcome",
        "Automatic reply: Welcome",
        "Auto-Reply: Welcome",
        "Re: Auto: Welcome",
        "Away until Monday",
        "Abwesenheitsnotiz",
        "Automatische Antwort: Welcome",
        "=?utf-8?q?R=C3=A9ponse_automatique_=3A_Welcome?=",
        "Respuesta automática: Welcome",
        "Resposta automática: Welcome",
        "Risposta automatica: Welcome",
        "Automatisch antwoord: Welcome",
        "Autosvar: Welcome",
        "Odpowiedź automatyczna: Welcome",
        "Автоответ: Welcome",
        "自動返信: Welcome",
        "自动回复: Welcome",
    ],
)
@pytest.mark.parametrize("sender", [PERSON, "postmaster@shop.example"])
def test_an_answer_is_known_by_its_subject_in_many_languages(subject: str, sender: str) -> None:
    assert read(in_free_words(AWAY, sender=sender, subject=subject)).kind is Kind.OTHER


@pytest.mark.parametrize(
    "words",
    [
        "Your message was not delivered. To deliver your message, click this link: https://x.example/1",
        "Please reply to this mail so that your message can be delivered. It could not be delivered yet.",
        "You are not on my approved senders list; your mail has been blocked. Prove that you are a human.",
        "Spam Arrest: your message could not be delivered until you verify.",
    ],
)
def test_a_challenge_is_no_bounce(words: str) -> None:
    for subject in ("Your mail", "Undelivered mail"):
        assert read(in_free_words(words, sender=PERSON, subject=subject)).kind is Kind.OTHER


@pytest.mark.parametrize("subject", ["Please confirm your message", "Sender verification"])
def test_a_challenge_is_known_by_its_subject(subject: str) -> None:
    assert read(in_free_words(BOUNCE, sender="filter@shop.example", subject=subject)).kind is Kind.FAILED
    assert read(in_free_words(AWAY, sender="filter@shop.example", subject=subject)).kind is Kind.OTHER


@pytest.mark.parametrize(
    "subject", ["Re: Welcome", "AW: Welcome", "Fwd: Undelivered mail", "[Shop] WG: Welcome", "转发\uff1aHi"]
)
def test_a_reply_or_a_forwarded_bounce_is_no_bounce(subject: str) -> None:
    assert read(in_free_words(BOUNCE, sender=PERSON, subject=subject)).kind is Kind.OTHER
    assert read(in_free_words(BOUNCE, sender="MAILER-DAEMON@mx.example", subject=subject)).kind is Kind.FAILED


def test_a_bounce_that_a_persons_program_sent_is_a_forwarded_one() -> None:
    fields = "User-Agent: Mozilla Thunderbird\n"
    assert read(in_free_words(BOUNCE, sender=PERSON, fields=fields)).kind is Kind.OTHER


@pytest.mark.parametrize(
    "begin", ["---------- Forwarded message ---------\n", "Begin forwarded message:\n", "On Monday, mx wrote:\n"]
)
def test_what_a_person_forwards_or_quotes_in_the_text_is_not_the_persons(begin: str) -> None:
    forwarded = in_free_words(f"What is this?\n\n{begin}{BOUNCE}", sender=PERSON, subject="Help")
    assert read(forwarded).kind is Kind.OTHER
    quoted = "\n".join(f"> {line}" for line in BOUNCE.split("\n"))
    assert read(in_free_words(f"What is this?\n\n{quoted}", sender=PERSON, subject="Help")).kind is Kind.OTHER


def test_a_bounce_that_is_attached_to_a_persons_mail_is_no_bounce() -> None:
    attached = report(quoted_header(MAIL_ID)).decode().replace("\r\n", "\n")
    mail = (
        f"From: {PERSON}\nTo: no-reply@counterfoil.example\nSubject: Look at this\nMIME-Version: 1.0\n"
        'Content-Type: multipart/mixed; boundary="outer"\n\n--outer\nContent-Type: text/plain\n\nIt came back.\n'
        f"--outer\nContent-Type: message/rfc822\n\n{attached}\n--outer--\n"
    )
    assert read(mail.encode()).kind is Kind.OTHER


def test_a_bounce_may_call_itself_an_answer_as_postfix_does() -> None:
    fields = "Auto-Submitted: auto-replied\n"
    assert read(in_free_words(BOUNCE, fields=fields)).kind is Kind.FAILED
    assert read(in_free_words(BOUNCE, sender=PERSON, fields=fields)).kind is Kind.FAILED
    failed = f"X-Failed-Recipients: a@x.example\n{fields}"
    assert read(in_free_words("Nope.", sender=PERSON, fields=failed)).kind is Kind.FAILED


def test_an_answer_from_a_mailbox_that_people_read_counts_only_in_known_words() -> None:
    answer = {"sender": "postmaster@shop.example", "fields": "Auto-Submitted: auto-replied\n"}
    unknown = "An email that you sent was rejected."
    assert read(in_free_words(unknown, **answer)).kind is Kind.OTHER
    assert read(in_free_words(BOUNCE, **answer)).kind is Kind.FAILED
    daemon = answer | {"sender": "MAILER-DAEMON@shop.example"}
    assert read(in_free_words(unknown, **daemon)).kind is Kind.FAILED


def test_a_receipt_is_no_bounce() -> None:
    words = "Your message\n\n  To: eva@shop.example\n  Subject: Welcome\n\nwas read on Monday, 23 November 2026."
    assert read(in_free_words(words, sender=PERSON, subject="Read: Welcome")).kind is Kind.OTHER


def test_what_flufl_takes_for_a_bounce_must_look_like_one() -> None:
    """One of its patterns fits any line with an address between commas."""
    assert read(in_free_words("Ask Eva, eva@shop.example, about it.", sender=PERSON, subject="Hi")).kind is Kind.OTHER
