"""Parses a mail into Mailpit's format. Broken mails are shown as far as they can be parsed."""

import contextlib
import datetime as dt
import email
import email.policy
import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime

SNIPPET_LENGTH = 250
Json = dict[str, object]
# The older policy parses three times as fast as the newer ones, and accepts broken headers.
POLICY = email.policy.compat32
CONTENT_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")


@dataclass(frozen=True)
class Envelope:
    sender: str
    recipients: tuple[str, ...]


@dataclass(frozen=True)
class File:
    """A part that is a file, decoded."""

    name: str
    content_type: str
    content: bytes


def parse(raw: bytes) -> "Message[str, str]":
    return email.message_from_bytes(raw, policy=POLICY)


def _values(message: "Message[str, str]", header: str) -> list[str]:
    # Not `message.get_all`, which replaces raw UTF-8 (SMTPUTF8) with question marks. Surrogate escapes can still be
    # decoded.
    wanted = header.casefold()
    return [str(value) for name, value in message.raw_items() if name.casefold() == wanted]


def _value(message: "Message[str, str]", header: str) -> str:
    return _decoded(next(iter(_values(message, header)), ""))


def _decoded(text: str) -> str:
    if "=?" not in text and "\n" not in text and text.isascii():
        return text
    with contextlib.suppress(UnicodeEncodeError):
        text = text.encode("ascii", "surrogateescape").decode("utf-8", "replace")
    with contextlib.suppress(LookupError, ValueError):
        text = str(make_header(decode_header(text)))
    return " ".join(text.split())


def addresses(message: "Message[str, str]", header: str) -> list[Json]:
    # Decoded after splitting: a decoded name may contain commas.
    fields = [value.replace("\r", "").replace("\n", " ") for value in _values(message, header)]
    pairs = getaddresses([field.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for field in fields])
    return [{"Name": _decoded(name), "Address": address} for name, address in pairs if address]


def message_id(message: "Message[str, str]") -> str:
    return _value(message, "Message-ID").strip("<> ")


def _unnamed(message: "Message[str, str]", envelope: Envelope) -> list[Json]:
    # As in Mailpit: a recipient that no header names was a blind copy.
    named = {
        str(address["Address"]).casefold() for header in ("To", "Cc", "Bcc") for address in addresses(message, header)
    }
    return [{"Name": "", "Address": to} for to in envelope.recipients if to.casefold() not in named]


def _text(part: "Message[str, str]") -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    try:
        return payload.decode(part.get_content_charset() or "utf-8", "replace")
    except LookupError:
        return payload.decode("utf-8", "replace")


def _leaves(message: "Message[str, str]") -> Iterable["Message[str, str]"]:
    return (part for part in message.walk() if not part.is_multipart())


def _is_attachment(part: "Message[str, str]") -> bool:
    return part.get_content_disposition() == "attachment" or part.get_content_maintype() != "text"


def body(message: "Message[str, str]", subtype: str) -> str:
    """All inline text of one subtype, `plain` or `html`."""
    parts = (p for p in _leaves(message) if not _is_attachment(p) and p.get_content_subtype() == subtype)
    return "\n".join(_text(part) for part in parts).replace("\r\n", "\n")


def common(raw: bytes, envelope: Envelope) -> tuple["Message[str, str]", Json]:
    """The parsed mail, and the fields that list entries and full answers share."""
    message = parse(raw)
    sender = addresses(message, "From")
    return message, {
        "MessageID": message_id(message),
        "From": sender[0] if sender else {"Name": "", "Address": envelope.sender},
        "To": addresses(message, "To"),
        "Cc": addresses(message, "Cc"),
        "Bcc": addresses(message, "Bcc") + _unnamed(message, envelope),
        "ReplyTo": addresses(message, "Reply-To"),
        "Subject": _value(message, "Subject"),
        "Size": len(raw),
        "Tags": [],
    }


def summary(raw: bytes, envelope: Envelope) -> Json:
    """A list entry, without the fields that change: ID, Read, Created."""
    message, entry = common(raw, envelope)
    snippet = " ".join(body(message, "plain").split())[:SNIPPET_LENGTH]
    attached = sum(_is_attachment(part) for part in _leaves(message))
    return {**entry, "Attachments": attached, "Snippet": snippet}


def detail(raw: bytes, envelope: Envelope, received: str) -> Json:
    """The whole mail, without its ID."""
    message, entry = common(raw, envelope)
    files: dict[str, list[Json]] = {"Inline": [], "Attachments": []}
    for number, part in enumerate(_leaves(message), start=1):
        if _is_attachment(part):
            kind = "Attachments" if part.get_content_disposition() == "attachment" else "Inline"
            file = _file(part)
            files[kind].append(
                {
                    "PartID": str(number),
                    "FileName": file.name,
                    "ContentType": file.content_type,
                    "ContentID": _content_id(part),
                    "Size": len(file.content),
                }
            )
    return {
        **entry,
        "ReturnPath": envelope.sender,
        "Date": _date(message, received),
        "Text": body(message, "plain"),
        "HTML": body(message, "html"),
        **files,
    }


def _file(part: "Message[str, str]") -> File:
    content_type = part.get_content_type()
    payload = part.get_payload(decode=True)
    return File(
        _decoded(part.get_filename() or ""),
        content_type if CONTENT_TYPE.fullmatch(content_type) else "application/octet-stream",
        payload if isinstance(payload, bytes) else b"",
    )


def _content_id(part: "Message[str, str]") -> str:
    return _value(part, "Content-ID").strip("<>")


def part(raw: bytes, part_id: str) -> File | None:
    """The part that `detail` lists with this PartID, or any other part that holds no parts."""
    parts = {str(number): leaf for number, leaf in enumerate(_leaves(parse(raw)), start=1)}
    return _file(parts[part_id]) if part_id in parts else None


def inline_images(raw: bytes) -> dict[str, tuple[str, bytes]]:
    """Type and bytes by Content-ID."""
    leaves = [leaf for leaf in _leaves(parse(raw)) if leaf.get_content_maintype() == "image"]
    files = {_content_id(leaf): _file(leaf) for leaf in leaves}
    return {content_id: (file.content_type, file.content) for content_id, file in files.items() if content_id}


def header_fields(raw: bytes) -> list[tuple[str, str]]:
    """Names and decoded values, in the order of the mail."""
    return [(name, _decoded(str(value))) for name, value in parse(raw).raw_items()]


def headers(raw: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in header_fields(raw):
        found.setdefault(name, []).append(value)
    return found


def _date(message: "Message[str, str]", received: str) -> str:
    try:
        date = parsedate_to_datetime(str(message["Date"]))
    except (TypeError, ValueError):
        return received
    aware = date if date.tzinfo else date.replace(tzinfo=dt.UTC)
    return aware.isoformat().replace("+00:00", "Z")
