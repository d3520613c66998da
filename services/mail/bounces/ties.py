"""Which mails a notice may be about. Any sender can write to a bounce mailbox, so only our own marks count. Pure.

The marks are the mail's envelope sender, its Message-ID and its X-Counterfoil-ID. All three hold the mail's ID, which
only its recipient and the systems on its way know. No address ties a notice to a mail.
"""

import email.parser
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Any
from uuid import UUID

from . import arf
from .bounded_message import PART_CHARACTERS, POLICY, decode, field
from .rfc3464 import Group

_VERP = re.compile(r"(?<![\w.+-])bounce\+([0-9a-f]{32})@([a-z0-9.-]+)", re.IGNORECASE)
_MESSAGE_ID = re.compile(r"<[^<>\s\x00-\x1f\x7f]{1,400}@[^<>\s\x00-\x1f\x7f]{1,400}>")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ENVELOPE_HEADERS = ("Delivered-To", "X-Original-To", "Envelope-To", "To")
# The quoted mail is whole or only its header, and may be in UTF-8 (RFC 6533).
_QUOTED = frozenset(["message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers"])

# The same marks in any text, in lower case; `@` also as HTML, a URL or JSON writes it. Each pattern begins with what it
# must find: so Python searches ten megabytes in a few hundredths of a second.
_AT = rb"(?:@|&#64;|&#x40;|%40|\\u0040)"
_ANY_VERP = re.compile(rb"bounce(?<![\w.+-]bounce)(?:\+|%2b|=2b)([0-9a-f]{32})" + _AT + rb"([a-z0-9.-]{1,255}[a-z0-9])")
_ANY_FIELD = re.compile(rb"x-counterfoil-id[^0-9a-f]{1,20}([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_ANY_MESSAGE_ID = re.compile(rb"-(?<=[0-9a-f]{8}-)((?:[0-9a-f]{4}-){3}[0-9a-f]{12})" + _AT)
_DIGITS_BEFORE = 8
_LABELS = (re.compile(rb"message-id\W"), re.compile(rb"in-reply-to\W"), re.compile(rb"references\W"))
_LABELLED = re.compile(rb"\W{1,20}(<[^<>\s\x00-\x1f\x7f]{1,400}@[^<>\s\x00-\x1f\x7f]{1,400}>)")
_SOFT_LINE_END = re.compile(rb"=\r?\n")
_MAX_CANDIDATES = 20
_MAX_PARTS = 200


@dataclass(frozen=True, slots=True)
class Ties:
    """Candidates, the best first."""

    mail_ids: tuple[UUID, ...] = ()
    message_ids: tuple[str, ...] = ()

    def __add__(self, other: "Ties") -> "Ties":
        return Ties(
            tuple(dict.fromkeys(self.mail_ids + other.mail_ids)),
            tuple(dict.fromkeys(self.message_ids + other.message_ids)),
        )


def in_its_places(message: Message, parts: list[Message], groups: Iterable[Group], bounce_domain: str) -> Ties:
    """The marks where a report has them: its own envelope address, its fields, and the header of the quoted mail.

    Only addresses at `bounce_domain` count as our envelope senders. If it is empty, none does.
    """
    senders = [field(message, name) for name in _ENVELOPE_HEADERS]
    senders += [group.get("original-envelope-id", "") for group in groups]
    feedback = arf.feedback_part(parts)
    senders += [arf.feedback_field(feedback, "Original-Mail-From")] if feedback is not None else []
    quoted = [header for part in parts for header in _quoted_headers(part)]
    message_ids = tuple(dict.fromkeys(i for header in quoted for i in _MESSAGE_ID.findall(field(header, "Message-ID"))))
    mail_ids = [
        *(UUID(match[1]) for text in senders for match in _VERP.finditer(text) if match[2].lower() == bounce_domain),
        *(UUID(match[0]) for header in quoted if (match := _UUID.fullmatch(field(header, "X-Counterfoil-ID")))),
        *(UUID(match[0]) for i in message_ids if (match := _UUID.fullmatch(i[1:].partition("@")[0]))),
    ]
    return Ties(tuple(dict.fromkeys(mail_ids)), message_ids)


def anywhere(raw: bytes, message: Message, bounce_domain: str) -> Ties:
    """The marks in any part of the message, however it is nested, quoted or encoded."""
    texts = [_SOFT_LINE_END.sub(b"", raw), *_decoded_parts(message)]
    lowered = [text.lower() for text in texts]
    domain = bounce_domain.encode()
    # In turn: the marks of one kind in all texts, then those of the next.
    found = itertools.chain(
        (match[1] for match in _all(_ANY_VERP, lowered) if domain and match[2] == domain),
        (match[1] for match in _all(_ANY_FIELD, lowered)),
        (match.string[match.start() - _DIGITS_BEFORE : match.end(1)] for match in _all(_ANY_MESSAGE_ID, lowered)),
    )
    return Ties(
        tuple(dict.fromkeys(UUID(digits.decode()) for digits in itertools.islice(found, _MAX_CANDIDATES))),
        tuple(dict.fromkeys(itertools.islice(_message_ids(texts, lowered), _MAX_CANDIDATES))),
    )


def _all(pattern: re.Pattern[bytes], texts: Iterable[bytes]) -> Iterator[re.Match[bytes]]:
    return itertools.chain.from_iterable(pattern.finditer(text) for text in texts)


def _message_ids(texts: Iterable[bytes], lowered: Iterable[bytes]) -> Iterator[str]:
    """The Message-IDs, as they are written, behind the names of fields that hold one: of mails that were restored."""
    for text, lower in zip(texts, lowered, strict=True):
        for label in _LABELS:
            for match in label.finditer(lower):
                if labelled := _LABELLED.match(text, match.end() - 1):
                    yield labelled[1].decode("utf-8", "replace")


def _decoded_parts(message: Message) -> Iterator[bytes]:
    """The content of each part that is encoded, also of those inside quoted messages."""
    for number, part in enumerate(message.walk()):
        if number >= _MAX_PARTS:
            return
        if str(part.get("Content-Transfer-Encoding", "")).strip().lower() not in {"base64", "quoted-printable"}:
            continue
        content = part.get_payload(decode=True) if not part.is_multipart() else _decoded_message(part)
        if isinstance(content, bytes):
            yield content


def _decoded_message(part: Message) -> Any:
    """The content of an encoded part of type message/*, which `email` takes for a message without a header."""
    inner: Any = part.get_payload()
    encoded = Message(policy=POLICY)
    encoded["Content-Transfer-Encoding"] = str(part["Content-Transfer-Encoding"]).strip()
    text = str(inner[0].get_payload()) if inner else ""
    encoded.set_payload(text.encode("ascii", "replace").decode())
    return encoded.get_payload(decode=True)


def _quoted_headers(part: Message) -> Iterable[Message]:
    if part.get_content_type() not in _QUOTED:
        return []
    if part.is_multipart():
        payload: Any = part.get_payload()
        return [payload[0]]
    content = part.get_payload(decode=True)
    return [_header(decode(content[:PART_CHARACTERS], None))] if isinstance(content, bytes) else []


def _header(text: str) -> Message:
    return email.parser.HeaderParser(policy=POLICY).parsestr(text)
