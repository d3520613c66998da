"""Parses a message from a bounce mailbox: what it reports, and which mails it may be about. Pure.

It understands delivery status notifications (RFC 3464) and abuse reports (RFC 5965). Any sender can write to a mailbox,
so a notice is trusted only about the mail that it quotes, and never about an address.
"""

import email.message
import email.parser
import email.policy
import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any
from uuid import UUID

# Longest diagnostic that is kept, the same as for a gateway's reply.
DIAGNOSTIC_MAX_CHARACTERS = 2000
# `email` compares each line with every open boundary. A report and the mail it quotes have a handful.
_MAX_BOUNDARIES = 50

# The old, lenient policy on purpose: the newer ones raise on some malformed headers.
_POLICY = email.policy.compat32
_VERP = re.compile(r"(?<![\w.+-])bounce\+([0-9a-f]{32})@([a-z0-9.-]+)", re.IGNORECASE)
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,400}@[^<>\s]{1,400}>")
_BOUNDARY = re.compile(rb"boundary[\s*\d]*=", re.IGNORECASE)  # also with an RFC 2231 continuation
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ENHANCED = re.compile(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.])")
_REPLY_CODE = re.compile(r"[245]\d\d(?!\d)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_ENVELOPE_HEADERS = ("Delivered-To", "X-Original-To", "Envelope-To", "To")
# The quoted mail is whole or only its header, and may be in UTF-8 (RFC 6533).
_QUOTED = frozenset(["message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers"])
# RFC 5965 section 7.3, and opt-out from its registry. not-spam and auth-failure are no complaints.
_COMPLAINTS = frozenset(["abuse", "fraud", "virus", "other", "opt-out", "opt-out-list"])


class Kind(enum.StrEnum):
    """What a notice reports."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    COMPLAINT = "complaint"
    OTHER = "other"


# RFC 3464 section 2.3.3. Relayed and expanded: the next system accepted the mail and sends no reports.
_ACTIONS: Mapping[str, Kind] = {
    "failed": Kind.FAILED,
    "delayed": Kind.DELAYED,
    "delivered": Kind.DELIVERED,
    "relayed": Kind.DELIVERED,
    "expanded": Kind.DELIVERED,
}
_OF_CLASS: Mapping[str, Kind] = {"2": Kind.DELIVERED, "4": Kind.DELAYED, "5": Kind.FAILED}


@dataclass(frozen=True, slots=True)
class Notice:
    """`mail_ids` and `message_ids` are candidates, the best first. `diagnostic` may hold personal data."""

    kind: Kind
    mail_ids: tuple[UUID, ...] = ()
    message_ids: tuple[str, ...] = ()
    status: str | None = None  # an enhanced code, or the type of a complaint
    code: int | None = None
    diagnostic: str | None = None


def read(raw: bytes, bounce_domain: str = "") -> Notice:
    """Parse a whole message (RFC 822). A message that is no report or cannot be parsed is `other`.

    Only addresses at `bounce_domain` count as our envelope senders. If it is empty, none does.
    """
    if len(_BOUNDARY.findall(raw)) > _MAX_BOUNDARIES:
        return Notice(Kind.OTHER)
    try:
        message = email.message_from_bytes(raw, policy=_POLICY)
        return _parse(message, bounce_domain)
    except (RecursionError, LookupError, ValueError):  # nested too deep, an unknown charset, broken encodings
        return Notice(Kind.OTHER)


def _parse(message: Message, bounce_domain: str) -> Notice:
    parts = list(_parts(message))
    blocks = [block for part in parts for block in _blocks(part)]
    feedback = next((part for part in parts if part.get_content_type() == "message/feedback-report"), None)
    report = _feedback(feedback) if feedback is not None else _delivery_status(blocks)
    senders = [_text(message, name) for name in _ENVELOPE_HEADERS]
    senders += [_text(block, "Original-Envelope-Id") for block in blocks]
    senders += [_text(_inner(feedback), "Original-Mail-From")] if feedback is not None else []
    quoted = [header for part in parts for header in _quoted_headers(part)]
    message_ids = tuple(dict.fromkeys(i for header in quoted for i in _MESSAGE_ID.findall(_text(header, "Message-ID"))))
    mail_ids = [
        *(UUID(match[1]) for text in senders for match in _VERP.finditer(text) if match[2].lower() == bounce_domain),
        *(UUID(match[0]) for header in quoted if (match := _UUID.fullmatch(_text(header, "X-Counterfoil-ID")))),
        *(UUID(match[0]) for i in message_ids if (match := _UUID.fullmatch(i[1:].partition("@")[0]))),
    ]
    return Notice(mail_ids=tuple(dict.fromkeys(mail_ids)), message_ids=message_ids, **report)


def _parts(message: Message) -> Iterator[Message]:
    """The message's own parts. A quoted message is one part, and reports inside it are ignored."""
    if message.get_content_maintype() != "multipart" or not message.is_multipart():
        yield message
        return
    for part in message.get_payload():
        assert isinstance(part, Message)
        yield from _parts(part)


def _blocks(part: Message) -> Iterable[Message]:
    """The field groups of a delivery status: the first is about the message, each other one about a recipient."""
    payload: Any = part.get_payload()
    if part.get_content_type() == "message/delivery-status" and part.is_multipart():
        return [block for block in payload if isinstance(block, Message)]
    if part.get_content_type() == "message/global-delivery-status" and part.is_multipart():
        first: Message = payload[0]
        rest = re.split(r"\r?\n[ \t]*\r?\n", str(first.get_payload()))
        return [first, *(_header(text.strip()) for text in rest if text.strip())]
    return []


def _quoted_headers(part: Message) -> Iterable[Message]:
    if part.get_content_type() not in _QUOTED:
        return []
    if part.is_multipart():
        return [_inner(part)]
    content = part.get_payload(decode=True)
    return [_header(content.decode("utf-8", "replace"))] if isinstance(content, bytes) else []


def _inner(part: Message) -> Message:
    """The message or the fields inside a part of type message/*."""
    payload: Any = part.get_payload()
    if part.is_multipart():
        inner: Message = payload[0]
        return inner
    return _header(str(payload))


def _header(text: str) -> Message:
    return email.parser.HeaderParser(policy=_POLICY).parsestr(text)


def _text(message: Message, name: str) -> str:
    """All fields of a name, joined on one line."""
    return " ".join(" ".join(str(value) for value in message.get_all(name, [])).split())


def _feedback(part: Message) -> dict[str, Any]:
    kind = _text(_inner(part), "Feedback-Type").lower()
    return {"kind": Kind.COMPLAINT, "status": kind} if kind in _COMPLAINTS else {"kind": Kind.OTHER}


def _delivery_status(blocks: Iterable[Message]) -> dict[str, Any]:
    """The report about the mail. A mail has one recipient, so several blocks mean that it was forwarded to several
    addresses. Then it has failed only if it reached none of them.
    """
    reports = [report for block in blocks if (report := _recipient_report(block))]
    for kind in (Kind.DELIVERED, Kind.DELAYED, Kind.FAILED):
        for report in reports:
            if report["kind"] is kind:
                return report
    return {"kind": Kind.OTHER}


def _recipient_report(block: Message) -> dict[str, Any] | None:
    status = _ENHANCED.search(_text(block, "Status"))
    # Some reporters omit the action although it is required. The class of the status says the same.
    action = _text(block, "Action").partition(" ")[0].lower()
    kind = _ACTIONS.get(action) or _OF_CLASS.get(status[0][0] if status else "")
    if kind is None:
        return None
    diagnostic_type, _, text = _text(block, "Diagnostic-Code").partition(";")
    diagnostic = _CONTROL.sub(" ", text or diagnostic_type).strip()
    is_smtp = bool(text) and diagnostic_type.strip().lower() == "smtp"
    code = _REPLY_CODE.match(diagnostic) if is_smtp else None
    return {
        "kind": kind,
        "status": _most_specific(status[0] if status else None, diagnostic if is_smtp else ""),
        "code": int(code[0]) if code else None,
        "diagnostic": diagnostic.encode("utf-8", "replace").decode()[:DIAGNOSTIC_MAX_CHARACTERS] or None,
    }


def _most_specific(status: str | None, reply: str) -> str | None:
    """The status, or the enhanced code in the server's reply if the status is missing or names only a class."""
    in_reply = _ENHANCED.search(reply[:40])
    if in_reply and (status is None or (status.endswith(".0.0") and status[0] == in_reply[0][0])):
        return in_reply[0]
    return status
