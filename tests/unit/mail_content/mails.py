"""Mails for the tests of this folder, and how a reader parses them."""

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.policy import SMTP, compat32
from email.utils import parseaddr
from typing import Any
from uuid import UUID

from services.mail.delivery.message import Content, build

PLAIN = Content(
    mail_id=UUID("01930000-0000-7000-8000-000000000001"),
    message_id="<01930000-0000-7000-8000-000000000001@counterfoil.example>",
    accepted_at=datetime(2026, 11, 23, 12, 0, 5, tzinfo=UTC),
    to_email="ada@example.org",
    to_name="Ada Lovelace",
    sender_email="no-reply@counterfoil.example",
    sender_name="Counterfoil",
    reply_to_email=None,
    reply_to_name=None,
    subject="Please confirm your e-mail address",
    text="Hello Ada,\n\nwelcome.\n",
    html="<p>Hello Ada</p>\n",
    headers={},
)


def mail(**changes: Any) -> Content:
    return replace(PLAIN, **changes)


def parse(data: bytes) -> EmailMessage:
    message = message_from_bytes(data, _class=EmailMessage, policy=SMTP)
    assert not any(part.defects for part in message.walk())
    return message


def read(content: Content) -> EmailMessage:
    return parse(build(content))


def text_of(part: Message) -> str:
    """The text of a part, with LF line ends as before it was built."""
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode().replace("\r\n", "\n")


def header_lines(data: bytes) -> list[bytes]:
    return data.partition(b"\r\n\r\n")[0].split(b"\r\n")


def field_names(data: bytes) -> list[str]:
    """The names of the fields that a reader of plain lines sees, in order."""
    lines = header_lines(data)
    return [line.partition(b":")[0].decode() for line in lines if not line.startswith((b" ", b"\t"))]


def read_mailbox(data: bytes, field: str) -> tuple[str, str]:
    """Display name and address, decoded exactly as RFC 2047 says.

    The `addresses` of Python 3.11 keep the space between two encoded words of a phrase, which section 6.2 forbids.
    """
    raw = str(message_from_bytes(data, policy=compat32)[field]).replace("\r\n", "")
    name, address = parseaddr(raw)
    return str(make_header(decode_header(name))), address
