"""Reads complaints of feedback loops: RFC 5965 (ARF), and what loops write that came before it. Pure."""

import re
from collections.abc import Iterable
from email.message import Message
from typing import Any

from .bounded_message import POLICY, decoded_field, field, text_of
from .notice import Kind, Report

# RFC 5965 section 7.3, and opt-out from its registry. not-spam and auth-failure are no complaints.
_COMPLAINTS = frozenset(["abuse", "fraud", "virus", "other", "opt-out", "opt-out-list"])
_TYPE = "message/feedback-report"
# The fields of a report whose part lost its type on the way.
_FEEDBACK_TYPE = re.compile(r"^Feedback-Type:[ \t]*([a-z-]{3,20})[ \t]*$", re.IGNORECASE | re.MULTILINE)
_SURE_FIELDS = re.compile(
    r"^(User-Agent|Version|Original-Mail-From|Source-IP|Arrival-Date):", re.IGNORECASE | re.MULTILINE
)
# What loops write above the fields, if those are lost.
_ABUSE_WORDS = re.compile(r"\s*This is an (?:e-?mail )?(?:abuse|spam|complaint) report for an e-?mail", re.IGNORECASE)
# Outlook.com's Junk Mail Reporting Program forwards the mail as it is, with no report beside it.
_JMRP_SENDER = re.compile(r"\bstaff@hotmail\.com\b", re.IGNORECASE)
_JMRP_SUBJECT = re.compile(r"complaint about message from ", re.IGNORECASE)


def feedback_part(parts: Iterable[Message]) -> Message | None:
    return next((part for part in parts if part.get_content_type() == _TYPE), None)


def report(message: Message, parts: list[Message]) -> Report | None:
    """The complaint. None: the message is no feedback at all. Feedback that is no complaint is `other`."""
    part = feedback_part(parts)
    if part is not None:
        return _report_of(feedback_field(part, "Feedback-Type"))
    for text in (text_of(part) for part in parts if part.get_content_maintype() == "text"):
        match = _FEEDBACK_TYPE.search(text)
        if match and _SURE_FIELDS.search(text):
            return _report_of(match[1])
        if _ABUSE_WORDS.match(text):
            return Report(Kind.COMPLAINT, "abuse", reader="ARF")
    if _JMRP_SENDER.search(field(message, "From")) and _JMRP_SUBJECT.match(decoded_field(message, "Subject")):
        return Report(Kind.COMPLAINT, "abuse", reader="Outlook.com JMRP")
    return None


def feedback_field(part: Message, name: str) -> str:
    """A field of the report."""
    payload: Any = part.get_payload()
    fields: Message = payload[0] if part.is_multipart() else Message(policy=POLICY)
    if not part.is_multipart():
        text = text_of(part)
        match = re.search(rf"^{re.escape(name)}:[ \t]*(.*)$", text, re.IGNORECASE | re.MULTILINE)
        return match[1].strip() if match else ""
    return field(fields, name)


def _report_of(feedback_type: str) -> Report:
    kind = feedback_type.strip().lower()
    if kind in _COMPLAINTS:
        return Report(Kind.COMPLAINT, kind, reader="ARF")
    return Report(Kind.OTHER, reader="ARF")
