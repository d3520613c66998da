"""Parses a message from a bounce mailbox: what it reports, and which mails it may be about. It stores nothing.

The standard reports come first: delivery status notifications (RFC 3464, RFC 6533), then complaints (RFC 5965). Behind
them are notices in free words. Any sender can write to a mailbox, so a notice is trusted only about the mail that it is
tied to, and never about an address.
"""

from email.message import Message

from . import arf, free_words, rfc3464, ties
from .bounded_message import own_parts, parse
from .notice import DIAGNOSTIC_MAX_CHARACTERS, Kind, Notice, Report

__all__ = ["DIAGNOSTIC_MAX_CHARACTERS", "Kind", "Notice", "read"]


def read(raw: bytes, bounce_domain: str = "") -> Notice:
    """Parse a whole message (RFC 822). A message that is no report or cannot be parsed is `other`; nothing is raised.

    Only addresses at `bounce_domain` count as our envelope senders. If it is empty, none does.
    """
    try:
        message = parse(raw)
        return Notice(Kind.OTHER) if message is None else _read(raw, message, bounce_domain)
    except Exception:  # noqa: BLE001 - a stranger chose what `email` and its codecs read; they may raise anything
        return Notice(Kind.OTHER)


def _read(raw: bytes, message: Message, bounce_domain: str) -> Notice:
    parts = list(own_parts(message))
    groups = rfc3464.groups(parts)
    tied = ties.in_its_places(message, parts, groups, bounce_domain)
    elsewhere = ties.anywhere(raw, message, bounce_domain)
    report = arf.report(message, parts) or rfc3464.report(groups)
    is_standard = report is not None
    if report is not None and report.kind is Kind.FAILED and report.diagnostic is None:
        # Exim's reports hold the words of other servers; its own stand in the text alone.
        report = free_words.with_words(report, message, parts)
    if report is None:
        # A status that names the recipient and reports nothing about it leaves little to the words beside it.
        report = free_words.report(message, parts, only_known=rfc3464.names_recipient(groups)) or Report(Kind.OTHER)
    if report.kind is not Kind.OTHER:
        # What reports nothing keeps to its places: an answer names the mail that it answers.
        in_header = tied.message_ids if is_standard else ()
        tied += ties.Ties(elsewhere.mail_ids, () if in_header else elsewhere.message_ids)
    return Notice(
        report.kind, tied.mail_ids, tied.message_ids, report.status, report.code, report.diagnostic, report.reader
    )
