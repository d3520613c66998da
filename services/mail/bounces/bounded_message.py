"""Parses a message that any sender may have written, in bounded time and memory. It knows nothing of notices.

`email` is generous: it needs quadratic time for the parameters of a long header, an object for each block of a delivery
status, and a comparison of each line with each open boundary. So it gets a window of the message, short headers, and
few of them. A notice and the header of the mail that it quotes are at the beginning; large attachments follow.
"""

import email
import email.header
import email.message
import email.policy
import itertools
import re
from collections.abc import Iterator
from email.message import Message

HEAD_BYTES = 256 << 10
# Some systems put the report after the mail that it is about.
TAIL_BYTES = 64 << 10
# Each line may be a part or a block of its own. A base64 line has 57 bytes, so the window holds fewer.
MAX_LINES = 8000
MAX_TAIL_LINES = 2000
# `email` compares each line with every open boundary. A report and the mail it quotes have a handful.
_MAX_BOUNDARIES = 50
# A notice has three or four.
_MAX_PARTS = 100
# A system's own notice has less than a hundred fields, and the longest are its Received fields.
_MAX_FIELDS = 500
_MAX_FIELD_CHARACTERS = 4000
# Of each part; a notice is a page of text.
PART_CHARACTERS = 64 << 10

_BOUNDARY = re.compile(rb"boundary[\s*\d]*=", re.IGNORECASE)  # also with an RFC 2231 continuation
# Codecs of Python that are no charsets of mail, or need quadratic time.
_NO_CHARSETS = frozenset(["idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"])


class _BoundedMessage(Message):
    def set_raw(self, name: str, value: str) -> None:
        if len(self) < _MAX_FIELDS:
            super().set_raw(name, value)


class _BoundedPolicy(email.policy.Compat32):
    """The old, lenient policy on purpose: the newer ones raise on some malformed headers."""

    message_factory = _BoundedMessage

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name, value[:_MAX_FIELD_CHARACTERS]


POLICY = _BoundedPolicy()


def parse(raw: bytes) -> Message | None:
    """The message, or None if it has more boundaries than any notice.

    Raises:
        RecursionError, LookupError, ValueError: it is nested too deep, or broken in a way that `email` cannot bear.
    """
    window = _window(raw)
    if len(_BOUNDARY.findall(window)) > _MAX_BOUNDARIES:
        return None
    return email.message_from_bytes(window, policy=POLICY)


def _window(raw: bytes) -> bytes:
    """The beginning and the end, with newlines as line ends."""
    if len(raw) <= HEAD_BYTES + TAIL_BYTES:
        return b"\n".join(_lines(raw)[:MAX_LINES])
    return b"\n".join([*_lines(raw[:HEAD_BYTES])[:MAX_LINES], *_lines(raw[-TAIL_BYTES:])[-MAX_TAIL_LINES:]])


def _lines(raw: bytes) -> list[bytes]:
    return raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


def own_parts(message: Message) -> Iterator[Message]:
    """The message's own parts. A quoted message is one part, and what is inside it is another message's."""
    return itertools.islice(_parts(message), _MAX_PARTS)


def _parts(message: Message) -> Iterator[Message]:
    if message.get_content_maintype() != "multipart" or not message.is_multipart():
        yield message
        return
    for part in message.get_payload():
        assert isinstance(part, Message)
        yield from _parts(part)


def field(message: Message, name: str) -> str:
    """All fields of a name, joined on one line."""
    return " ".join(" ".join(str(value) for value in message.get_all(name, [])).split())


def decoded_field(message: Message, name: str) -> str:
    """As `field`, with UTF-8 (RFC 6532) and encoded words (RFC 2047) decoded as far as possible."""
    raw = [str(value) for each, value in message.raw_items() if each.lower() == name.lower()]
    text = " ".join(" ".join(raw).encode("utf-8", "surrogateescape").decode("utf-8", "replace").split())
    if "=?" not in text:
        return text
    try:
        pieces = email.header.decode_header(text)
    except (email.errors.HeaderParseError, ValueError):
        return text
    return "".join(piece if isinstance(piece, str) else decode(piece, charset) for piece, charset in pieces)


def text_of(part: Message) -> str:
    """The beginning of a part as text, whatever its charset says. Lines end in a newline."""
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    text = decode(content[: 4 * PART_CHARACTERS], part.get_content_charset())[:PART_CHARACTERS]
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode(content: bytes, charset: str | None) -> str:
    charset = (charset or "utf-8").lower()
    if charset.replace("-", "_") not in _NO_CHARSETS:
        try:
            return content.decode(charset, "replace")
        except (LookupError, ValueError):
            pass
    return content.decode("latin-1")
