"""Reads notices that are no standard report: from the words of the mail systems that write so.

Not pure in one way: flufl.bounce is asked in between, and it is another's code. Nothing here decides about which mail a
notice is.
"""

import re
from email.message import Message

from . import automatic_answers, by_flufl, rfc3464
from .failure_words import kind_of, report_in, tells_of_failure
from .notice import Kind, Report, kept
from .own_words import Letter, letter_of
from .systems.filters import FILTERS, LISTS
from .systems.providers import PROVIDERS
from .systems.servers import SERVERS

SYSTEMS = (*SERVERS, *PROVIDERS, *FILTERS, *LISTS)

# Amazon SES through SNS: a JSON object in a mail, which systems on its way may have wrapped.
_SES = re.compile(r"\\?\"notificationType\\?\"\s*:\s*\\?\"(Bounce|Complaint|Delivery)\\?\"")
_SES_KINDS = {"Bounce": Kind.FAILED, "Complaint": Kind.COMPLAINT, "Delivery": Kind.DELIVERED}
_SES_DIAGNOSTIC = re.compile(r"\\?\"(?:diagnosticCode|smtpResponse)\\?\"\s*:\s*\\?\"([^\"\\]{1,2000})")


def report(message: Message, parts: list[Message], *, only_known: bool = False) -> Report | None:
    """What the words report; None if they are no notice of a mail system. It changes the message: call it last.

    `only_known` leaves out what an unknown system writes.
    """
    letter = letter_of(message, parts)
    if match := _SES.search(letter.words):
        return _from_ses(_SES_KINDS[match[1]], letter.words)
    by = next((system.name for system in SYSTEMS if system.wrote(letter)), None)
    if automatic_answers.is_from_a_person(letter) or automatic_answers.is_answer(letter, is_known=by is not None):
        return None
    in_text = rfc3464.report(group for group in rfc3464.groups_in(letter.words) if "action" in group)
    if in_text is not None:
        return _with_codes(in_text, letter.words, "delivery status in the text")
    is_notice = tells_of_failure(letter.subject) or tells_of_failure(letter.words)
    # Some of flufl.bounce's patterns fit any letter with an address: it is believed of what looks like a notice.
    kind = by_flufl.kind_by_flufl(message) if by or is_notice or automatic_answers.is_from_a_system(letter) else None
    if kind is not None:
        delayed = kind is Kind.FAILED and kind_of(letter.subject, letter.words) is Kind.DELAYED
        return report_in(Kind.DELAYED if delayed else kind, letter.words, "flufl.bounce")
    if by is None and (only_known or not is_notice or not _speaks_for_itself(letter)):
        return None
    return report_in(kind_of(letter.subject, letter.words), letter.words, by or "a mail system")


def with_words(found: Report, message: Message, parts: list[Message]) -> Report:
    """A standard report without a diagnostic, with what the text beside it says."""
    return _with_codes(found, letter_of(message, parts).words, found.reader)


def _speaks_for_itself(letter: Letter) -> bool:
    """Whether the words of an unknown system count: its sender is one, or it returned the mail to the envelope sender
    and says so in the subject. If it calls itself an automatic answer, only a daemon is believed.
    """
    if automatic_answers.is_from_no_person(letter):
        return True
    if automatic_answers.calls_itself_an_answer(letter):
        return False
    returned = automatic_answers.has_no_return_path(letter) and tells_of_failure(letter.subject)
    return returned or automatic_answers.is_from_a_system(letter)


def _with_codes(found: Report, words: str, reader: str) -> Report:
    written = report_in(found.kind, words, reader)
    return Report(
        found.kind,
        found.status or written.status,
        found.code or written.code,
        found.diagnostic or written.diagnostic,
        reader,
    )


def _from_ses(kind: Kind, words: str) -> Report:
    if kind is Kind.COMPLAINT:
        return Report(kind, "abuse", reader="Amazon SES")
    diagnostic = _SES_DIAGNOSTIC.search(words)
    text = diagnostic[1].removeprefix("smtp;") if diagnostic else ""
    if kind is Kind.DELIVERED:
        return Report(kind, diagnostic=kept(text), reader="Amazon SES")
    written = report_in(kind, text or words, "Amazon SES")
    return Report(kind, written.status, written.code, kept(text), "Amazon SES")
