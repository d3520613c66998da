"""A message from a bounce mailbox, read: what it reports, and which mails it may be about. Pure.

Understood are delivery status notifications (RFC 3464) and abuse reports (RFC 5965). Anybody can write to a mailbox,
so nothing in here is believed further than this: what it says is about the mail that it quotes, and about no address.
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

# PartitionRetention of a diagnostic, as of a gateway's reply.
DIAGNOSTIC_MAX_CHARACTERS = 2000
# `email` looks at every open boundary for every line. Reports have a handful, and a mail quoted in one a few more.
_MOST_BOUNDARIES = 50

# Old, lenient parsing on purpose: the newer policies raise on some headers that strangers write.
_POLICY = email.policy.compat32
_VERP = re.compile(r"(?<![\w.+-])bounce\+([0-9a-f]{32})@([a-z0-9.-]+)", re.IGNORECASE)
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,400}@[^<>\s]{1,400}>")
_BOUNDARY = re.compile(rb"boundary[\s*\d]*=", re.IGNORECASE)  # also as RFC 2231 continues it
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ENHANCED = re.compile(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.])")
_REPLY_CODE = re.compile(r"[245]\d\d(?!\d)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_ENVELOPE_HEADERS = ("Delivered-To", "X-Original-To", "Envelope-To", "To")
# The one quoted mail may come whole or as its header, and since RFC 6533 in UTF-8.
_QUOTED = frozenset(["message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers"])
# RFC 5965 section 7.3, and opt-out from its registry. Feedback that is no complaint (not-spam, auth-failure) is not.
_COMPLAINTS = frozenset(["abuse", "fraud", "virus", "other", "opt-out", "opt-out-list"])


class Kind(enum.StrEnum):
    """What a notice reports."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    COMPLAINT = "complaint"
    OTHER = "other"


# RFC 3464 section 2.3.3. Relayed and expanded: it was taken over where nobody reports any more.
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
    """`mail_ids` and `message_ids` are what it may be about, the most telling first; `diagnostic` may be personal."""

    kind: Kind
    mail_ids: tuple[UUID, ...] = ()
    message_ids: tuple[str, ...] = ()
    status: str | None = None  # an enhanced code; of a complaint, its type
    code: int | None = None
    diagnostic: str | None = None


def read(raw: bytes, bounce_domain: str = "") -> Notice:
    """What a whole message (RFC 822) reports. Whatever is no report, or cannot be read, is `other`.

    Only addresses at `bounce_domain` count as ours; with none given, no address does.
    """
    if len(_BOUNDARY.findall(raw)) > _MOST_BOUNDARIES:
        return Notice(Kind.OTHER)
    try:
        message = email.message_from_bytes(raw, policy=_POLICY)
        return _read(message, bounce_domain)
    except (RecursionError, LookupError, ValueError):  # nested too deep, an unknown charset, broken encodings
        return Notice(Kind.OTHER)


def _read(message: Message, bounce_domain: str) -> Notice:
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
    """The message's own parts. A message quoted in it is one part: what that holds is not reported here."""
    if message.get_content_maintype() != "multipart" or not message.is_multipart():
        yield message
        return
    for part in message.get_payload():
        assert isinstance(part, Message)
        yield from _parts(part)


def _blocks(part: Message) -> Iterable[Message]:
    """The groups of fields of a delivery status: first about the message, then about each recipient."""
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
    """The message, or the fields, inside a part of type message/*."""
    payload: Any = part.get_payload()
    if part.is_multipart():
        inner: Message = payload[0]
        return inner
    return _header(str(payload))


def _header(text: str) -> Message:
    return email.parser.HeaderParser(policy=_POLICY).parsestr(text)


def _text(message: Message, name: str) -> str:
    """All fields of a name on one line."""
    return " ".join(" ".join(str(value) for value in message.get_all(name, [])).split())


def _feedback(part: Message) -> dict[str, Any]:
    kind = _text(_inner(part), "Feedback-Type").lower()
    return {"kind": Kind.COMPLAINT, "status": kind} if kind in _COMPLAINTS else {"kind": Kind.OTHER}


def _delivery_status(blocks: Iterable[Message]) -> dict[str, Any]:
    """What became of the mail. It has one recipient: several blocks mean that it was passed on to several addresses,
    and then it has failed only when it reached none of them.
    """
    reports = [report for block in blocks if (report := _recipient_report(block))]
    for kind in (Kind.DELIVERED, Kind.DELAYED, Kind.FAILED):
        for report in reports:
            if report["kind"] is kind:
                return report
    return {"kind": Kind.OTHER}


def _recipient_report(block: Message) -> dict[str, Any] | None:
    status = _ENHANCED.search(_text(block, "Status"))
    # Some leave the action out although it is required; the class of the status says the same.
    action = _text(block, "Action").partition(" ")[0].lower()
    kind = _ACTIONS.get(action) or _OF_CLASS.get(status[0][0] if status else "")
    if kind is None:
        return None
    how, _, words = _text(block, "Diagnostic-Code").partition(";")
    diagnostic = _CONTROL.sub(" ", words or how).strip()
    is_smtp = bool(words) and how.strip().lower() == "smtp"
    code = _REPLY_CODE.match(diagnostic) if is_smtp else None
    return {
        "kind": kind,
        "status": _most_telling(status[0] if status else None, diagnostic if is_smtp else ""),
        "code": int(code[0]) if code else None,
        "diagnostic": diagnostic.encode("utf-8", "replace").decode()[:DIAGNOSTIC_MAX_CHARACTERS] or None,
    }


def _most_telling(status: str | None, reply: str) -> str | None:
    """The status; the enhanced code of the server's own reply where the reporter wrote none, or only a class."""
    said = _ENHANCED.search(reply[:40])
    if said and (status is None or (status.endswith(".0.0") and status[0] == said[0][0])):
        return said[0]
    return status
