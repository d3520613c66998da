"""Parses a mail into Mailpit's format. Broken mails are shown as far as they can be parsed."""

import contextlib
import datetime as dt
import email
import email.policy
from collections.abc import Iterable
from dataclasses import dataclass
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime

SNIPPET_LENGTH = 250
Json = dict[str, object]
# The older policy parses three times as fast as the newer ones, and accepts broken headers.
POLICY = email.policy.compat32


@dataclass(frozen=True)
class Envelope:
    sender: str
    recipients: tuple[str, ...]


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
            payload = part.get_payload(decode=True)
            files[kind].append(
                {
                    "PartID": str(number),
                    "FileName": _decoded(part.get_filename() or ""),
                    "ContentType": part.get_content_type(),
                    "ContentID": _value(part, "Content-ID").strip("<>"),
                    "Size": len(payload) if isinstance(payload, bytes) else 0,
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


def headers(raw: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in parse(raw).raw_items():
        found.setdefault(name, []).append(_decoded(str(value)))
    return found


def _date(message: "Message[str, str]", received: str) -> str:
    try:
        date = parsedate_to_datetime(str(message["Date"]))
    except (TypeError, ValueError):
        return received
    aware = date if date.tzinfo else date.replace(tzinfo=dt.UTC)
    return aware.isoformat().replace("+00:00", "Z")
